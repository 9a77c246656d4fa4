"""A folder, a zip or a tar alike: names of members and their bytes, read in place; nothing is ever extracted."""

import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import md5
from lzma import LZMAError
from pathlib import Path, PurePosixPath

import numpy as np

from mezzotint.data.sources import Card, Item, Listing, existing, fingerprint, printable
from mezzotint.errors import BadInput

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_ENDINGS = ("", ".tar.gz", ".tgz", ".tar", ".zip")
_BLOCK_BYTES = 1 << 20
_TEXT_BYTES = 1 << 20
_MOST_BYTES = 1 << 29  # no picture and no list is as large: more is an attack or a mistake
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, zlib.error, LZMAError, RuntimeError)


@dataclass(frozen=True)
class Members:
    """The regular, visible files of a folder (sorted) or an archive (zip: sorted; tar: as stored), by relative name.

    `contents` yields what some members hold, a path in a folder and bytes in an archive, quickest in their own order.
    """

    path: Path
    names: tuple[str, ...]
    identity: str
    contents: Callable[[Iterable[str]], Iterator[bytes | Path]]
    wanted: str = field(default="something else")

    def find(self, name: str) -> str | None:
        """Return the shallowest member called `name` (a relative path counts from any folder), if there is one."""
        found = [member for member in self.names if member == name or member.endswith(f"/{name}")]
        return min(found, key=lambda member: (member.count("/"), member), default=None)

    def beside(self, name: str) -> str:
        """Return the folder, with its slash, in which `name` lies; `BadInput` where there is no such member."""
        member = self.find(name)
        if member is None:
            archive = next((found for found in self.names if found.endswith(_ENDINGS[1:])), None)
            hint = f"; did you mean {self.path / archive}?" if archive else ""
            raise BadInput(f"{self._is_wrong()}: it holds no {name}{hint}")
        return member.removesuffix(name)

    def bytes(self, member: str) -> bytes:
        """Read one member whole; `BadInput` where there is none."""
        if member not in self._known:
            raise BadInput(f"{self._is_wrong()}: it holds no {member}")
        content = next(self.contents([member]))
        try:
            return content.read_bytes() if isinstance(content, Path) else content
        except OSError as error:
            raise BadInput(f"data.path: {content} can't be read ({error.strerror})") from None

    def rows(self, member: str) -> list[list[str]]:
        """Words of each line of a text member; lines that hold none are left out."""
        text = self.bytes(member).decode("utf-8", "replace")
        return [words for line in text.splitlines() if (words := re.split(r"[,\s]+", line.strip())) != [""]]

    def has(self, member: str) -> bool:
        """Whether there is a member of exactly this name."""
        return member in self._known

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.names)

    def _is_wrong(self) -> str:
        return f"data.path: {self.path} is not {self.wanted}{_size_and_hash(self.path)}"


def members(path: Path | None, wanted: str) -> Members:
    """Open a folder or an archive; `BadInput` in one line where it is neither, damaged, or names files outside it."""
    path = existing(path, wanted)
    if path.is_dir():
        return _folder(path, wanted)
    try:
        if tarfile.is_tarfile(path):  # first: a tar whose last member is a zip looks like one
            return _tar(path, wanted)
        if zipfile.is_zipfile(path):
            return _zip(path, wanted)
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    raise BadInput(f"data.path: {path} is neither folder, zip nor tar{_size_and_hash(path)}, must be {wanted}")


def part(folder: Path, name: str, wanted: str) -> Members | None:
    """Open `name`, a subfolder or an archive of that name, in a folder, if it is there."""
    found = next((folder / f"{name}{ending}" for ending in _ENDINGS if (folder / f"{name}{ending}").exists()), None)
    return members(found, wanted) if found else None


def _size_and_hash(path: Path) -> str:
    """Tell which file it is, so that a wrong or half download can be recognised."""
    if not path.is_file():
        return ""
    digest = md5(usedforsecurity=False)
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
            return f" ({file.tell():,} bytes, MD5 {digest.hexdigest()})"
    except OSError as error:
        return f" (unreadable: {error.strerror})"


def _damaged(path: Path, error: Exception) -> BadInput:
    detail = " ".join(str(error).split())[:120] or type(error).__name__
    return BadInput(f"data.path: {path} is a damaged or incomplete archive ({detail}){_size_and_hash(path)}")


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(path, error) from None


# --- Three kinds -----------------------------------------------------------------------------------------------


