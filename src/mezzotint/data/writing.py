"""Writing a pack: pictures one after another, then labels, statistics, hashes and the description.

An unfinished pack lies in a folder of its own, with a journal that tells from where it can be gone on with.
"""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b, sha256
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from mezzotint.data.decode import all_grey
from mezzotint.data.pack import Origin, PackInfo, SkippedName, content_hash, digest
from mezzotint.disk import sync, write_text

_BLOCK_BYTES = 2**20
_DIGEST_BYTES = 16
_READ_BYTES = 2**22  # read back at a time, by each thread
_THREADS = min(8, os.cpu_count() or 1)
_JOURNAL, _LABELS, _DIGESTS = "journal.json", "labels.part", "digests.part"


class Journal(BaseModel):
    """How far an unfinished pack is, so that it can be gone on with: of `key`, and what its files held for sure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    done: int = 0
    count: int = 0
    channels: Literal[1, 3] | None = None
    skipped: dict[str, int] = {}
    notes: dict[str, int] = {}
    names: tuple[SkippedName, ...] = ()


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Give a folder to fill beside `path`, which it becomes if the block ends well.

    An error removes it. A kill or an interruption leaves it, if it has a journal, and it is given again.
    """
    folder = path.with_name(f".part-{path.name}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
        for part in (*folder.iterdir(), folder):
            sync(part)
        folder.rename(path)
        sync(path.parent)
    except BaseException as error:
        if isinstance(error, Exception) or not (folder / _JOURNAL).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def journal(folder: Path, key: str, image_size: int) -> Journal:
    """Return how far an unfinished pack is; nowhere, and its folder is emptied, where it is another one or damaged."""
    try:
        found = Journal.model_validate_json((folder / _JOURNAL).read_bytes())
        sizes = {
            _pixels_file(found.channels): (found.channels or 0) * image_size**2,
            _LABELS: 8,
            _DIGESTS: _DIGEST_BYTES,
        }
        if found.key == key and all(
            (folder / name).stat().st_size >= found.count * each for name, each in sizes.items()
        ):
            return found
    except (OSError, ValidationError):
        pass
    for file in folder.iterdir():
        file.unlink()
    return Journal(key=key)


class PackWriter:
    """Writes one pack into a folder, or goes on with one from what its journal tells.

    Without fixed `channels` it stays grayscale until its first coloured picture, and is widened then.
    """

    def __init__(
        self, folder: Path, image_size: int, channels: Literal[1, 3] | None, start: Journal | None = None
    ) -> None:
        self._folder, self._size = folder, image_size
        start = start or Journal(key="")
        self._channels: Literal[1, 3] = start.channels or channels or 1
        self._may_widen = channels is None
        self._labels: list[int | None] = []
        self._digests = bytearray()
        self._marked = start.count
        if start.count:
            self._restore(start.count)
        self._file = self._pixels.open("ab", _BLOCK_BYTES)

    def _restore(self, count: int) -> None:
        """Cut the files back to the pictures that are in them for sure."""
        os.truncate(self._pixels, count * self._channels * self._size**2)
        for name, each in ((_LABELS, 8), (_DIGESTS, _DIGEST_BYTES)):
            os.truncate(self._folder / name, count * each)
        labels = np.fromfile(self._folder / _LABELS, np.int64).tolist()
        self._labels = [None if label < 0 else label for label in labels]
        self._digests = bytearray((self._folder / _DIGESTS).read_bytes())

    @property
    def _pixels(self) -> Path:
        return self._folder / _pixels_file(self._channels)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._labels)

    def add(self, pixels: np.ndarray, label: int | None) -> None:
        """Append one picture, uint8 [1 or 3, H, W], grey as one channel; it is repeated in a pack of three."""
        if len(pixels) > self._channels and self._may_widen:
            self._widen()
        shape = (self._channels, self._size, self._size)
        whole = pixels if pixels.shape == shape else np.broadcast_to(pixels, shape)
        self._file.write(np.ascontiguousarray(whole).data)
        self._labels.append(label)
        self._digests += picture_digest(pixels)

    def mark(self, so_far: Journal) -> None:
        """Write down that all pictures added so far, of the items that `so_far` tells, need not be made again."""
        self._file.flush()
        sync(self._pixels)
        labels = [-1 if label is None else label for label in self._labels[self._marked :]]
        _append(self._folder / _LABELS, np.array(labels, np.int64).tobytes())
        _append(self._folder / _DIGESTS, bytes(self._digests[self._marked * _DIGEST_BYTES :]))
        self._marked = len(self)
        told = so_far.model_copy(update={"count": len(self), "channels": self._channels})
        write_text(self._folder / _JOURNAL, told.model_dump_json())
        for other in {1, 3} - {self._channels}:
            (self._folder / _pixels_file(other)).unlink(missing_ok=True)

    def finish(self, origin: Origin) -> PackInfo:
        """Write labels and `pack.json`, after which nothing may be added."""
        self._file.close()
        labels = np.array(self._labels, np.int64) if origin.class_names else None
        if labels is not None:
            np.save(self._folder / "labels.npy", labels)
        mean, std = _statistics(self._pixels, self._channels, self._size**2)
        info = PackInfo(
            **origin.model_dump(),
            image_size=self._size,
            channels=3 if self._channels == 3 else 1,
            count=len(self),
            mean=mean,
            std=std,
            duplicates=_duplicates(self._digests),
            content_hash="",
            labels_hash=None if labels is None else digest(labels),
            block_bytes=_BLOCK_BYTES,
            block_hashes=_block_hashes(self._pixels),
        )
        info = info.model_copy(update={"content_hash": content_hash(info)})
        (self._folder / "pack.json").write_text(info.model_dump_json(indent=1) + "\n", "utf-8")
        self._pixels.replace(self._folder / "pixels.bin")
        for name in (_JOURNAL, _LABELS, _DIGESTS, _pixels_file(1), _pixels_file(3)):
            (self._folder / name).unlink(missing_ok=True)
        return info

    def _widen(self) -> None:
        """Rewrite the gray pictures so far with three equal channels; the gray ones stay until the journal is."""
        self._file.close()
        plane = self._size**2
        with (self._folder / _pixels_file(3)).open("wb") as file:
            for part in _parts(self._pixels, plane):
                file.write(np.repeat(_planes(self._pixels, part, 1, plane), 3, axis=1).data)
        self._channels = 3
        self._file = self._pixels.open("ab", _BLOCK_BYTES)


