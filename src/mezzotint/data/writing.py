"""Writing a pack: pictures one after another, then labels, statistics, hashes and the description."""

from collections.abc import Iterator
from hashlib import blake2b, sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from mezzotint.data.pack import Origin, PackInfo, content_hash, digest

_BLOCK_BYTES = 2**20
_DIGEST_BYTES = 16
_PICTURES = 1024  # read back at a time


class PackWriter:
    """Writes one pack into a folder.

    Without fixed `channels` it stays grayscale until its first coloured picture, and is widened then.
    """

    def __init__(self, folder: Path, image_size: int, channels: int | None) -> None:
        self._folder, self._size = folder, image_size
        self._channels, self._may_widen = channels or 1, channels is None
        self._labels: list[int | None] = []
        self._digests = bytearray()
        self._file = (folder / "pixels.bin").open("wb")

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
        self._file.write(np.ascontiguousarray(np.broadcast_to(pixels, shape)).data)
        self._labels.append(label)
        self._digests += blake2b(np.ascontiguousarray(pixels).data, digest_size=_DIGEST_BYTES).digest()

    def finish(self, origin: Origin) -> PackInfo:
        """Write labels and `pack.json`, after which nothing may be added."""
        self._file.close()
        labels = np.array(self._labels, np.int64) if origin.class_names else None
        if labels is not None:
            np.save(self._folder / "labels.npy", labels)
        mean, std = _statistics(self._stored(), self._channels)
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
            block_hashes=_block_hashes(self._folder / "pixels.bin"),
        )
        info = info.model_copy(update={"content_hash": content_hash(info)})
        (self._folder / "pack.json").write_text(info.model_dump_json(indent=1) + "\n", "utf-8")
        return info

    def _stored(self) -> Iterator[np.ndarray]:
        """Read the pictures written so far back, uint8 [n, C, H, W]."""
        shape = (self._channels, self._size, self._size)
        with (self._folder / "pixels.bin").open("rb") as file:
            while data := file.read(_PICTURES * int(np.prod(shape))):
                yield np.frombuffer(data, np.uint8).reshape(-1, *shape)

    def _widen(self) -> None:
        """Rewrite the gray pictures so far with three equal channels."""
        self._file.close()
        wide = self._folder / "wide.bin"
        with wide.open("wb") as file:
            for pixels in self._stored():
                file.write(np.repeat(pixels, 3, axis=1).data)
        wide.replace(self._folder / "pixels.bin")
        self._channels = 3
        self._file = (self._folder / "pixels.bin").open("ab")


def _duplicates(digests: bytearray) -> tuple[tuple[int, ...], ...]:
    """Return the places of each set of equal digests, ascending, by first place."""
    rows = np.frombuffer(digests, f"S{_DIGEST_BYTES}")
    order = np.argsort(rows, kind="stable")
    ends = np.flatnonzero(rows[order][1:] != rows[order][:-1]) + 1
    groups = (group for group in np.split(order, ends) if len(group) > 1)
    return tuple(sorted(tuple(group.tolist()) for group in groups))


def _block_hashes(file: Path) -> tuple[str, ...]:
    with file.open("rb") as opened:
        return tuple(sha256(block).hexdigest() for block in iter(lambda: opened.read(_BLOCK_BYTES), b""))


def _statistics(stored: Iterator[np.ndarray], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, levels in 0..1, from exact counts of each grey level."""
    counts = np.zeros((channels, 256), np.int64)
    for pixels in stored:
        for channel in range(channels):
            counts[channel] += np.bincount(pixels[:, channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    weights = counts / counts.sum(1, keepdims=True)
    mean = weights @ levels
    std = np.sqrt((weights * (levels - mean[:, None]) ** 2).sum(1))
    return tuple(mean.tolist()), tuple(std.tolist())
