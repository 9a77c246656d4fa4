"""Any data set of the Hugging Face hub with a column of images: fetched once by `datasets`, or streamed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from mezzotint.data.sources import Flow, Item, Listing, Offer, Shard, Source, chosen_splits
from mezzotint.disk import home
from mezzotint.errors import BadInput, RunFailed, nearest

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
        name = self._name(path)
        with _told(name):
            found = _datasets().load_dataset(name, self.config, revision=self.revision, cache_dir=_cache())
        rows = _datasets().concatenate_datasets([found[chosen] for chosen in chosen_splits(split, found)])
        columns = self._columns(name, rows.features)
        encoded = rows.cast_column(columns.image, _datasets().Image(decode=False))

        def read(indices: np.ndarray) -> Iterator[Item]:
            for start in range(0, len(indices), _ROWS):
                chosen = indices[start : start + _ROWS].tolist()
                block = encoded[chosen]
                for place, row in enumerate(chosen):
                    yield columns.item(f"{split}:{row}", {key: values[place] for key, values in block.items()})

        identity = f"{name} {self.config} {split} {rows._fingerprint}"
        provenance = {"path": name, "revision": str(self.revision or rows._fingerprint), **_licence(rows.info)}
        return Listing(len(rows), columns.names, identity, provenance, read)

    def stream(self, path: Path | None, split: str) -> Flow:
        """Return the data set's files as shards, read over the network as `datasets` streams them; none is kept."""
        name = self._name(path)
        with _told(name):
            builder = self._builder(name)
            found = builder.as_streaming_dataset()
        chosen = [found[part] for part in chosen_splits(split, found)]
        columns = self._columns(name, chosen[0].features or {})
        shards = [
            Shard(f"{part.split}:{number}", None, partial(_rows_of, name, part, number, columns))
            for part in chosen
            for number in range(part.num_shards)
        ]
        told = [(builder.info.splits or {}).get(str(part.split)) for part in chosen]
        total = sum(part.num_examples for part in told if part) if all(told) else None
        identity = f"{name} {self.config} {split} {builder.hash}"
        provenance = {"path": name, "revision": str(self.revision or builder.hash), **_licence(builder.info)}
        return Flow(tuple(shards), total or None, columns.names, identity, provenance)

    def offered(self, path: Path | None, split: str) -> Offer:
        """Return what the hub, or a folder in its layout, tells of a split; of files no more than heads are read."""
        name = self._name(path)
        with _told(name), _quiet():
            builder = self._builder(name)
            files = builder.config.data_files or {}
            told = {part: found.num_examples for part, found in (builder.info.splits or {}).items()}
            counts = told or {part: _rows_here(files[part]) for part in files}
            here = _bytes_here([file for part in files for file in files[part]])
            if builder.info.features is None:
                builder.as_streaming_dataset()  # reads them from the head of a file
            licence = _licence_told(name, builder.info)
        columns = self._columns(name, builder.info.features or {})
        return Offer(
            name=name,
            pictures={str(chosen): counts[chosen] for chosen in chosen_splits(split, counts)},
            size=builder.info.download_size if here is None else here,
            here=here is not None,
            licence=licence,
            columns=tuple(builder.info.features or ()),
            image=columns.image,
            label=columns.label,
            class_names=columns.names,
        )

    def _builder(self, name: str) -> Any:  # noqa: ANN401
        return _datasets().load_dataset_builder(name, self.config, revision=self.revision, cache_dir=_cache())

    def _name(self, path: Path | None) -> str:
        if self.dataset is None and path is None:
            raise BadInput(_WANTED)
        return str(path.expanduser()) if self.dataset is None and path is not None else str(self.dataset)

    def _columns(self, name: str, features: Any) -> "_Columns":  # noqa: ANN401
        kinds = {column: type(feature).__name__ for column, feature in features.items()}
        image = _column(name, "image", self.image, kinds, "Image")
        label = _column(name, "label", self.label, kinds, "ClassLabel") if self.labelled else None
        if image is None:
            raise BadInput(f"data.source.image: {name} has no column of images; its columns: {sorted(kinds)}")
        if label is not None and not _names(label, features):
            raise BadInput(
                f"data.source.label: column {label!r} of {name} is {kinds[label]}, must be ClassLabel or true and false"
            )
        return _Columns(image, label, _names(label, features))


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which columns hold pictures and labels, and the classes' names."""

    image: str
    label: str | None
    names: tuple[str, ...]

    def item(self, name: str, row: dict[str, Any]) -> Item:
        number = row[self.label] if self.label else None
        return Item(name, _number(number, self.names), _content(row[self.image] or {}))


def _rows_of(name: str, part: Any, number: int, columns: _Columns, start: int) -> Iterator[Item]:  # noqa: ANN401
    """Read one shard of a streamed split from a row on; `RunFailed` where the connection breaks."""
    encoded = part.cast_column(columns.image, _datasets().Image(decode=False))
    shard = encoded.shard(num_shards=part.num_shards, index=number)
    try:
        for row, values in enumerate(shard.skip(start), start):
            yield columns.item(f"{part.split} {number}:{row}", values)
    except Exception as error:  # the library raises its own, the hub's, Arrow's and the network's errors
        detail = " ".join(str(error).split())[:200]
        raise RunFailed(f"data.source.dataset: {name!r} can't be read on ({type(error).__name__}: {detail})") from None


def _cache() -> str:
    return str(home() / "hub")


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the hub's client from telling every one of its attempts: what came of them is told once."""
    from huggingface_hub.utils import logging  # noqa: PLC0415  (with `datasets`)

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


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


def _names(label: str | None, features: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Class names of a label column; true and false are two classes, called after the column."""
    if label is None:
        return ()
    if getattr(features[label], "dtype", None) == "bool":
        return f"not {label}", label
    return tuple(map(str, getattr(features[label], "names", ())))


def _number(label: int | None, names: tuple[str, ...]) -> int | None:
    return int(label) if names and label is not None and label >= 0 else None


# --- What is told before anything is fetched -----------------------------------------------------------------


def _rows_here(files: list[str]) -> int | None:
    """Rows of Parquet files on this disk, by their footers; None for others: those would have to be fetched."""
    from pyarrow import parquet  # noqa: PLC0415  (only this source needs it)

    if not all(file.endswith(".parquet") and Path(file).is_file() for file in files):
        return None
    return sum(parquet.read_metadata(file).num_rows for file in files)


def _bytes_here(files: list[str]) -> int | None:
    """Bytes of files that are all on this disk; None where some aren't."""
    here = files and all(Path(file).is_file() for file in files)
    return sum(Path(file).stat().st_size for file in files) if here else None


def _licence_told(name: str, info: Any) -> str | None:  # noqa: ANN401
    """Return the licence at the head of the data set's README, which `datasets` passes over; None without one."""
    from huggingface_hub import DatasetCard  # noqa: PLC0415

    try:
        readme = Path(name, "README.md") if Path(name).is_dir() else name
        told = info.license or DatasetCard.load(readme, ignore_metadata_errors=True).data.to_dict().get("license")
    except Exception:  # no README, none that can be read: most folders have none
        return None
    return ", ".join(map(str, told)) if isinstance(told, list) else told


def _licence(info: Any) -> dict[str, str]:  # noqa: ANN401
    return {"licence": str(info.license)} if info.license else {}
