"""Fetching published data sets: where the files come from, what is here already, and what is unpacked."""

import zipfile
from collections.abc import Generator
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from urllib.parse import urlsplit

from mezzotint.data.building import Progress
from mezzotint.data.sources import SOURCES, Original, Source, gigabytes
from mezzotint.data.sources.archives import inside
from mezzotint.disk import home, locked, whole_folder, writing
from mezzotint.download import Download
from mezzotint.errors import BadInput
from mezzotint.options import Choice

_BLOCK_BYTES = 1 << 20
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where one published file is kept, or what was unpacked from it; `had` bytes of it are here."""

    original: Original
    archive: Path

    @property
    def kept(self) -> Path:
        """What is read: the file, or the folder that was unpacked from it, after which the file is removed."""
        return self.archive.with_suffix("") if self.original.unpack else self.archive

    @property
    def here(self) -> bool:
        """Whether it is here, checked and whole."""
        return self.kept.exists()

    @property
    def had(self) -> int:
        """How many of its bytes are here."""
        part = self.archive.with_name(f"{self.archive.name}.part")
        return next((file.stat().st_size for file in (self.archive, part) if file.is_file()), 0)


def places(source: Source, split: str) -> list[Place]:
    """Return where the files that a split of a published data set consists of are kept."""
    folder = home() / "downloads" / Choice(SOURCES).name_of(source)
    names = [(original, PurePosixPath(urlsplit(original.url).path).name) for original in source.originals(split)]
    return [Place(original, folder / name) for original, name in names]


def fetch(source: Source, split: str) -> Generator[Progress, None, Path | None]:
    """Fetch what a split consists of into `$MEZZOTINT_HOME/downloads`; return what `data.path` is then, or None.

    Goes on where an earlier try broke off. Raises `BadInput` where a file can't be reached or is another one than
    expected, `RunFailed` where the connection breaks or the disk is full.
    """
    wanted = places(source, split)
    for place in wanted:
        if not place.here:
            for fetched in _download(source, place).fetch():
                total = fetched.total or place.original.size
                megabytes = -(-fetched.done // _MB), -(-total // _MB) if total else None
                yield Progress(*megabytes, what=f"fetch {place.archive.name}", unit="MB", note=_note(place, total))
            if place.original.unpack:
                _unpack_once(place)
    if not wanted:
        return None
    return wanted[0].kept if len(wanted) == 1 and not wanted[0].original.unpack else wanted[0].kept.parent


def _note(place: Place, total: int) -> str:
    size = f"{gigabytes(total)}, " if total else ""
    return f"fetching {place.original.url} ({size}into {place.archive.parent}); if interrupted, it goes on there"


def _download(source: Source, place: Place) -> Download:
    layout = source.card.layout if source.card else "a copy of it"
    return Download(
        url=place.original.url,
        path=place.archive,
        check=lambda path: check(place.original, path),
        absent="data.path: is not set",
        instead=f"fetch it by other means and set data.path to {layout}",
        again="the same command",
        unpacked=int(place.original.unpack),
    )


def check(original: Original, path: Path) -> None:
    """Raise `BadInput` where a file is not the published one by size or MD5, or, where neither is known, is no zip."""
    size, digest = path.stat().st_size, _md5(path)
    wrong = size != (original.size or size) or digest != (original.md5 or digest)
    known = f"{original.size:,} bytes" if original.size else "", f"MD5 {original.md5}" if original.md5 else ""
    expected = ", ".join(filter(None, known))
    if not expected:
        wrong, expected = original.url.endswith(".zip") and not zipfile.is_zipfile(path), "a zip"
    if wrong:
        raise BadInput(f"{original.url}: wrong archive, {size:,} bytes, MD5 {digest}; expected {expected}")


def _md5(path: Path) -> str:
    digest = md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _unpack_once(place: Place) -> None:
    """Unpack an archive unless another process has done so while this one waited."""
    with locked(place.kept.with_name(f".{place.kept.name}.unpacking.lock")):
        if not place.here:
            unpack(place.archive, place.kept)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip into a folder that appears whole, without the zip's own folder of the same name; then remove it.

    Members that lead out of the folder are refused (`BadInput`), damaged ones too; a full disk is `RunFailed`.
    """
    with writing(folder), whole_folder(folder) as making:
        try:
            with zipfile.ZipFile(archive) as opened:
                for entry in opened.infolist():
                    name = inside(archive, entry.filename)
                    if name is None or entry.is_dir():
                        continue
                    target = making / name.removeprefix(f"{folder.name}/")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with opened.open(entry) as content, target.open("wb") as file:
                        copyfileobj(content, file, _BLOCK_BYTES)
        except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            raise BadInput(f"{archive}: is a damaged zip ({error}); remove it, and it is fetched again") from None
    archive.unlink()
