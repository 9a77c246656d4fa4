"""Fashion-MNIST: 70,000 pieces of clothing, 28x28, grayscale (Xiao et al. 2017), in idx files."""

from pathlib import Path

from mezzotint.data.sources import Card, Listing, Original, Source
from mezzotint.data.sources.idx import idx_listing
from mezzotint.data.sources.parquet import Parquet, holds_parquet

_CARD = Card(
    title="Fashion-MNIST",
    pictures={"train": 60_000, "test": 10_000},
    labels="10 kinds of clothing",
    licence="MIT",
    citation="Xiao, Rasul, Vollgraf: Fashion-MNIST, arXiv:1708.07747",
    size=30_878_645,
    layout="a folder of train-images-idx3-ubyte.gz and its three fellows, or Parquet files",
    originals=(
        Original(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
            26_421_880,
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        ),
        Original(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
            29_515,
            "25c81989df183df01b3e8a0aad5dffbe",
        ),
        Original(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz",
            4_422_102,
            "bef4ecab320f06d8554ea6380940ec79",
        ),
        Original(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz",
            5_148,
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
)
_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


class FashionMNIST(Source):
    """The four original files, gzipped or not, in one folder; or the hub's Parquet."""

    card = _CARD

    def open(self, path: Path | None, split: str) -> Listing:
        """List a split's pictures, uint8 [28, 28], white on black."""
        if holds_parquet(path):
            return Parquet().open(path, split)
        return idx_listing(path, split, _CLASSES, _CARD)
