"""What `data prepare` was asked for: a recipe's images, a source by name, a folder or a file."""

from collections.abc import Collection, Sequence
from pathlib import Path

from mezzotint.cli.training import preparation_shown
from mezzotint.data.pack import Pack
from mezzotint.data.prepare import DataOptions, ensure_pack, prepare
from mezzotint.data.sources import SOURCES
from mezzotint.errors import BadInput, nearest
from mezzotint.options import Tree, override, parse, read_yaml
from mezzotint.runs.recipe import find, shipped


def data_options(target: str, assignments: Sequence[str]) -> DataOptions:
    """Read the target and put overrides over it; `data.path=...` and `path=...` mean the same.

    So do `source.dataset=...` and `dataset=...` where the target is a source that has this option.
    """
    own = SOURCES[target].model_fields.keys() - DataOptions.model_fields.keys() if target in SOURCES else ()
    plain = [_of_source(assignment.removeprefix("data."), own) for assignment in assignments]
    return parse(DataOptions, override(_start(target), plain), where="data:")


def _of_source(assignment: str, own: Collection[str]) -> str:
    return f"source.{assignment}" if assignment.partition("=")[0] in own else assignment


def prepared(options: DataOptions, destination: Path | None) -> Pack:
    """Prepare a pack, at `destination` or in the cache (where it may be already), showing how far it is."""
    with preparation_shown() as show:
        if destination is None:
            return ensure_pack(options, show)
        for record in prepare(options, destination):
            if isinstance(record, Pack):
                return record
            show(record)
    raise AssertionError("prepare ends with a pack")


def _start(target: str) -> Tree:
    path = Path(target)
    if target in SOURCES:
        return {"source": target}
    if path.is_dir():
        return {"source": "folder", "path": target}
    if path.suffix == ".parquet":
        return {"source": "parquet", "path": target}
    if target in shipped() or path.suffix in (".yaml", ".yml"):
        return read_yaml(find(target)).get("data") or {}
    known = [*SOURCES, *shipped()]
    raise BadInput(f"{target!r} is no recipe, source, folder or Parquet file: {nearest(target, known)}")
