"""Parquet files in the schema of Hugging Face datasets: encoded images {bytes, path}, and labels if there are any."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from mezzotint.data.sources import Item, Listing, Source, fingerprint, printable
from mezzotint.data.sources.shards import find_shards
from mezzotint.errors import BadInput, nearest

_WANTED = "a Parquet file, a folder of them, or a pattern such as 'data/train-*.parquet'"
_ROWS = 256  # encoded pictures held in memory at a time


class Parquet(Source):
    """Rows of Parquet files, in order of file name and row.

    A file or a pattern is read whole, whatever the split; in a folder the split is looked for among the words of
    the file and folder names, and if no name holds any such word all files are read.
    """

    layout = _WANTED

    image: str | None = Field(default=None, description="image column; null finds it by the schema's image type")
    label: str | None = Field(
        default=None, description="label column; null finds it by the schema, or by the name `label`"
    )
    labelled: bool = Field(default=True, description="whether labels are read; false reads all as unlabelled")

    def open(self, path: Path | None, split: str) -> Listing:
        """List the rows of all files; raise `BadInput` if files are missing, damaged or of different schemas."""
        files = find_shards(path, split, (".parquet",), _WANTED)
        tables = [_Table(file, self.image, self.label, self.labelled) for file in files]
        if different := next((t for t in tables if t.layout != tables[0].layout), None):
            raise BadInput(f"data.path: {different.file} and {files[0]} differ in columns or class names")
        names, numbers = _class_names(tables)
        starts = np.cumsum([0, *(table.count for table in tables)])

        def read(indices: np.ndarray) -> Iterator[Item]:
            for table, start, end in zip(tables, starts[:-1], starts[1:], strict=True):
                inside = indices[(indices >= start) & (indices < end)] - start
                if len(inside):
                    yield from table.read(inside, numbers)

        identity = fingerprint(files)
        provenance = {
            "path": printable(files[0] if len(files) == 1 else path),
            "files": str(len(files)),
            "revision": identity,
        }
        groups = tuple(count for table in tables for count in table.groups)
        return Listing(int(starts[-1]), names, identity, provenance, read, groups)


def holds_parquet(path: Path | None) -> bool:
    """Whether a path is a Parquet file, a pattern of some, or a folder that holds one."""
    if path is None:
        return False
    path = path.expanduser()
    return path.suffix == ".parquet" or (path.is_dir() and any(path.rglob("*.parquet")))


# --- One file ------------------------------------------------------------------------------------------------


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Tell a file that Arrow can't read in one line."""
    from pyarrow import ArrowException  # noqa: PLC0415  (only this source needs it)

    try:
        yield
    except (ArrowException, OSError) as error:
        detail = " ".join(str(error).split())[:160]
        raise BadInput(f"data.path: {file} is not a whole Parquet file ({detail})") from None


class _Table:
    """One Parquet file: which columns hold images and labels, and its rows."""

    def __init__(self, file: Path, image: str | None, label: str | None, labelled: bool) -> None:
        from pyarrow import parquet  # noqa: PLC0415

        self.file = file
        with _readable(file), parquet.ParquetFile(file) as opened:
            self.count: int = opened.metadata.num_rows
            self.groups = [opened.metadata.row_group(n).num_rows for n in range(opened.metadata.num_row_groups)]
            schema = opened.schema_arrow
        typed = _typed_columns(file, schema)
        self.image = _column(file, "image", image, schema.names, typed["Image"])
        self.label = _column(file, "label", label, schema.names, typed["ClassLabel"]) if labelled else None
        if self.image is None:
            raise BadInput(f"data.source.image: {file} has no column of images; its columns: {schema.names}")
        self.nested = _holds_bytes(file, self.image, schema.field(self.image).type)
        self.names: tuple[str, ...] | None = typed["names"].get(self.label)
        self.layout = (self.image, self.label, self.nested, self.names)

    def labels(self) -> list[Any]:
        """Every label, as stored."""
        from pyarrow import parquet  # noqa: PLC0415

        with _readable(self.file), parquet.ParquetFile(self.file) as opened:
            return opened.read(columns=[self.label]).column(0).to_pylist()

    def read(self, rows: np.ndarray, numbers: dict[Any, int]) -> Iterator[Item]:
        """Yield ascending rows, opening only the row groups that hold some."""
        from pyarrow import parquet  # noqa: PLC0415

        columns = [self.image, self.label] if self.label and numbers else [self.image]
        with _readable(self.file), parquet.ParquetFile(self.file) as opened:
            start = 0
            for group in range(opened.metadata.num_row_groups):
                end = start + opened.metadata.row_group(group).num_rows
                if ((rows >= start) & (rows < end)).any():
                    for batch in opened.iter_batches(_ROWS, row_groups=[group], columns=columns):
                        chosen = rows[(rows >= start) & (rows < start + batch.num_rows)]
                        if len(chosen):
                            yield from self._items(batch.take(_arrow(chosen - start)), chosen, numbers)
                        start += batch.num_rows
                start = end

    def _items(self, batch: Any, rows: np.ndarray, numbers: dict[Any, int]) -> Iterator[Item]:  # noqa: ANN401
        images = batch.column(self.image).to_pylist()
        labels = batch.column(self.label).to_pylist() if batch.num_columns > 1 else [None] * len(images)
        for row, image, label in zip(rows.tolist(), images, labels, strict=True):
            stored = image if self.nested else {"bytes": image}
            content, inner = (stored or {}).get("bytes") or b"", (stored or {}).get("path")
            name = f"{self.file.name}:{row}" + (f" {inner}" if inner else "")
            yield Item(name, numbers.get(label), content)


