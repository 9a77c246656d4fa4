"""ImageNet at 64x64: 1.28 million pictures of 1,000 classes (Chrabaszcz et al. 2017), in .npz batches."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mezzotint.data.sources import (
    Card,
    Item,
    Listing,
    Original,
    Source,
    chosen_splits,
    existing,
    fingerprint,
    printable,
)
from mezzotint.data.sources.arrays import Rows, npz_arrays
from mezzotint.errors import BadInput

_CARD = Card(
    title="Downsampled ImageNet, 64x64",
    pictures={"train": 1_281_167, "validation": 50_000},
    labels="1,000 classes, numbered in the authors' own order",
    licence="ImageNet's terms: non-commercial research and education; needs an account",
    citation="Chrabaszcz, Loshchilov, Hutter: A Downsampled Variant of ImageNet, arXiv:1707.08819",
    size=13_000_000_000,
    layout="a folder with train_data_batch_1.npz to 10 and val_data.npz, unzipped (the npz variant)",
    originals=(
        Original(
            "https://image-net.org/data/downsample/Imagenet64_train_part1_npz.zip", splits=("train",), unpack=True
        ),
        Original(
            "https://image-net.org/data/downsample/Imagenet64_train_part2_npz.zip", splits=("train",), unpack=True
        ),
        Original("https://image-net.org/data/downsample/Imagenet64_val_npz.zip", splits=("validation",), unpack=True),
    ),
)
_PATTERNS = {"train": "train_data_batch_*.npz", "validation": "val_data*.npz"}
_SIDE, _CLASSES = 64, 1000


class ImageNet64(Source):
    """The .npz batches: `data` uint8 [N, 12288], planes red, green, blue; `labels` from 1 to 1000."""

    card = _CARD

    def open(self, path: Path | None, split: str) -> Listing:
        """List a split's pictures, in the order of the batches."""
        folder = existing(path, _CARD.wanted)
        if not folder.is_dir():
            raise BadInput(f"data.path: {folder} is a file, must be {_CARD.wanted}")
        files = [file for name in chosen_splits(split, _PATTERNS) for file in _batches(folder, _PATTERNS[name])]
        batches = [_batch(file) for file in files]
        starts = np.cumsum([0, *(len(labels) for _, labels in batches)])

        def read(indices: np.ndarray) -> Iterator[Item]:
            for file, (data, labels), start, end in zip(files, batches, starts[:-1], starts[1:], strict=True):
                rows = indices[(indices >= start) & (indices < end)] - start
                for row, flat in zip(rows.tolist(), data.read(rows), strict=True):
                    pixels = flat.reshape(3, _SIDE, _SIDE).transpose(1, 2, 0).copy()
                    yield Item(f"{file.name}:{row}", int(labels[row]), pixels)

        identity = fingerprint(files)
        provenance = {"path": printable(folder), "revision": identity, "licence": _CARD.licence}
        return Listing(int(starts[-1]), tuple(str(n) for n in range(1, _CLASSES + 1)), identity, provenance, read)


def _batches(folder: Path, pattern: str) -> list[Path]:
    files = sorted(folder.rglob(pattern), key=lambda file: (len(file.name), file.name))  # batch_10 comes after batch_9
    if not files:
        zipped = next(iter(sorted(folder.rglob("*npz.zip"))), None)
        hint = f"; unzip {zipped} first" if zipped else ""
        raise BadInput(f"data.path: {folder} holds no {pattern}, must be {_CARD.wanted}{hint}")
    return files


def _batch(file: Path) -> tuple[Rows, np.ndarray]:
    """Return a batch's pictures, unread, and its labels from 0."""
    arrays = npz_arrays(file)
    if not {"data", "labels"} <= set(arrays):
        raise BadInput(f"data.path: {file} holds {sorted(arrays)}, must hold data and labels")
    data, labels = arrays["data"], arrays["labels"].whole()
    if data.shape != (len(labels), 3 * _SIDE**2) or data.dtype != np.uint8:
        raise BadInput(f"data.path: {file} has data {data.dtype} {list(data.shape)}, must be uint8 [N, {3 * _SIDE**2}]")
    return data, labels.astype(np.int64) - 1
