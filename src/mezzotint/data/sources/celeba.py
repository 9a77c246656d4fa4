"""Celebrities: 202,599 aligned faces with 40 attributes (CelebA), as a folder or zip of JPEG files."""

from pathlib import Path

from pydantic import Field

from mezzotint.data.sources import Card, Listing, Source, chosen_splits, existing
from mezzotint.data.sources.archives import Members, Picture, is_picture, listing, members, part
from mezzotint.data.sources.hub import Hub
from mezzotint.errors import BadInput, nearest

_CARD = Card(
    title="CelebFaces Attributes (CelebA), aligned and cropped",
    pictures={"train": 162_770, "validation": 19_867, "test": 19_962},
    labels="none, or one of 40 attributes",
    licence="non-commercial research only",
    citation="Liu, Luo, Wang, Tang: Deep Learning Face Attributes in the Wild, ICCV 2015",
    size=11_800_000_000,
    layout="a folder with img_align_celeba/ or img_align_celeba.zip, and list_eval_partition.txt",
    hub="flwrlabs/celeba",
    pages=("https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",),
)
_SPLITS = {"train": "0", "validation": "1", "test": "2"}


class CelebA(Source):
    """`img_align_celeba`, folder or zip, beside `list_eval_partition` and, for labels, `list_attr_celeba`.

    The lists are read as .txt (the original) or .csv (Kaggle's copy).
    """

    attribute: str | None = Field(
        default=None, description="attribute to use as label, e.g. Smiling (classes: not it, it); null: unlabelled"
    )

    card = _CARD

    def hub_copy(self) -> Source:
        """Return the hub's copy: the authors offer theirs by hand only, 1.44 GB of JPEG where the copy is PNG."""
        return Hub(dataset=_CARD.hub, label=self.attribute, labelled=self.attribute is not None)

    def open(self, path: Path | None, split: str) -> Listing:
        """List a split's faces, labelled by one attribute if that is asked for."""
        chosen = {_SPLITS[name] for name in chosen_splits(split, _SPLITS)}
        path = existing(path, _CARD.wanted)
        folder = path if path.is_dir() else path.parent
        pictures = members(path, _CARD.wanted) if not path.is_dir() else part(path, "img_align_celeba", _CARD.wanted)
        if pictures is None:
            raise BadInput(f"data.path: {path} holds no img_align_celeba/ and no such zip, must be {_CARD.wanted}")
        lists = members(folder, _CARD.wanted)
        parts = {row[0]: row[1] for row in _list(lists, "list_eval_partition") if len(row) == 2}
        labels = self._labels(lists)
        files = [name for name in pictures.names if is_picture(name) and parts.get(name.rpartition("/")[2]) in chosen]
        found = [Picture(name, labels.get(name.rpartition("/")[2])) for name in files]
        names = (f"not {self.attribute}", str(self.attribute)) if self.attribute else ()
        return listing(pictures, found, names, _CARD)

    def _labels(self, lists: Members) -> dict[str, int]:
        """0 or 1 by file name: a line that names the attributes, then lines of a file name and -1 or 1 each."""
        if self.attribute is None:
            return {}
        rows = [row for row in _list(lists, "list_attr_celeba") if len(row) > 2]
        header = [name for name in rows[0] if name != "image_id"] if rows else []
        if self.attribute not in header:
            raise BadInput(f"data.source.attribute: there is no {self.attribute!r}; {nearest(self.attribute, header)}")
        column = 1 + header.index(self.attribute)
        return {row[0]: int(row[column] == "1") for row in rows[1:] if len(row) > column}


def _list(lists: Members, stem: str) -> list[list[str]]:
    member = lists.find(f"{stem}.txt") or lists.find(f"{stem}.csv") or f"{stem}.txt"
    return lists.rows(member)
