"""Pictures that two packs have in common, such as those of a test split that were trained on as well."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mezzotint.data.loading import iterate
from mezzotint.data.pack import Pack
from mezzotint.data.writing import picture_digest
from mezzotint.errors import BadInput

_BYTES = 2**24  # in memory at a time


@dataclass(frozen=True, slots=True)
class Overlap:
    """Places (int64, ascending) of the pictures of a pack that another has too, and of the other's that it has."""

    ours: np.ndarray
    theirs: np.ndarray

    def __bool__(self) -> bool:
        return bool(len(self.ours))


def overlap(pack: Pack, other: Pack) -> Overlap:
    """Compare two packs picture by picture, by content; gray equals the same in three channels.

    Only pictures prepared alike can be equal: `BadInput` where the packs differ in size, crop or filter.
    """
    for name in ("image_size", "crop", "filter"):
        ours, theirs = getattr(pack.info, name), getattr(other.info, name)
        if ours != theirs:
            raise BadInput(
                f"{other.path}: has {name} {theirs}, {pack.path} has {ours}; prepare both alike to compare them"
            )
    ours, theirs = _digests(pack), _digests(other)
    return Overlap(np.flatnonzero(np.isin(ours, theirs)), np.flatnonzero(np.isin(theirs, ours)))


def _digests(pack: Pack) -> np.ndarray:
    """Hash of each picture, bytes of length 16 [N]."""

    def hashed() -> Iterator[bytes]:
        length = max(1, _BYTES // (pack.channels * pack.image_size**2))
        for pixels, _ in iterate(pack, length, np.arange(len(pack))):
            yield from map(picture_digest, pixels.numpy())

    return np.fromiter(hashed(), "S16", len(pack))
