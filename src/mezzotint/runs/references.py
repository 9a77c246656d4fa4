"""The real side of a judgement: what a data argument names, and what is known of the images it holds."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from mezzotint.data.loading import iterate
from mezzotint.data.pack import Pack
from mezzotint.data.prepare import DataOptions, ensure_pack
from mezzotint.data.sources import SOURCES, Item, Listing
from mezzotint.errors import BadInput, nearest
from mezzotint.evaluation.given import Statistics, holds_statistics
from mezzotint.evaluation.identity import Images
from mezzotint.evaluation.images import open_images
from mezzotint.evaluation.score import Provenance
from mezzotint.options import parse

BATCH = 64


@dataclass(frozen=True)
class Packed(Images):
    """Chosen images of a pack as batches."""

    pack: Pack
    indices: np.ndarray
    batch_size: int

    @classmethod
    def whole(cls, pack: Pack) -> "Packed":
        """Return all images of a pack."""
        return cls(pack, np.arange(len(pack)), BATCH)

    @property
    def format(self) -> str:
        """Name the format of the first picture that was prepared."""
        return provenance(self.pack).format

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, number: int) -> tuple[Tensor, Tensor | None]:
        """Read pixels uint8 [n, C, H, W] and labels int64 [n] or None."""
        rows = self.indices[number * self.batch_size : (number + 1) * self.batch_size]
        return next(iterate(self.pack, self.batch_size, rows))


def data_options(text: str, like: DataOptions) -> DataOptions:
    """Read a data argument (a pack, a Parquet file, a folder, or SOURCE[:SPLIT]) as prepared like other images are."""
    path, (name, _, split) = Path(text), text.partition(":")
    tree = like.tree() | {"pack": None, "path": None, "limit": None, "fraction": None}
    if (path / "pack.json").is_file():
        return parse(
            DataOptions, tree | {"pack": path, "channels": None, "classes": ()}
        )  # gray and RGB compare: gray is repeated
    if path.exists():
        source = "folder" if path.is_dir() else "parquet"
        return parse(DataOptions, tree | {"source": source, "path": path.absolute(), "split": "all"})
    if name in SOURCES:
        return parse(DataOptions, tree | {"source": name, "split": split or "test"})
    raise BadInput(f"data {text!r}: no such pack, file or folder, and no such source; {nearest(name, SOURCES)}")


@dataclass(frozen=True)
class Real:
    """What a data argument names: a prepared pack, an array of pixels, or statistics alone; and what is known of it."""

    held: Pack | Images | Statistics
    provenance: Provenance


def open_real(text: str, like: DataOptions) -> Real:
    """Open a data argument; whatever must be decoded is prepared like other images are."""
    path = Path(text)
    if path.suffix == ".npz" and path.is_file():
        if holds_statistics(path):
            return Real(Statistics.open(path), Provenance(path.name, format="statistics"))
        return Real(open_images(path), Provenance(path.name, format="array"))
    pack = ensure_pack(data_options(text, like))
    return Real(pack, provenance(pack))


def provenance(pack: Pack) -> Provenance:
    """Tell where a pack's images came from: what their files tell is unknown where they are no longer there."""
    info = pack.info
    place = info.provenance.get("path")
    name = Path(place).name if place else str(info.source.get("kind"))
    kind, whole = _files(pack)
    return Provenance(name, info.split, kind, f"{info.image_size} px, crop {info.crop}, resize {info.filter}", whole)


def listing_of(pack: Pack) -> Listing | None:
    """List what a pack was prepared from; None where it is no longer there."""
    info, place = pack.info, pack.info.provenance.get("path")
    tree = {key: value for key, value in info.source.items() if key != "kind"}
    try:
        return parse(SOURCES[str(info.source["kind"])], tree).open(Path(place) if place else None, info.split)
    except (BadInput, OSError):
        return None  # moved since it was prepared


def _files(pack: Pack) -> tuple[str, bool]:
    """Return the format of the first picture's file, and whether the pack is known to hold all pictures there are."""
    listing = listing_of(pack)
    try:
        if listing is None:
            return "unknown", False
        return _format_of(next(listing.read(np.arange(1)))), listing.count == len(pack)
    except (BadInput, OSError, StopIteration):
        return "unknown", False


def _format_of(item: Item) -> str:
    if isinstance(item.content, np.ndarray):
        return "array"
    with Image.open(BytesIO(item.content) if isinstance(item.content, bytes) else item.content) as picture:
        return str(picture.format).lower()
