"""Faces: 70,000 aligned portraits, unlabelled (Flickr-Faces-HQ), as a folder or zip of PNG files."""

import re
from pathlib import Path

from mezzotint.data.sources import Card, Listing, Source, chosen_splits
from mezzotint.data.sources.archives import Picture, is_picture, listing, members

_CARD = Card(
    title="Flickr-Faces-HQ (FFHQ)",
    pictures={"train": 60_000, "validation": 10_000},
    labels="none",
    licence="CC BY-NC-SA 4.0; each picture under its own licence",
    citation="Karras, Laine, Aila: A Style-Based Generator Architecture for GANs, arXiv:1812.04948",
    size=1_950_000_000,
    layout="a folder or zip of thumbnails128x128/, or of images1024x1024/ with 89.1 GB",
    pages=("https://github.com/NVlabs/ffhq-dataset",),
)
_FIRST_VALIDATION = 60_000  # by the data set's own json
_NUMBER = re.compile(r"(\d+)\.\w+$")


class FFHQ(Source):
    """PNG files named by number, in any depth of folders: up to 59999 train, from there validation."""

    card = _CARD

    def open(self, path: Path | None, split: str) -> Listing:
        """List a split's portraits, without labels."""
        splits = chosen_splits(split, _CARD.pictures)
        found = members(path, _CARD.wanted)
        pictures = [Picture(name) for name in found.names if is_picture(name) and _split(name) in splits]
        return listing(found, pictures, (), _CARD)


def _split(member: str) -> str:
    number = _NUMBER.search(member)
    return "validation" if number and int(number[1]) >= _FIRST_VALIDATION else "train"
