"""Which images these are: keys and fingerprints from their content, and sets of them that can be read again."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from mezzotint.errors import BadInput
from mezzotint.evaluation.extractors import Batches


class Keys:
    """Gives every image of a set a number from its content, copies told apart: uint64, the same in any order."""

    def __init__(self) -> None:
        self._seen: Counter[bytes] = Counter()

    def _key(self, image: np.ndarray) -> bytes:
        digest = blake2b(image.data, digest_size=8).digest()
        copies = self._seen[digest]
        self._seen[digest] += 1
        return blake2b(digest, digest_size=8, salt=copies.to_bytes(8, "little")).digest()

    def of(self, pixels: Tensor) -> np.ndarray:
        """Pixels uint8 [N, C, H, W] -> keys uint64 [N]."""
        images = pixels.contiguous().cpu().numpy()
        return np.frombuffer(b"".join(self._key(image) for image in images), dtype="<u8")


def fingerprint(keys: np.ndarray) -> str:
    """Hash a set of image keys to 32 hexadecimal digits, whatever their order."""
    return blake2b(np.sort(keys).tobytes(), digest_size=16).hexdigest()


def _problem(pixels: Tensor, size: tuple[int, ...] | None) -> str | None:
    if pixels.dtype != torch.uint8:
        return f"pixels must be uint8 0..255, these are {str(pixels.dtype).removeprefix('torch.')}"
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
        return f"pixels must be [N, 1 or 3, H, W], these are {list(pixels.shape)}"
    if size is not None and pixels.shape[2:] != size:
        return f"all images must have one size, found {_size(size)} and {_size(pixels.shape[2:])}"
    return None


def _size(size: Sequence[int]) -> str:
    return f"{size[1]}x{size[0]} px"


def colour_batches(
    batches: Batches, what: str, size: tuple[int, ...] | None = None
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Check batches and repeat grayscale to three channels: uint8 [N, 3, H, W], labels int64 [N] or None."""
    for pixels, labels in batches:
        problem = _problem(pixels, size)
        if problem:
            raise BadInput(f"{what}: {problem}")
        size = tuple(pixels.shape[2:])
        yield pixels.expand(-1, 3, -1, -1), labels


@dataclass(frozen=True)
class ImageSet:
    """Images that can be read again, their keys in reading order, and which of them are meant."""

    what: str
    batches: Batches
    keys: np.ndarray  # uint64 [all images], in reading order
    chosen: np.ndarray  # bool [all images]
    size: tuple[int, ...]

    @classmethod
    def of(cls, batches: Batches, what: str, size: tuple[int, ...] | None = None) -> "ImageSet":
        """Read everything once for its keys; batches that can be read only once are kept in memory."""
        again = list(batches) if iter(batches) is batches else batches
        numbering, keys = Keys(), []
        for pixels, _ in colour_batches(again, what, size):
            keys.append(numbering.of(pixels))
            size = tuple(pixels.shape[2:])
        if not keys or size is None:
            raise BadInput(f"{what}: there are no images")
        every = np.concatenate(keys)
        return cls(what, again, every, np.ones(len(every), dtype=bool), size)

    def __len__(self) -> int:
        return int(self.chosen.sum())

    def only(self, chosen: np.ndarray) -> "ImageSet":
        """Return those of the meant images for which `chosen`, bool [all images], is true."""
        return replace(self, chosen=self.chosen & chosen)

    def first(self, count: int) -> "ImageSet":
        """Return the `count` images with the smallest keys: as good as drawn at random, whatever the order."""
        if count >= len(self):
            return self
        last = np.partition(self.chosen_keys, count - 1)[count - 1]
        return self.only(self.keys <= last)

    @property
    def chosen_keys(self) -> np.ndarray:
        """Keys of the meant images, uint64, in reading order."""
        return self.keys[self.chosen]

    @property
    def fingerprint(self) -> str:
        """Content hash of the meant images."""
        return fingerprint(self.chosen_keys)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Read the meant images as colour batches."""
        start = 0
        for pixels, labels in colour_batches(self.batches, self.what):
            mask = torch.from_numpy(self.chosen[start : start + len(pixels)])
            start += len(pixels)
            if mask.any():
                yield pixels[mask], None if labels is None else labels[mask]
