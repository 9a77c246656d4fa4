"""MNIST: 70,000 handwritten digits, 28x28, grayscale (LeCun et al. 1998), in idx files."""

from pathlib import Path

from mezzotint.data.sources import Card, Listing, Original, Source
from mezzotint.data.sources.idx import idx_listing
from mezzotint.data.sources.parquet import Parquet, holds_parquet

_CARD = Card(
    title="MNIST",
    pictures={"train": 60_000, "test": 10_000},
    labels="10 digits",
    licence="CC BY-SA 3.0",
    citation="LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition, 1998",
    size=11_594_722,
    layout="a folder of train-images-idx3-ubyte.gz and its three fellows, or Parquet files",
    originals=(
        Original(
            "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
            9_912_422,
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        ),
        Original(
            "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
            28_881,
            "d53e105ee54ea40749a09fcbcd1e9432",
        ),
        Original(
            "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
            1_648_877,
            "9fb629c4189551a2d022fa330f9573f3",
        ),
        Original(
            "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
            4_542,
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
)


class MNIST(Source):
    """The four original files, gzipped or not, in one folder; or the hub's Parquet."""

    card = _CARD

    def open(self, path: Path | None, split: str) -> Listing:
        """List a split's pictures, uint8 [28, 28], white on black."""
        if holds_parquet(path):
            return Parquet().open(path, split)
        return idx_listing(path, split, [str(digit) for digit in range(10)], _CARD)
