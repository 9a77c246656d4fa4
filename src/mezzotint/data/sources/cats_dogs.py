"""Cats and dogs: photographs of two classes (Kaggle, hub) or of 37 breeds (Oxford-IIIT Pet)."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from mezzotint.data.sources import Card, Listing, Original, Source, chosen_splits, existing
from mezzotint.data.sources.archives import Members, Picture, is_picture, listing, members, missing_note, part
from mezzotint.data.sources.parquet import Parquet, holds_parquet
from mezzotint.errors import BadInput

_CARD = Card(
    title="Kaggle Cats and Dogs (Asirra); Oxford-IIIT Pet is read too",
    pictures={"train": 25_000},
    labels="cat, dog; with Oxford-IIIT Pet also 37 breeds",
    licence="Kaggle: research, non-commercial; Oxford-IIIT Pet: CC BY-SA 4.0",
    citation="Elson, Douceur, Howell, Saul: Asirra, CCS 2007; Parkhi, Vedaldi, Zisserman, Jawahar: Cats and Dogs, CVPR "
    "2012",
    size=824_887_076,
    layout="a folder or zip with Cat/ and Dog/, with train/cat.0.jpg, or Oxford's images/ and annotations/",
    originals=(
        Original(
            "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/"
            "kagglecatsanddogs_5340.zip",
            824_887_076,
        ),
    ),
    pages=(
        "https://www.kaggle.com/c/dogs-vs-cats/data",
        "https://huggingface.co/datasets/microsoft/cats_vs_dogs",
        "https://www.robots.ox.ac.uk/~vgg/data/pets (fetched with source.labels=breed: 811 MB)",
    ),
)
_PETS = (
    Original(
        "https://thor.robots.ox.ac.uk/~vgg/data/pets/images.tar.gz", 791_918_971, "5c4f3ee8e5d25df40f4fd59a7f44e54c"
    ),
    Original(
        "https://thor.robots.ox.ac.uk/~vgg/data/pets/annotations.tar.gz", 19_173_078, "95a8c909bbe2e81eed6a22bccdf3f68f"
    ),
)
_SPECIES = ("cat", "dog")
_NAMED = re.compile(r"(?:^|/)(cat|dog)(?:\.\d+\.[a-z]+$|/[^/]+$)", re.IGNORECASE)
_OXFORD = {"train": "trainval.txt", "test": "test.txt"}


class CatsDogs(Source):
    """Kaggle's folders or zips, labelled by `Cat/1.jpg` or `cat.0.jpg`; the hub's Parquet; Oxford-IIIT Pet.

    Oxford's own splits are trainval (called train here) and test; the others have train alone.
    """

    labels: Literal["species", "breed"] = Field(
        default="species", description="classes: cat and dog, or the 37 breeds that only Oxford-IIIT Pet knows"
    )

    card = _CARD

    def originals(self, split: str) -> tuple[Original, ...]:
        """Return Kaggle's archive, or for breeds Oxford's."""
        return _PETS if self.labels == "breed" else super().originals(split)

    def open(self, path: Path | None, split: str) -> Listing:
        """List the pictures of a split."""
        if holds_parquet(path):
            return Parquet().open(path, split)
        path = existing(path, _CARD.wanted)
        pets = part(path, "annotations", _CARD.wanted) if path.is_dir() else None
        if pets is not None:
            return self._oxford(path, pets, split)
        if self.labels == "breed":
            raise BadInput(f"data.source.labels: {path} knows no breeds; only Oxford-IIIT Pet does (annotations/)")
        return _kaggle(members(path, _CARD.wanted), split)

    def _oxford(self, path: Path, annotations: Members, split: str) -> Listing:
        """Rows of `trainval.txt` and `test.txt`: name, breed from 1, species from 1 (cat, dog), number."""
        images = part(path, "images", _CARD.wanted)
        if images is None:
            raise BadInput(f"data.path: {path} has annotations but no images/ and no images.tar.gz")
        rows = [row for name in chosen_splits(split, _OXFORD) for row in _rows(annotations, _OXFORD[name])]
        breeds = {int(row[1]): row[0].rpartition("_")[0] for row in rows}
        names = tuple(breeds.get(number, f"breed {number}") for number in range(1, max(breeds, default=0) + 1))
        column, names = (1, names) if self.labels == "breed" else (2, _SPECIES)
        root = images.find(f"{rows[0][0]}.jpg") if rows else None
        root = root.rpartition(f"{rows[0][0]}.jpg")[0] if root else ""
        there = [Picture(f"{root}{row[0]}.jpg", int(row[column]) - 1) for row in rows]
        absent = [picture.member for picture in there if not images.has(picture.member)]
        notes = {"annotations without a picture": missing_note(absent)} if absent else {}
        present = [picture for picture in there if images.has(picture.member)]
        return listing(images, present, names, _CARD, notes, annotations.identity)


def _rows(annotations: Members, file: str) -> list[list[str]]:
    member = f"{annotations.beside(file)}{file}"
    rows = [row for row in annotations.rows(member) if not row[0].startswith("#")]
    if wrong := next((row for row in rows if len(row) < 3 or not (row[1] + row[2]).isdigit()), None):
        raise BadInput(f"data.path: {file} in {annotations.path} has the line {' '.join(wrong)!r}")
    return rows


def _kaggle(found: Members, split: str) -> Listing:
    if inner := found.find("train.zip"):
        raise BadInput(f"data.path: {found.path} holds {inner}; unpack that one, or name it")
    chosen_splits(split, ("train",))
    named = ((member, _NAMED.search(member)) for member in found.names if is_picture(member))
    pictures = [Picture(member, _SPECIES.index(match[1].lower())) for member, match in named if match]
    return listing(found, pictures, _SPECIES, _CARD)
