"""Any data set of the Hugging Face hub with a column of images: fetched once by `datasets`, then read from disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from mezzotint.data.sources import Item, Listing, Source
from mezzotint.disk import home
from mezzotint.errors import BadInput, nearest

_WANTED = "data.source.dataset: is not set, must be a data set's id, e.g. uoft-cs/cifar10"

_ROWS = 256  # encoded pictures held in memory at a time


class Hub(Source):
    """A data set by its id (or a local folder in the hub's layout, as `data.path`), any config and revision."""

    dataset: str | None = Field(default=None, description="id on the hub, e.g. uoft-cs/cifar10; null: data.path is it")
    config: str | None = Field(default=None, description="name of the configuration; null for the only one")
    revision: str | None = Field(default=None, description="commit, tag or branch on the hub; null for the newest")
    image: str | None = Field(default=None, description="image column; null takes the first of image type")
    label: str | None = Field(default=None, description="label column; null takes the first of class type")
    labelled: bool = Field(default=True, description="whether labels are read; false reads all as unlabelled")

    def open(self, path: Path | None, split: str) -> Listing:
        """Fetch or find the data set and list the rows of a split (`all`: every split, in turn)."""
        if self.dataset is None and path is None:
            raise BadInput(_WANTED)
        name = str(path.expanduser()) if self.dataset is None and path is not None else str(self.dataset)
        rows = self._rows(name, split)
        image, label = self._columns(name, rows.features)
        names = tuple(map(str, getattr(rows.features[label], "names", ()))) if label else ()
        encoded = rows.cast_column(image, _datasets().Image(decode=False))

        def read(indices: np.ndarray) -> Iterator[Item]:
            for start in range(0, len(indices), _ROWS):
                chosen = indices[start : start + _ROWS].tolist()
                block = encoded[chosen]
                labels = block[label] if label else [None] * len(chosen)
                for row, stored, number in zip(chosen, block[image], labels, strict=True):
                    yield Item(f"{split}:{row}", _number(number, names), _content(stored or {}))

        identity = f"{name} {self.config} {split} {rows._fingerprint}"
        provenance = {"path": name, "revision": str(self.revision or rows._fingerprint), **_licence(rows)}
        return Listing(len(rows), names, identity, provenance, read)

    def _rows(self, name: str, split: str) -> Any:  # noqa: ANN401  (datasets is imported where it is used)
        datasets = _datasets()
        with _told(name):
            found = datasets.load_dataset(name, self.config, revision=self.revision, cache_dir=str(home() / "hub"))
        if split == "all":
            return datasets.concatenate_datasets(list(found.values()))
        if split not in found:
            raise BadInput(f"data.split: {name} has no split {split!r}; {nearest(split, [*found, 'all'])}")
        return found[split]

    def _columns(self, name: str, features: Any) -> tuple[str, str | None]:  # noqa: ANN401
        kinds = {column: type(feature).__name__ for column, feature in features.items()}
        image = _column(name, "image", self.image, kinds, "Image")
        label = _column(name, "label", self.label, kinds, "ClassLabel") if self.labelled else None
        if image is None:
            raise BadInput(f"data.source.image: {name} has no column of images; its columns: {sorted(kinds)}")
        if label is not None and kinds[label] != "ClassLabel":
            raise BadInput(f"data.source.label: column {label!r} of {name} is {kinds[label]}, must be ClassLabel")
        return image, label


def _datasets() -> Any:  # noqa: ANN401  (untyped)
    try:
        import datasets  # noqa: PLC0415  (takes half a second, and only this source needs it)
    except ImportError:
        raise BadInput("data.source: the hub source needs the package datasets: pip install datasets") from None
    return datasets


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Tell in one line that a data set can't be had: no such id, no network, code that would have to run."""
    try:
        yield
    except Exception as error:  # the library raises its own, the hub's, Arrow's and the network's errors
        detail = " ".join(str(error).split())[:200]
        raise BadInput(f"data.source.dataset: {name!r} can't be loaded ({type(error).__name__}: {detail})") from None


def _column(name: str, role: str, wanted: str | None, kinds: dict[str, str], kind: str) -> str | None:
    if wanted is None:
        return next((column for column, found in kinds.items() if found == kind), None)
    if wanted not in kinds:
        raise BadInput(f"data.source.{role}: {name} has no column {wanted!r}; {nearest(wanted, kinds)}")
    return wanted


def _content(stored: dict[str, Any]) -> bytes | Path:
    """Return encoded bytes, or the file in the cache that holds them."""
    content, file = stored.get("bytes"), stored.get("path")
    return content if content is not None else Path(file) if file else b""


def _number(label: int | None, names: tuple[str, ...]) -> int | None:
    return label if names and label is not None and label >= 0 else None


def _licence(rows: Any) -> dict[str, str]:  # noqa: ANN401
    return {"licence": str(rows.info.license)} if rows.info.license else {}
