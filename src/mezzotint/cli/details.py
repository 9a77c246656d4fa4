"""What one name stands for: a part's options with meaning and default, a recipe's choices, all protocols."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from mezzotint.augment import AUGMENTATIONS
from mezzotint.data.crops import CROPS
from mezzotint.data.sources import SOURCES
from mezzotint.diffusion.denoiser import LEVELS, PREDICTIONS
from mezzotint.diffusion.guidance import GUIDANCES
from mezzotint.diffusion.importance import IMPORTANCES
from mezzotint.diffusion.schedules import SCHEDULES
from mezzotint.diffusion.variance import VARIANCES
from mezzotint.diffusion.weighting import WEIGHTINGS
from mezzotint.errors import BadInput, nearest
from mezzotint.evaluation.extractors import EXTRACTORS
from mezzotint.evaluation.metrics import METRICS
from mezzotint.evaluation.protocols import pairings
from mezzotint.gan.losses import LOSSES
from mezzotint.gan.regularizers import REGULARIZERS
from mezzotint.gan.showing import SHOWINGS
from mezzotint.networks import NETWORKS
from mezzotint.options import Choice, Options, options_class, read_yaml
from mezzotint.runs.codecs import CODECS
from mezzotint.runs.recipe import FAMILIES, Recipe, shipped
from mezzotint.samplers import SAMPLERS
from mezzotint.vae.likelihood import LIKELIHOODS

Rows = dict[str, str]

PARTS: Mapping[str, Mapping[str, Any]] = {
    "data": SOURCES,
    "crops": CROPS,
    "augmentations": AUGMENTATIONS,
    "families": FAMILIES,
    "networks": NETWORKS,
    "codecs": CODECS,
    "schedules": SCHEDULES,
    "predictions": PREDICTIONS,
    "levels": LEVELS,
    "importances": IMPORTANCES,
    "weightings": WEIGHTINGS,
    "variances": VARIANCES,
    "guidances": GUIDANCES,
    "likelihoods": LIKELIHOODS,
    "samplers": SAMPLERS,
    "losses": LOSSES,
    "regularizers": REGULARIZERS,
    "critic-augmentations": SHOWINGS,
    "extractors": EXTRACTORS,
    "metrics": METRICS,
}
"""Every kind's parts, in the order in which a recipe meets them."""


def details(word: str) -> dict[str, Rows]:
    """Name and text, under a title, of everything called `word`: options of parts, a recipe, or a table of its own.

    `BadInput` names what is near where nothing is called so.
    """
    found = {f"{kind} {word}": _options(options_class(known[word])) for kind, known in PARTS.items() if word in known}
    if word in FAMILIES:
        found[f"sampling of {word}"] = _options(FAMILIES[word].Sampling)
    if word in shipped():
        found[f"recipes {word}"] = {key: _written(value) for key, value in read_yaml(shipped()[word]).items()}
    if word in TABLES:
        found[word] = TABLES[word]()
    if not found:
        known = {*PARTS, "recipes", *TABLES, *shipped(), *(name for parts in PARTS.values() for name in parts)}
        raise BadInput(f"unknown name {word!r}: {nearest(word, known)}")
    return found


def _recipe_options() -> Rows:
    """Keys that every recipe has, as overrides write them."""
    return {path: _told(field) for path, field in _flat(Recipe)}


def _protocols() -> Rows:
    """Every pairing; N is the number of images."""
    return {f"{name}-N": f"{metric} on {extractor}'s features" for name, (metric, extractor) in pairings().items()}


def _families() -> Rows:
    return {name: (family.__doc__ or "").partition("\n")[0] for name, family in FAMILIES.items()}


TABLES: Mapping[str, Callable[[], Rows]] = {
    "options": _recipe_options,
    "families": _families,
    "protocols": _protocols,
}
"""What only importing tells."""


def _options(asked: type[Options]) -> Rows:
    return {name: _told(field) for name, field in asked.model_fields.items()}


def _flat(asked: type[Options], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in asked.model_fields.items():
        inner = field.annotation
        if _choice(field) is None and isinstance(inner, type) and issubclass(inner, Options) and inner.model_fields:
            yield from _flat(inner, f"{path}{name}.")
        else:
            yield f"{path}{name}", field


def _told(field: FieldInfo) -> str:
    return f"{field.description} [{_default(field)}]"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value, choice = field.get_default(call_default_factory=True), _choice(field)
    return choice.name_of(value) if choice and isinstance(value, Options) else _written(value)


def _choice(field: FieldInfo) -> Choice | None:
    inner = (mark for part in get_args(field.annotation) for mark in getattr(part, "__metadata__", ()))
    return next((mark for mark in (*field.metadata, *inner) if isinstance(mark, Choice)), None)


def _written(value: object) -> str:
    plain = yaml.safe_dump(to_jsonable_python(value), default_flow_style=True, sort_keys=False, width=10**6)
    return plain.partition("\n")[0]
