"""What can be chosen by name, kind by kind: names and summaries, read from files without importing them."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import mezzotint
from mezzotint.errors import BadInput, nearest
from mezzotint.registry import Folder, table_summaries

_RECIPES = Path(mezzotint.__file__).parent / "recipes"


def _recipe_summaries() -> dict[str, str]:
    """Recipe name to its first line, a comment."""
    files = sorted(_RECIPES.glob("*.yaml"))
    first = {file.stem: file.read_text("utf-8").partition("\n")[0] for file in files}
    return {name: line.removeprefix("#").strip() if line.startswith("#") else "" for name, line in first.items()}


def _folder(package: str) -> Callable[[], dict[str, str]]:
    return Folder(package, "part").summaries


def _table(module: str, variable: str) -> Callable[[], dict[str, str]]:
    return partial(table_summaries, module, variable)


KINDS: Mapping[str, Callable[[], dict[str, str]]] = {
    "recipes": _recipe_summaries,
    "sources": _folder("mezzotint.data.sources"),
    "augmentations": _folder("mezzotint.augment"),
    "networks": _folder("mezzotint.networks"),
    "codecs": _table("mezzotint.runs.codecs", "CODECS"),
    "schedules": _table("mezzotint.diffusion.schedules", "SCHEDULES"),
    "predictions": _table("mezzotint.diffusion.denoiser", "PREDICTIONS"),
    "levels": _table("mezzotint.diffusion.denoiser", "LEVELS"),
    "weightings": _table("mezzotint.diffusion.weighting", "WEIGHTINGS"),
    "samplers": _folder("mezzotint.samplers"),
    "extractors": _folder("mezzotint.evaluation.extractors"),
    "metrics": _folder("mezzotint.evaluation.metrics"),
}
"""What `mezzotint list` shows, in the order in which a recipe meets it."""


def summaries(kind: str) -> dict[str, str]:
    """Name to one-line summary of every part of a kind; an unknown kind is bad input."""
    if kind not in KINDS:
        raise BadInput(f"unknown kind {kind!r}: {nearest(kind, KINDS)}")
    return KINDS[kind]()
