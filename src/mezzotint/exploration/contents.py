"""What a pack holds, counted over every picture in constant memory: grey levels, mean images, classes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mezzotint.data.pack import Pack
from mezzotint.seeds import mix, shuffled

_CHUNK_BYTES = 2**22
MOST_CLASS_MEANS = 16
"""Classes whose mean image is made; of more, none is."""


@dataclass(frozen=True)
class Contents:
    """Counts and means over all pictures of a pack."""

    levels: np.ndarray  # int64 [C, 256], how often each grey level stands in each channel
    classes: dict[str, int]  # pictures of each class; empty without labels
    mean_image: np.ndarray  # float64 [C, H, W], grey levels
    class_means: np.ndarray  # float64 [K, C, H, W]; K = 0 without labels or with too many classes


def chunks(pack: Pack, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield parts of int64 [n] rows with their pixels uint8 [m, C, H, W], a few MiB at a time."""
    length = max(1, _CHUNK_BYTES // (pack.channels * pack.image_size**2))
    for start in range(0, len(rows), length):
        part = rows[start : start + length]
        yield part, pack.pixels(part)


def some_rows(pack: Pack, most: int, seed: int) -> np.ndarray:
    """Choose at most so many pictures at random, int64 ascending; the same ones for the same seed."""
    return np.sort(shuffled(len(pack), mix("some", seed), 0, min(most, len(pack))))


def contents(pack: Pack) -> Contents:
    """Count grey levels and classes and average pictures, over the whole pack."""
    shape = (pack.channels, pack.image_size, pack.image_size)
    with_means = pack.num_classes if 2 <= pack.num_classes <= MOST_CLASS_MEANS else 0
    levels, total = np.zeros((pack.channels, 256), np.int64), np.zeros(shape)
    counts, sums = np.zeros(pack.num_classes, np.int64), np.zeros((with_means, *shape))
    for rows, pixels in chunks(pack, np.arange(len(pack))):
        array, labels = pixels.numpy(), pack.labels(rows)
        levels += np.stack([np.bincount(array[:, c].ravel(), minlength=256) for c in range(pack.channels)])
        total += array.sum(0)
        if labels is not None:
            counts += np.bincount(labels.numpy(), minlength=pack.num_classes)
            for label in np.unique(labels.numpy()) if with_means else ():
                sums[label] += array[labels.numpy() == label].sum(0)
    means = sums / np.maximum(counts, 1).reshape(-1, 1, 1, 1) if with_means else sums
    return Contents(levels, dict(zip(pack.class_names, counts.tolist(), strict=True)), total / len(pack), means)
