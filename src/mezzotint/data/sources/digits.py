"""Embedded: scikit-learn's 1,797 handwritten digits, 8x8, grayscale; no files and no network needed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mezzotint.data.sources import Item, Listing, Source
from mezzotint.errors import BadInput, nearest

_HIGHEST = 16  # grey levels in the data set are counts of inked pixels in 4x4 cells


class Digits(Source):
    """Handwritten digits from the UCI repository (Alpaydin & Kaynak 1998), the last fifth being the test split."""

    def open(self, path: Path | None, split: str) -> Listing:
        """List 1,437 train, 360 test, or all pictures, ten classes; a path makes no sense here (`BadInput`)."""
        if path is not None:
            raise BadInput(f"data.path: digits are embedded and take no path, got {path}; did you mean data.source?")
        pixels, labels = _load()
        cut = len(labels) * 4 // 5
        splits = {"train": range(cut), "test": range(cut, len(labels)), "all": range(len(labels))}
        if split not in splits:
            raise BadInput(f"data.split: digits have no split {split!r}; {nearest(split, splits)}")
        rows = splits[split]

        def read(indices: np.ndarray) -> Iterator[Item]:
            for row in (rows[int(index)] for index in indices):
                yield Item(f"digit {row}", int(labels[row]), pixels[row])

        names = tuple(str(digit) for digit in range(10))
        provenance = {
            "revision": "scikit-learn's load_digits",
            "licence": "CC BY 4.0 (UCI, Optical Recognition of Handwritten Digits)",
        }
        return Listing(len(rows), names, f"digits {split}", provenance, read)


def _load() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits  # noqa: PLC0415  (only this source needs it)

    levels, labels = load_digits(return_X_y=True)
    pixels = np.round(levels * (255 / _HIGHEST)).astype(np.uint8)
    return pixels.reshape(-1, 8, 8), np.asarray(labels)
