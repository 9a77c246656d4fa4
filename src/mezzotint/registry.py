"""The folder is the registry: a part is the class named like its file, found without importing it.

`samplers/heun.py` holds `class Heun`, called `heun` in recipes; `dpm_solver.py` holds `DPMSolver`, called
`dpm-solver`. Adding a part is adding a file.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mezzotint.errors import BadInput, nearest


def _location(package: str) -> Path:
    root, *inner = package.split(".")
    spec = find_spec(root)  # of the root alone: finding an inner package would run its parents, which may import torch
    folder = Path(spec.submodule_search_locations[0], *inner) if spec and spec.submodule_search_locations else None
    if folder is None or not folder.is_dir():
        raise LookupError(f"no package {package}")
    return folder


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().partition("\n")[0]


def _named_like(stem: str, tree: ast.Module) -> str | None:
    """Find the class named like its file; a file without one is no part (`blocks.py`)."""
    classes = (node.name for node in tree.body if isinstance(node, ast.ClassDef))
    return next((name for name in classes if name.lower() == stem.replace("_", "")), None)


class Folder(Mapping[str, Any]):
    """The parts in one package, by name: names and first docstring lines cost no import, `folder[name]` does."""

    def __init__(self, package: str, what: str) -> None:
        self.package, self.what = package, what

    @cached_property
    def _modules(self) -> dict[str, ast.Module]:
        sources = sorted(_location(self.package).glob("*.py"))
        trees = {source.stem: ast.parse(source.read_text("utf-8")) for source in sources}
        return {stem.replace("_", "-"): tree for stem, tree in trees.items() if _named_like(stem, tree)}

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  (each folder's users know its protocol)
        if name not in self._modules:
            raise BadInput(f"unknown {self.what} {name!r}: {nearest(name, self)}")
        stem = name.replace("-", "_")
        return getattr(import_module(f"{self.package}.{stem}"), str(_named_like(stem, self._modules[name])))

    def summaries(self) -> dict[str, str]:
        """Name to first docstring line of its file, read without importing."""
        return {name: _first_line(ast.get_docstring(tree)) for name, tree in self._modules.items()}


class Table(Mapping[str, Any]):
    """A few small parts that share one file, by name: the `{"linear": Linear, ...}` literal in that file."""

    def __init__(self, what: str, parts: Mapping[str, type]) -> None:
        self.what, self._parts = what, parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        if name not in self._parts:
            raise BadInput(f"unknown {self.what} {name!r}: {nearest(name, self)}")
        return self._parts[name]


def table_summaries(module: str, variable: str) -> dict[str, str]:
    """Name to first docstring line for a `Table` literal in `module`, read without importing it."""
    package, _, stem = module.rpartition(".")
    tree = ast.parse((_location(package) / f"{stem}.py").read_text("utf-8"))
    docs = {n.name: _first_line(ast.get_docstring(n)) for n in tree.body if isinstance(n, ast.ClassDef)}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(t, ast.Name) and t.id == variable for t in targets):
            literal = next(n for n in ast.walk(node) if isinstance(n, ast.Dict))
            pairs = zip(literal.keys, literal.values, strict=True)
            return {ast.literal_eval(k): docs[v.id] for k, v in pairs if k and isinstance(v, ast.Name)}
    raise LookupError(f"{module} has no table {variable}")
