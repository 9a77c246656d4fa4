"""Options: frozen pydantic models declared beside what they configure; choices of parts; YAML; overrides.

One declaration of a field is its YAML key, its `key.path=value` override, its bounds and its documentation. A choice
of a part is written as its name, or as a mapping of `kind` and that part's own options:

    schedule: cosine
    schedule: {kind: cosine, sigma_max: 500}
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mezzotint.errors import BadInput, nearest

_O = TypeVar("_O", bound="Options")
Tree = dict[str, Any]


class Options(BaseModel):
    """Base of every option group: immutable, unknown keys refused, printable back to the YAML it came from."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, protected_namespaces=(), ser_json_inf_nan="constants"
    )

    def tree(self) -> Tree:
        """Plain nested dicts, lists and scalars that `parse` reads back to an equal object."""
        return self.model_dump(mode="json")

    def but(self, **changes: object) -> Self:
        """Return a checked copy with some fields changed."""
        return parse(type(self), {**{k: getattr(self, k) for k in type(self).model_fields}, **changes})


# --- Counts: 200k, 2M, 100ep ---------------------------------------------------------------------------------

_UNITS = {"": 1.0, "k": 1e3, "M": 1e6}
_COUNT = re.compile(r"(\d+(?:\.\d+)?(?:e\d+)?)(k|M|ep)?")


def _parse_count(value: object, info: ValidationInfo) -> object:
    match = _COUNT.fullmatch(value.replace("_", "")) if isinstance(value, str) else None
    if match is None:
        return value
    number, unit = float(match[1]), match[2] or ""
    if math.isinf(number):
        return value  # more than a float holds: refused like any other text that is no number
    images_per_epoch = (info.context or {}).get("train_images", 1)
    if unit == "ep" and not images_per_epoch:
        raise ValueError("how many training images there are isn't known; give a number of images")
    return round(number * (images_per_epoch if unit == "ep" else _UNITS[unit]))


Count = Annotated[int, BeforeValidator(_parse_count)]
"""A number of images; `200k`, `2M` and `100ep` (times the training images) are accepted."""


# --- Choices: one of a folder's or table's parts --------------------------------------------------------------


def options_class(part: type) -> type[Options]:
    """Return the options of a part: the part itself if it is an `Options`, else its `Options` attribute."""
    return part if issubclass(part, Options) else part.Options  # type: ignore[attr-defined]


