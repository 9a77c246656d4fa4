"""CIFAR-10: 60,000 pictures of ten classes, 32x32 (Krizhevsky 2009), as Python batches or hub copy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mezzotint.data.sources import Card, Item, Listing, Original, Source, chosen_splits, printable
from mezzotint.data.sources.archives import Members, members
from mezzotint.data.sources.batches import Refused, read_batch
from mezzotint.data.sources.parquet import Parquet, holds_parquet
from mezzotint.errors import BadInput

_CARD = Card(
    title="CIFAR-10",
    pictures={"train": 50_000, "test": 10_000},
    labels="10 classes",
    licence="none stated; research use is customary",
    citation="Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009",
    size=170_498_071,
    layout="cifar-10-python.tar.gz, the folder cifar-10-batches-py, or Parquet files",
    originals=(
        Original(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", 170_498_071, "c58f30108f718f92721af3b95e74349a"
        ),
    ),
    pages=("https://huggingface.co/datasets/uoft-cs/cifar10",),
)
_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FILES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
_SIDE = 32  # pixels


class CIFAR10(Source):
    """The original Python batches, in their archive or unpacked, whose pickles are read and never run; or Parquet."""

    card = _CARD

    def open(self, path: Path | None, split: str) -> Listing:
        """List a split's pictures, in the order of the batches."""
        if holds_parquet(path):
            return Parquet().open(path, split)
        found = members(path, _CARD.wanted)
        names = [name for chosen in chosen_splits(split, _FILES) for name in _FILES[chosen]]
        batches = [f"{found.beside(name)}{name}" for name in names]
        counts = [len(_batch(found, batch)["labels"]) for batch in batches]
        starts = np.cumsum([0, *counts])

        def read(indices: np.ndarray) -> Iterator[Item]:
            for batch, start, end in zip(batches, starts[:-1], starts[1:], strict=True):
                rows = indices[(indices >= start) & (indices < end)] - start
                if len(rows):
                    yield from _items(_batch(found, batch), rows)

        provenance = {"path": printable(found.path), "revision": found.identity, "licence": _CARD.licence}
        return Listing(int(starts[-1]), _CLASSES, f"{found.identity} {split}", provenance, read)


def _batch(found: Members, member: str) -> dict[str, Any]:
    """Read one batch: data uint8 [N, 3072] (planes red, green, blue), labels and file names; 30 MB."""
    try:
        batch = read_batch(found.bytes(member))
        labels, data, names = batch["labels"], batch["data"], batch["filenames"]
        if not len(labels) == len(names) == len(data) or data.shape[1:] != (3 * _SIDE**2,):
            raise Refused(f"it has {len(labels)} labels, {len(names)} names and data {data.shape}")
    except (Refused, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"data.path: {member} in {found.path} is no CIFAR-10 batch: {error}") from None
    return batch


def _items(batch: dict[str, Any], rows: np.ndarray) -> Iterator[Item]:
    pixels = batch["data"].reshape(-1, 3, _SIDE, _SIDE)
    for row in rows.tolist():
        yield Item(batch["filenames"][row], batch["labels"][row], pixels[row].transpose(1, 2, 0).copy())