def inside(path: Path, name: str) -> str | None:
    """Normalise a member's name; None for hidden ones; `BadInput` if it leads out of the archive."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if ".." in parts or name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        raise BadInput(f"data.path: {path} names a file outside itself, {printable(name)!r}: refused")
    hidden = not parts or any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return None if hidden else "/".join(parts)


def _folder(path: Path, wanted: str) -> Members:
    names: list[str] = []
    seen: set[tuple[int, int]] = set()
    for folder, inner, files in os.walk(path, followlinks=True):
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in seen:  # links may lead in circles
            inner.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        below = Path(folder).relative_to(path)
        names += [(below / file).as_posix() for file in files if not file.startswith(".")]
    names.sort()

    def contents(chosen: Iterable[str]) -> Iterator[Path]:
        return (path / name for name in chosen)

    return Members(path, tuple(names), fingerprint(path / name for name in names), contents, wanted)


def _zip(path: Path, wanted: str) -> Members:
    with zipfile.ZipFile(path) as archive:
        found = {inside(path, entry.filename): entry for entry in archive.infolist() if not entry.is_dir()}
    found.pop(None, None)

    def contents(chosen: Iterable[str]) -> Iterator[bytes]:
        with _whole(path), zipfile.ZipFile(path) as archive:
            for name in chosen:
                if found[name].file_size > _MOST_BYTES:
                    raise zipfile.BadZipFile(f"a member of {found[name].file_size:,} bytes")
                yield archive.read(found[name])

    return Members(path, tuple(sorted(map(str, found))), fingerprint([path]), contents, wanted)


def _tar(path: Path, wanted: str) -> Members:
    places: dict[str, tuple[int, int]] = {}  # offset and size in the unpacked tar, in bytes
    texts: dict[str, bytes] = {}  # kept, as finding each again means unpacking all that lies before it
    with tarfile.open(path, "r:*") as archive:
        for entry in _entries(archive):
            name = inside(path, entry.name)
            if name is None or not entry.isreg():  # links and devices are never followed
                continue
            places[name] = (entry.offset_data, entry.size)
            if name.endswith(".txt") and entry.size <= _TEXT_BYTES:
                texts[name] = _read_at(archive, *places[name])

    def contents(chosen: Iterable[str]) -> Iterator[bytes]:
        chosen = list(chosen)
        if all(name in texts for name in chosen):
            yield from (texts[name] for name in chosen)
            return
        with _whole(path), tarfile.open(path, "r:*") as archive:
            for name in chosen:
                yield _read_at(archive, *places[name])

    return Members(path, tuple(places), fingerprint([path]), contents, wanted)


def _entries(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield a tar's members one by one; a size that leads backwards, and would be read for ever, is an error."""
    last = -1
    while (entry := archive.next()) is not None:
        if entry.offset <= last or entry.size < 0:
            raise tarfile.ReadError("its members overlap")
        last = entry.offset
        yield entry
        archive.members = []  # pyright: ignore[reportAttributeAccessIssue]  (else it keeps a kilobyte of every member)


def _read_at(archive: tarfile.TarFile, offset: int, size: int) -> bytes:
    if archive.fileobj is None or size > _MOST_BYTES:
        raise tarfile.ReadError(f"a member of {size:,} bytes")
    archive.fileobj.seek(offset)
    content = archive.fileobj.read(size)
    if len(content) != size:
        raise EOFError("it ends too early")
    return content


# --- Listings --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that a source has found: which member, which class, and its box if it has one."""

    member: str
    label: int | None = None
    box: tuple[float, float, float, float] | None = None


def is_picture(member: str) -> bool:
    """Whether a name ends as pictures' names do."""
    return member.lower().endswith(PICTURES)


def listing(
    source: Members,
    pictures: Sequence[Picture],
    class_names: Sequence[str] = (),
    card: Card | None = None,
    notes: dict[str, str] | None = None,
    identity: str = "",
) -> Listing:
    """List pictures among members, in the order in which these are read quickest; `BadInput` where there are none.

    `notes` go into the provenance; `identity` is that of annotations outside of `source`.
    """
    if not pictures:
        raise BadInput(f"data.path: {source.path} holds no pictures of this split, must be {source.wanted}")
    place = {name: index for index, name in enumerate(source.names)}
    ordered = sorted(pictures, key=lambda picture: place[picture.member])

    def read(indices: np.ndarray) -> Iterator[Item]:
        chosen = [ordered[int(index)] for index in indices]
        for picture, content in zip(chosen, source.contents(found.member for found in chosen), strict=True):
            yield Item(printable(picture.member), picture.label, content, picture.box)

    revision = f"{source.identity}{identity}"
    licence = {"licence": card.licence} if card else {}
    provenance = {"path": printable(source.path), "revision": revision, **licence, **(notes or {})}
    return Listing(len(ordered), tuple(class_names), revision, provenance, read)


def missing_note(names: Iterable[str], shown: int = 12) -> str:
    """Count names and show the first of them."""
    names = list(names)
    return f"{len(names):,} ({', '.join(names[:shown])}{', ...' if len(names) > shown else ''})"