def picture_digest(pixels: np.ndarray) -> bytes:
    """Hash of a picture, uint8 [1 or 3, H, W], 16 bytes; equal for a gray one and the same in three equal channels."""
    grey = pixels[:1] if all_grey(pixels) else pixels
    return blake2b(np.ascontiguousarray(grey).data, digest_size=_DIGEST_BYTES).digest()


def _pixels_file(channels: int | None) -> str:
    return f"pixels-{channels}.bin"


def _append(file: Path, content: bytes) -> None:
    with file.open("ab") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def _duplicates(digests: bytearray) -> tuple[tuple[int, ...], ...]:
    """Return the places of each set of equal digests, ascending, by first place."""
    rows = np.frombuffer(digests, f"S{_DIGEST_BYTES}")
    order = np.argsort(rows, kind="stable")
    differs = rows[order][1:] != rows[order][:-1]
    edges = np.flatnonzero(np.concatenate([[True], differs, [True]]))
    several = np.flatnonzero(np.diff(edges) > 1)  # a few of millions: the others get no objects of their own
    return tuple(sorted(tuple(order[edges[at] : edges[at + 1]].tolist()) for at in several))


# --- What was written, read back by several threads --------------------------------------------------------------


def _parts(file: Path, each: int) -> list[range]:
    """Cut a file of pictures, `each` bytes a picture, into parts of a few MiB, in whole pictures: ranges of bytes."""
    size, step = file.stat().st_size, max(1, _READ_BYTES // each) * each
    return [range(start, min(start + step, size)) for start in range(0, size, step)]


def _read(file: Path, part: range) -> np.ndarray:
    return np.fromfile(file, np.uint8, len(part), offset=part.start)


def _planes(file: Path, part: range, channels: int, plane: int) -> np.ndarray:
    """Pictures, uint8 [n, C, H W], that lie in a part of a file."""
    return _read(file, part).reshape(-1, channels, plane)


def _block_hashes(file: Path) -> tuple[str, ...]:
    with ThreadPoolExecutor(_THREADS) as threads:
        size = file.stat().st_size
        blocks = (range(start, min(start + _BLOCK_BYTES, size)) for start in range(0, size, _BLOCK_BYTES))
        return tuple(threads.map(lambda block: sha256(_read(file, block).data).hexdigest(), blocks))


def _statistics(file: Path, channels: int, plane: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, levels in 0..1, from exact counts of each grey level."""

    def counted(part: range) -> np.ndarray:
        pixels = torch.from_numpy(_planes(file, part, channels, plane).transpose(1, 0, 2).reshape(channels, -1))
        return np.stack([torch.bincount(values, minlength=256).numpy() for values in pixels])  # 4 times numpy's speed

    counts = np.zeros((channels, 256), np.int64)
    with ThreadPoolExecutor(_THREADS) as threads:
        for found in threads.map(counted, _parts(file, channels * plane)):
            counts += found
    levels = np.arange(256) / 255
    weights = counts / counts.sum(1, keepdims=True)
    mean = weights @ levels
    std = np.sqrt((weights * (levels - mean[:, None]) ** 2).sum(1))
    return tuple(mean.tolist()), tuple(std.tolist())