class Choice:
    """Marks a field as a choice among named parts: `Annotated[Schedule, Choice(SCHEDULES)]`.

    The value is the chosen part's `Options` object. Written back as `{"kind": name, ...}`.
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = parts

    def name_of(self, options: Options) -> str:
        """Return the name under which the part of these options is registered."""
        kind = options.__class__
        found = next((name for name in self.parts if options_class(self.parts[name]) is kind), None)
        if found is None:
            raise BadInput(f"{kind.__name__} has no name that a recipe could hold; there are {', '.join(self.parts)}")
        return found

    def _read(self, value: object, info: ValidationInfo) -> Options:
        if isinstance(value, Options):
            return value
        tree = {"kind": value} if isinstance(value, str) else value
        if not isinstance(tree, dict) or not isinstance(tree.get("kind"), str):
            raise BadInput(f"must be a name or a mapping with `kind`: {nearest('', self.parts)}")
        rest = {key: inner for key, inner in tree.items() if key != "kind"}
        return parse_inner(options_class(self.parts[tree["kind"]]), rest, info, tree["kind"])

    def _write(self, options: Options) -> Tree:
        return {"kind": self.name_of(options), **options.tree()}

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        write = core_schema.plain_serializer_function_ser_schema(self._write)
        return core_schema.with_info_plain_validator_function(self._read, serialization=write)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        names = list(self.parts)
        kind = {"type": "object", "properties": {"kind": {"enum": names}}, "required": ["kind"]}
        return {"anyOf": [{"enum": names}, kind]}


# --- Reading and checking --------------------------------------------------------------------------------------


_MUST_BE = {"model_type": "a mapping of options", "tuple_type": "a list, e.g. [a, b]"}


def _describe(kind: str, message: str, value: object) -> str:
    if kind in ("value_error", "inner"):
        return message.removeprefix("Value error, ")
    if kind in _MUST_BE:
        return f"must be {_MUST_BE[kind]}, got {value!r}"
    return f"{message[0].lower()}{message[1:]}, got {value!r}"


def _fields_at(model: type[Options], path: Sequence[str | int]) -> list[str]:
    for key in path:
        inner = model.model_fields[str(key)].annotation if str(key) in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, Options)):
            break
        model = inner
    return list(model.model_fields)


def _first_problem(error: ValidationError, model: type[Options], kind: str = "") -> tuple[str, str]:
    problem = error.errors()[0]
    path = ".".join(str(key) for key in problem["loc"])
    if problem["type"] == "extra_forbidden":
        name = str(problem["loc"][-1])
        whose = f" (kind: {kind})" if kind else ""
        return path, f"unknown key: {nearest(name, _fields_at(model, problem['loc'][:-1]))}{whose}"
    if problem["type"] == "inner":
        inner = problem.get("ctx", {}).get("path", "")
        path = f"{path}.{inner}" if inner else path
    return path, _describe(problem["type"], problem["msg"], problem["input"])


def parse(model: type[_O], tree: object, *, where: str = "", train_images: int | None = None) -> _O:
    """Check a tree against an options class; raise `BadInput` naming the key, the value and the alternatives.

    `train_images` gives `100ep` its meaning; without it such counts are only checked, where it is 0 they are refused.
    """
    context = {} if train_images is None else {"train_images": train_images}
    try:
        return model.model_validate(tree, context=context)
    except ValidationError as error:
        path, message = _first_problem(error, model)
        place = " ".join(part for part in (where, path) if part)
        raise BadInput(f"{place}: {message}" if place else message) from None


def parse_inner(model: type[_O], tree: object, info: ValidationInfo, kind: str = "") -> _O:
    """Check a tree inside a validator whose class is only known there; the error keeps its full path.

    `kind`, under which the class was chosen, is told where a key isn't its own.
    """
    try:
        return model.model_validate(tree, context=info.context)
    except ValidationError as error:
        path, message = _first_problem(error, model, kind)
        raise PydanticCustomError("inner", "{message}", {"message": message, "path": path}) from None


def read_yaml(path: Path) -> Tree:
    """Read one YAML mapping safely."""
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: can't be read ({error})") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(tree, dict):
        raise BadInput(f"{path}: must hold a mapping of options, holds {_kind_of(tree)}")
    return tree


def _kind_of(tree: object) -> str:
    return "nothing" if tree is None else "a list" if isinstance(tree, list) else repr(tree)[:60]


def write_yaml(tree: Tree) -> str:
    """Return the YAML text of a tree, keys in their declared order, short mappings on one line."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=110)


# --- Overrides -------------------------------------------------------------------------------------------------


def _set(tree: Tree, keys: Sequence[str], value: object) -> Tree:
    key, rest = keys[0], keys[1:]
    if rest:
        inner = tree.get(key)
        branch = {"kind": inner} if isinstance(inner, str) else inner if isinstance(inner, dict) else {}
        return {**tree, key: _set(branch, rest, value)}
    if key == "kind" and tree.get("kind") != value:
        return {"kind": value}  # another part: the old part's options mean nothing to it
    if isinstance(value, str) and isinstance(tree.get(key), dict) and "kind" in tree[key]:
        return {**tree, key: _set(tree[key], ["kind"], value)}
    return {**tree, key: value}


def override(tree: Tree, assignments: Sequence[str]) -> Tree:
    """Apply `key.path=value` overrides, values read as YAML; choosing another `kind` drops the old one's options.

    `sampler=ddim` and `sampler.kind=ddim` mean the same, so naming the part that is chosen already changes nothing.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path or any(not key for key in path.split(".")):
            raise BadInput(f"override {assignment!r}: must look like key.path=value, e.g. training.batch_size=64")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise BadInput(f"override {assignment!r}: the value is not valid YAML") from None
        tree = _set(tree, path.split("."), value)
    return tree
