"""What can be chosen by name, kind by kind: names and summaries, read from files without importing them."""

import ast
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import mezzotint
from mezzotint.errors import BadInput, nearest
from mezzotint.registry import Folder, table_summaries

_RECIPES = Path(mezzotint.__file__).parent / "recipes"
_SOURCES = Path(mezzotint.__file__).parent / "data" / "sources"


def _recipe_summaries() -> dict[str, str]:
    """Recipe name to its first line, a comment."""
    files = sorted(_RECIPES.glob("*.yaml"))
    first = {file.stem: file.read_text("utf-8").partition("\n")[0] for file in files}
    return {name: line.removeprefix("#").strip() if line.startswith("#") else "" for name, line in first.items()}


def _source_summaries() -> dict[str, str]:
    """Source name to its first line and, for published data sets, splits and licence as its card has them."""
    plain = _folder("mezzotint.data.sources")()
    return {name: summary + _of_card(_SOURCES / f"{name.replace('-', '_')}.py") for name, summary in plain.items()}


def _of_card(file: Path) -> str:
    """Read a `Card(...)` of literals without importing the file: importing numpy for a list would take long."""
    calls = (node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call))
    card = next((call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Card"), None)
    if card is None:
        return ""
    wanted = {"pictures", "licence"}
    facts = {word.arg: ast.literal_eval(word.value) for word in card.keywords if word.arg in wanted}
    splits = ", ".join(f"{name} {count:,}" for name, count in facts["pictures"].items())
    return f" [{splits}; {facts['licence']}]"


def _folder(package: str) -> Callable[[], dict[str, str]]:
    return Folder(package, "part").summaries


def _table(module: str, variable: str) -> Callable[[], dict[str, str]]:
    return partial(table_summaries, module, variable)


KINDS: Mapping[str, Callable[[], dict[str, str]]] = {
    "recipes": _recipe_summaries,
    "data": _source_summaries,
    "crops": _table("mezzotint.data.crops", "CROPS"),
    "augmentations": _folder("mezzotint.augment"),
    "networks": _folder("mezzotint.networks"),
    "codecs": _table("mezzotint.runs.codecs", "CODECS"),
    "schedules": _folder("mezzotint.diffusion.schedules"),
    "predictions": _table("mezzotint.diffusion.denoiser", "PREDICTIONS"),
    "levels": _table("mezzotint.diffusion.denoiser", "LEVELS"),
    "importances": _table("mezzotint.diffusion.importance", "IMPORTANCES"),
    "weightings": _table("mezzotint.diffusion.weighting", "WEIGHTINGS"),
    "variances": _table("mezzotint.diffusion.variance", "VARIANCES"),
    "guidances": _table("mezzotint.diffusion.guidance", "GUIDANCES"),
    "likelihoods": _table("mezzotint.vae.likelihood", "LIKELIHOODS"),
    "samplers": _folder("mezzotint.samplers"),
    "losses": _table("mezzotint.gan.losses", "LOSSES"),
    "regularizers": _table("mezzotint.gan.regularizers", "REGULARIZERS"),
    "critic-augmentations": _table("mezzotint.gan.showing", "SHOWINGS"),
    "extractors": _folder("mezzotint.evaluation.extractors"),
    "metrics": _folder("mezzotint.evaluation.metrics"),
}
"""What `mezzotint list` shows, in the order in which a recipe meets it."""


def summaries(kind: str) -> dict[str, str]:
    """Name to one-line summary of every part of a kind; an unknown kind is bad input."""
    if kind not in KINDS:
        raise BadInput(f"unknown kind {kind!r}: {nearest(kind, KINDS)}")
    return KINDS[kind]()
