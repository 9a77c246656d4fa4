"""The pictures a pack was made from, as they were before: sizes from their headers, and a look at some."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mezzotint.data.crops import Pad
from mezzotint.data.decode import Decoded, Decoder, quiet
from mezzotint.data.pack import Pack
from mezzotint.data.sources import Item, Listing
from mezzotint.runs.references import listing_of
from mezzotint.seeds import mix, shuffled

MOST_HEADERS = 20_000
"""Originals whose size is read: of more, so many at random."""

_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112
_WHITE = 255


@dataclass(frozen=True)
class Originals:
    """What the headers of a source's pictures tell; those whose header can't be read are left out of `sizes`."""

    listing: Listing
    places: np.ndarray  # int64 [n] in the source, ascending
    names: tuple[str, ...]
    sizes: np.ndarray  # int64 [n, 2] width and height, turned upright

    @property
    def ratios(self) -> np.ndarray:
        """Width over height, float64 [n]."""
        return self.sizes[:, 0] / self.sizes[:, 1]

    def enlarged(self, size: int) -> float:
        """Return the share of originals whose shorter side has fewer than `size` pixels."""
        return float((self.sizes.min(1) < size).mean())


def originals(pack: Pack, seed: int = 0) -> Originals | None:
    """Read the sizes of the pictures a pack was made from; None where they are no longer there or have changed."""
    listing = listing_of(pack)
    if listing is None or dict(listing.provenance) != pack.info.provenance:
        return None
    places = np.sort(shuffled(listing.count, mix("originals", seed), 0, min(MOST_HEADERS, listing.count)))
    with quiet():
        found = [(item.name, size_of(item)) for item in listing.read(places)]
    read = [(place, name, size) for place, (name, size) in zip(places, found, strict=True) if size]
    if not read:
        return None
    kept, names, sizes = zip(*read, strict=True)
    return Originals(listing, np.array(kept), tuple(names), np.array(sizes))


def size_of(item: Item) -> tuple[int, int] | None:
    """Return an original's width and height in pixels, turned upright; None where its header can't be read."""
    if isinstance(item.content, np.ndarray):
        return item.content.shape[1], item.content.shape[0]
    try:
        with Image.open(io.BytesIO(item.content) if isinstance(item.content, bytes) else item.content) as picture:
            width, height = picture.size
            return (height, width) if picture.getexif().get(_ORIENTATION) in _TURNED else (width, height)
    except Exception:  # a decoder fed with arbitrary bytes raises arbitrary errors
        return None


def rows_of(found: Originals, pack: Pack) -> np.ndarray | None:
    """Return which original each picture of a pack is, int64 [N] into `found`; None where that isn't known.

    It is known where every original was offered to the pack and read here.
    """
    skipped = {item.name for item in pack.info.skipped_names}
    rows = np.flatnonzero([name not in skipped for name in found.names])
    return rows if pack.info.offered == found.listing.count and len(rows) == len(pack) else None


def shown(found: Originals, chosen: np.ndarray, most: int = 96) -> Tensor:
    """Draw originals at int64 [n] of `found`, whole and unenlarged, on white: pixels uint8 [n, 3, cell, cell].

    The cell is as large as the largest of them, at most `most` pixels; what can't be decoded stays white.
    """
    order = np.argsort(chosen)
    cell = int(min(most, found.sizes[chosen].max()))
    sheet = torch.full((len(chosen), 3, cell, cell), _WHITE, dtype=torch.uint8)
    for place, picture in zip(order, _decoded(found, chosen[order], cell), strict=True):
        if picture is not None:
            sheet[place] = picture
    return sheet


def _decoded(found: Originals, chosen: np.ndarray, cell: int) -> Iterator[Tensor | None]:
    decoder = Decoder(cell, Pad(), "lanczos", grey=False, num_classes=0)
    with quiet():
        for item, (width, height) in zip(
            found.listing.read(found.places[chosen]), found.sizes[chosen].tolist(), strict=True
        ):
            result = decoder(item)
            yield _on_white(result, width, height, cell) if isinstance(result, Decoded) else None


def _on_white(result: Decoded, width: int, height: int, cell: int) -> Tensor:
    """Make the padding of a picture of these proportions white, so that its edges can be seen."""
    scale = min(cell / max(width, height), 1.0)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (cell - wide) // 2, (cell - high) // 2
    inside = slice(top, top + high), slice(left, left + wide)
    sheet = torch.full((3, cell, cell), _WHITE, dtype=torch.uint8)
    sheet[:, *inside] = torch.from_numpy(np.array(result.pixels))[:, *inside].expand(3, -1, -1)
    return sheet
