"""Aircraft: 10,000 photographs of 100 variants, each with a box, its copyright banner cut off (FGVC-Aircraft)."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field

from mezzotint.data.sources import Card, Item, Listing, Original, Source, chosen_splits
from mezzotint.data.sources.archives import Members, Picture, listing, members, missing_note
from mezzotint.errors import BadInput

_CARD = Card(
    title="FGVC-Aircraft 2013b",
    pictures={"train": 3334, "val": 3333, "test": 3333},
    labels="100 variants, 70 families or 30 manufacturers; boxes",
    licence="non-commercial research; photographers keep their rights",
    citation="Maji, Kannala, Rahtu, Blaschko, Vedaldi: Fine-Grained Visual Classification of Aircraft, arXiv:1306.5151",
    size=2_753_340_328,
    layout="fgvc-aircraft-2013b.tar.gz or its unpacked folder",
    originals=(
        Original(
            "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
            2_753_340_328,
            "d4acdd33327262359767eeaa97a4f732",
        ),
    ),
)
_BANNER = 20  # pixels at the bottom that name the photographer, not part of the picture (the data set's readme)
_PLURAL = {"variant": "variants", "family": "families", "manufacturer": "manufacturers"}


class FGVCAircraft(Source):
    """The original archive or folder: `images/`, `images_<split>.txt`, `images_<labels>_<split>.txt`, boxes."""

    labels: Literal["variant", "family", "manufacturer"] = Field(
        default="variant", description="classes: 100 variants, 70 families or 30 manufacturers"
    )

    card = _CARD

    def open(self, path: Path | None, split: str) -> Listing:
        """List a split's photographs, without their banner of 20 pixels, with label and box."""
        splits = chosen_splits(split, _CARD.pictures)
        found = members(path, _CARD.wanted)
        root = found.beside("images_train.txt")
        class_names = _lines(found, f"{root}{_PLURAL[self.labels]}.txt")
        number = {name: label for label, name in enumerate(class_names)}
        files = [f"{root}images_{self.labels}_{name}.txt" for name in splits]
        named = (line.partition(" ") for file in files for line in _lines(found, file))
        labels = {picture: number.get(kind, len(number)) for picture, _, kind in named}
        boxes = _boxes(found, f"{root}images_box.txt")
        there = {name: f"{root}images/{name}.jpg" for name in labels if found.has(f"{root}images/{name}.jpg")}
        pictures = [Picture(file, labels[name], boxes.get(name)) for name, file in there.items()]
        absent = sorted(set(labels) - set(there))
        notes = {"annotations without a picture": missing_note(absent)} if absent else {}
        return _without_banner(listing(found, pictures, class_names, _CARD, notes))


def _lines(found: Members, member: str) -> list[str]:
    text = found.bytes(member).decode("utf-8", "replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _boxes(found: Members, member: str) -> dict[str, tuple[float, float, float, float]]:
    """Return x, y, width, height by picture; the file has the first and last pixel in it, counted from 1."""
    rows = found.rows(member) if found.has(member) else []
    try:
        corners = {row[0]: tuple(int(corner) for corner in row[1:5]) for row in rows}
        return {name: (x0 - 1.0, y0 - 1.0, x1 - x0 + 1.0, y1 - y0 + 1.0) for name, (x0, y0, x1, y1) in corners.items()}
    except ValueError as error:
        raise BadInput(f"data.path: {member} in {found.path} has a line that is no box ({error})") from None


def _without_banner(whole: Listing) -> Listing:
    """Decode each picture here, as the banner lies in its pixels; what can't be decoded is left to be counted."""

    def read(indices: np.ndarray) -> Iterator[Item]:
        for item in whole.read(indices):
            yield replace(item, content=_cut(item.content))

    return replace(whole, read=read)


def _cut(content: bytes | Path | np.ndarray) -> bytes | Path | np.ndarray:
    if isinstance(content, np.ndarray):
        return content[:-_BANNER]
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=["JPEG"]) as picture:
            return np.asarray(picture.convert("RGB").crop((0, 0, picture.width, picture.height - _BANNER)))
    except Exception:  # a decoder fed with arbitrary bytes raises arbitrary errors
        return content
