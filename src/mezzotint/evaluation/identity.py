"""Which images these are: keys and fingerprints from their content, and sets of them that can be read again."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from mezzotint.errors import BadInput
from mezzotint.evaluation.extractors import Batches


def digests(pixels: Tensor) -> np.ndarray:
    """Pixels uint8 [N, C, H, W] -> uint64 [N], the same for copies of one image."""
    images = pixels.contiguous().cpu().numpy()
    return np.frombuffer(b"".join(blake2b(image.data, digest_size=8).digest() for image in images), dtype="<u8")


class Keys:
    """Gives every image of a set a number from its content, copies told apart: uint64, the same in any order."""

    def __init__(self) -> None:
        self._seen: Counter[bytes] = Counter()

    def _key(self, digest: bytes) -> bytes:
        copies = self._seen[digest]
        self._seen[digest] += 1
        return blake2b(digest, digest_size=8, salt=copies.to_bytes(8, "little")).digest()

    def told_apart(self, found: np.ndarray) -> np.ndarray:
        """Digests uint64 [N] -> keys uint64 [N]."""
        return np.frombuffer(b"".join(self._key(digest.tobytes()) for digest in found), dtype="<u8")


def fingerprint(keys: np.ndarray) -> str:
    """Hash a set of image keys to 32 hexadecimal digits, whatever their order."""
    return blake2b(np.sort(keys).tobytes(), digest_size=16).hexdigest()


def _problem(pixels: Tensor, size: tuple[int, ...] | None) -> str | None:
    if pixels.dtype != torch.uint8:
        name = str(pixels.dtype).removeprefix("torch.")
        return f"pixels must be uint8 0..255, these are {name}{hint(pixels)}"
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
        return f"pixels must be [N, 1 or 3, H, W], these are {list(pixels.shape)}"
    if size is not None and pixels.shape[2:] != size:
        return f"all images must have one size, found {_size(size)} and {_size(pixels.shape[2:])}"
    return None


def hint(pixels: Tensor) -> str:
    """Say in parentheses what range floating-point pixels have, and how they become right ones; else nothing."""
    if not pixels.is_floating_point() or not pixels.numel():
        return ""
    low, high = pixels.amin().item(), pixels.amax().item()
    if low >= 0 and high <= 1:
        return f" (from {low:.3g} to {high:.3g}: multiply by 255 and round)"
    if low >= -1 and high <= 1:
        return f" (from {low:.3g} to {high:.3g}: images, which mezzotint.pixels.to_pixels makes pixels)"
    return f" (from {low:.3g} to {high:.3g})"


def _size(size: Sequence[int]) -> str:
    return f"{size[1]}x{size[0]} px"


def coloured(pixels: Tensor, what: str, size: tuple[int, ...] | None) -> Tensor:
    """Check pixels and repeat grayscale to three channels: uint8 [N, 3, H, W]."""
    problem = _problem(pixels, size)
    if problem:
        raise BadInput(f"{what}: {problem}")
    return pixels.expand(-1, 3, -1, -1)


def colour_batches(
    batches: Batches, what: str, size: tuple[int, ...] | None = None
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Check batches and repeat grayscale to three channels: uint8 [N, 3, H, W], labels int64 [N] or None."""
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != 2:  # bare pixels would come apart along N
            raise BadInput(f"{what}: each batch must be a pair (pixels, labels or None), got {type(batch).__name__}")
        pixels, labels = batch
        found = coloured(pixels, what, size)
        size = tuple(pixels.shape[2:])
        yield found, labels


def joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Concatenate what belongs to the batches of one set; None unless every batch has it."""
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known and len(known) == len(parts) else None


class Images(ABC):
    """Images counted before they are read, and read batch by batch in any order, again and again."""

    batch_size: int

    @property
    def format(self) -> str:
        """What files these images come from, which may have changed them: png, jpeg, array, ..."""
        return "unknown"

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def batch(self, number: int) -> tuple[Tensor, Tensor | None]:
        """Pixels uint8 [n, C, H, W] and labels int64 [n] or None; only the last batch is shorter than the others."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield all batches in order."""
        for number in range(-(-len(self) // self.batch_size)):
            yield self.batch(number)


@dataclass(frozen=True)
class ImageSet:
    """Images that can be read again, their keys and labels in reading order, and which of them are meant."""

    what: str
    batches: Batches
    keys: np.ndarray  # uint64 [all images], in reading order
    digests: np.ndarray  # uint64 [all images], in reading order: copies have the same
    labels: Tensor | None  # int64 [all images], in reading order
    chosen: np.ndarray  # bool [all images]
    size: tuple[int, ...]

    @classmethod
    def of(cls, batches: Batches, what: str, size: tuple[int, ...] | None = None) -> "ImageSet":
        """Read everything once for its keys; batches that can be read only once are kept in memory."""
        again = list(batches) if iter(batches) is batches else batches
        known, labels = [], []
        for pixels, classes in colour_batches(again, what, size):
            known.append(digests(pixels))
            labels.append(classes)
            size = tuple(pixels.shape[2:])
        if not known or size is None:
            raise BadInput(f"{what}: there are no images")
        every = np.concatenate(known)
        keys, chosen = Keys().told_apart(every), np.ones(len(every), dtype=bool)
        return cls(what, again, keys, every, joined(labels), chosen, size)

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
    def chosen_labels(self) -> Tensor | None:
        """Labels of the meant images, int64, in reading order."""
        return None if self.labels is None else self.labels[torch.from_numpy(self.chosen)]

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
