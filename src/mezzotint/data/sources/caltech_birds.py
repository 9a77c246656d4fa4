"""Birds: photographs of 200 species, each with a box around the bird (Caltech-UCSD Birds-200-2011)."""

from pathlib import Path

from mezzotint.data.sources import Card, Listing, Original, Source, chosen_splits
from mezzotint.data.sources.archives import Members, Picture, listing, members, missing_note
from mezzotint.errors import BadInput

_CARD = Card(
    title="Caltech-UCSD Birds-200-2011",
    pictures={"train": 5994, "test": 5794},
    labels="200 species; boxes",
    licence="non-commercial research and education; photographers keep their rights",
    citation="Wah, Branson, Welinder, Perona, Belongie: The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001",
    size=1_150_585_339,
    layout="the folder CUB_200_2011 or the archive CUB_200_2011.tgz",
    originals=(
        Original(
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
            1_150_585_339,
            "97eceeb196236b17998738112f37df78",
        ),
    ),
)
_LABELS = ("image_class_labels.txt", "image_class_labels.derived.txt")
_SPLITS = ("test", "train")  # as numbered in train_test_split.txt


class CaltechBirds(Source):
    """The original folder or archive: `images.txt`, `classes.txt`, labels, boxes, splits and `images/`.

    Ids that have annotations but no picture are counted and named in the provenance.
    """

    card = _CARD

    def open(self, path: Path | None, split: str) -> Listing:
        """List a split's photographs with label and box (x, y, width, height in pixels of the photograph)."""
        wanted = chosen_splits(split, _SPLITS)
        found = members(path, _CARD.wanted)
        root = found.beside("images.txt")
        files = {row[0]: f"{root}images/{row[1]}" for row in _rows(found, f"{root}images.txt", 2)}
        splits = {row[0]: _SPLITS[row[1] == "1"] for row in _rows(found, f"{root}train_test_split.txt", 2)}
        class_names, labels = _labels(found, root)
        boxes = _boxes(found, root)
        there = {number: file for number, file in files.items() if found.has(file)}
        pictures = [Picture(there[n], labels.get(n), boxes.get(n)) for n in there if splits.get(n) in wanted]
        absent = sorted({*files, *splits, *boxes} - set(there), key=lambda number: (len(number), number))
        notes = {"annotations without a picture": missing_note(absent)} if absent else {}
        return listing(found, pictures, class_names, _CARD, notes)


def _rows(found: Members, member: str, width: int) -> list[list[str]]:
    """Rows of a text file, each beginning with a picture's id, cut to `width` words."""
    rows = found.rows(member)
    if short := next((row for row in rows if len(row) < width), None):
        raise BadInput(f"data.path: {member} in {found.path} has the line {' '.join(short)!r}, must have {width} words")
    return [row[:width] for row in rows]


def _labels(found: Members, root: str) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return class names and label by id; classes are numbered from 1 in the files, from 0 here."""
    names = {row[0]: row[1] for row in _rows(found, f"{root}classes.txt", 2)}
    number = {written: label for label, written in enumerate(names)}
    file = next((f"{root}{name}" for name in _LABELS if found.has(f"{root}{name}")), f"{root}{_LABELS[0]}")
    labels = {row[0]: number.get(row[1], len(names)) for row in _rows(found, file, 2)}
    return tuple(names.values()), labels


def _boxes(found: Members, root: str) -> dict[str, tuple[float, float, float, float]]:
    """Return x, y, width, height by id; none where the file isn't there."""
    file = f"{root}bounding_boxes.txt"
    rows = _rows(found, file, 5) if found.has(file) else []
    try:
        return {n: (float(x), float(y), float(width), float(height)) for n, x, y, width, height in rows}
    except ValueError as error:
        raise BadInput(f"data.path: {file} in {found.path} holds a box that is no number ({error})") from None