def _arrow(rows: np.ndarray) -> Any:  # noqa: ANN401  (pyarrow is untyped)
    """Return int64 [n] for Arrow, by its buffer: Arrow imports pandas, a third of a second, to look at it otherwise."""
    from pyarrow import Array, int64, py_buffer  # noqa: PLC0415

    return Array.from_buffers(int64(), len(rows), [None, py_buffer(np.ascontiguousarray(rows, np.int64))])


def _typed_columns(file: Path, schema: Any) -> dict[str, Any]:  # noqa: ANN401  (pyarrow is untyped)
    """Return columns by the `datasets` type written in the schema, and class names by column.

    Read from the schema's JSON itself: importing `datasets` takes half a second of every start.
    """
    try:
        written = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = written.get("info", {}).get("features") or {}
        kinds = {name: kind for name, kind in features.items() if name in schema.names and isinstance(kind, dict)}
        labels = {name: kind for name, kind in kinds.items() if kind.get("_type") == "ClassLabel"}
        names = {name: tuple(map(str, kind.get("names") or ())) for name, kind in labels.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"data.path: {file} has a damaged `huggingface` schema ({error})") from None
    images = [name for name, kind in kinds.items() if kind.get("_type") == "Image"]
    return {"Image": images, "ClassLabel": list(labels), "names": names}


def _column(file: Path, role: str, wanted: str | None, names: list[str], typed: list[str]) -> str | None:
    if wanted is None:
        return next(iter(typed), role if role in names else None)
    if wanted not in names:
        raise BadInput(f"data.source.{role}: {file} has no column {wanted!r}; {nearest(wanted, names)}")
    return wanted


def _holds_bytes(file: Path, column: str, kind: Any) -> bool:  # noqa: ANN401
    """Whether images are {bytes, path}; otherwise they must be plain bytes."""
    from pyarrow import types  # noqa: PLC0415

    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return True
    if types.is_binary(kind) or types.is_large_binary(kind):
        return False
    raise BadInput(f"data.source.image: column {column!r} of {file} holds {kind}, must hold encoded images")


# --- Labels --------------------------------------------------------------------------------------------------


def _class_names(tables: list[_Table]) -> tuple[tuple[str, ...], dict[Any, int]]:
    """Return class names and, for every stored label that has one, its number.

    Without names in the schema they are the labels themselves, sorted. A column of nothing but negative numbers,
    as some test splits have, is no labels.
    """
    if tables[0].label is None:
        return (), {}
    found = {label for table in tables for label in table.labels()} - {None}
    if any(not isinstance(label, int | str) for label in found):
        raise BadInput(f"data.source.label: column {tables[0].label!r} must hold whole numbers or names")
    found = {label for label in found if isinstance(label, str) or label >= 0}
    if not found:
        return (), {}
    if names := tables[0].names:
        return names, {number: number for number in range(len(names))}
    stored = sorted(found, key=lambda label: (isinstance(label, str), label))
    return tuple(str(label) for label in stored), {label: number for number, label in enumerate(stored)}
