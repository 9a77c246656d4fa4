"""Options: overrides, counts, choices, YAML, and what their errors say."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from mezzotint.errors import BadInput
from mezzotint.options import Choice, Count, Options, override, parse, read_yaml, write_yaml
from mezzotint.registry import Table


class Linear(Options):
    """A line."""

    beta: float = Field(default=0.02, gt=0, description="last beta")


class Cosine(Options):
    """A cosine."""

    offset: float = Field(default=0.008, ge=0, description="offset")
    limit: int = Field(default=500, ge=1, description="largest sigma")


class Heun:
    """A part that isn't its own options."""

    class Options(Options):
        steps: int = Field(default=18, ge=1, description="steps")


SCHEDULES = Table("schedule", {"linear": Linear, "cosine": Cosine})
SAMPLERS = Table("sampler", {"heun": Heun})


class Inner(Options):
    size: int = Field(default=8, ge=1, le=256, description="pixels")
    schedule: Annotated[Options, Choice(SCHEDULES)] = Field(default=Cosine(), description="noise")


class Recipe(Options):
    seed: int = Field(default=0, ge=0, description="seed")
    images: Count = Field(default=2000, ge=1, description="images")
    rate: float = Field(default=3e-4, gt=0, description="rate")
    inner: Inner = Field(default=Inner(), description="group")
    sampler: Annotated[Options, Choice(SAMPLERS)] = Field(default=Heun.Options(), description="sampler")


def test_defaults_and_frozen() -> None:
    recipe = parse(Recipe, {})
    assert recipe == Recipe()
    with pytest.raises(ValidationError):
        recipe.seed = 3  # type: ignore[misc]


# --- Choices ---


@pytest.mark.parametrize("tree", ["linear", {"kind": "linear"}, {"kind": "linear", "beta": 0.02}, Linear()])
def test_a_choice_is_a_name_a_mapping_or_the_options(tree: object) -> None:
    assert parse(Inner, {"schedule": tree}).schedule == Linear()


def test_tree_reads_back_to_an_equal_object() -> None:
    recipe = parse(Recipe, {"seed": 3, "inner": {"schedule": {"kind": "linear", "beta": 0.5}}})
    tree = recipe.tree()
    assert tree["inner"]["schedule"] == {"kind": "linear", "beta": 0.5}
    assert tree["sampler"] == {"kind": "heun", "steps": 18}
    assert parse(Recipe, tree) == recipe


def test_yaml_round_trip(tmp_path: Path) -> None:
    recipe = parse(Recipe, {"seed": 3, "rate": 1e-5, "inner": {"schedule": "linear"}})
    path = tmp_path / "recipe.yaml"
    path.write_text(write_yaml(recipe.tree()))
    assert parse(Recipe, read_yaml(path)) == recipe
    assert path.read_text().startswith("seed: 3")  # in declared order


def test_but_changes_and_checks() -> None:
    assert Inner().but(size=9, schedule="linear") == Inner(size=9, schedule=Linear())
    with pytest.raises(BadInput, match="size"):
        Inner().but(size=0)


def test_a_part_of_ones_own_is_taken_and_what_cannot_be_written_is_told() -> None:
    class Own(Options):
        """Nowhere registered."""

    held = Inner(schedule=Own())
    assert isinstance(held.schedule, Own)
    with pytest.raises(ValueError, match="Own has no name that a recipe could hold; there are linear, cosine"):
        held.tree()


def test_json_schema_lists_the_choices() -> None:
    schema = Inner.model_json_schema()["properties"]["schedule"]
    assert schema["anyOf"][0]["enum"] == ["linear", "cosine"]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"sede": 1}, "sede: unknown key: did you mean seed?"),
        ({"inner": {"sise": 1}}, "inner.sise: unknown key: did you mean size?"),
        ({"inner": {"size": 0}}, "inner.size: input should be greater than or equal to 1, got 0"),
        ({"inner": {"size": "big"}}, "inner.size: .*got 'big'"),
        ({"inner": {"schedule": "cosin"}}, "inner.schedule: unknown schedule 'cosin': did you mean cosine?"),
        ({"inner": {"schedule": {"kind": "zzz"}}}, "inner.schedule: .*there are cosine, linear"),
        ({"inner": {"schedule": {"beta": 1}}}, "inner.schedule: must be a name or a mapping with `kind`"),
        ({"images": "1e999"}, "images: .*got '1e999'"),
        ({"inner": {"schedule": 3}}, "inner.schedule: must be a name or a mapping with `kind`"),
        (
            {"inner": {"schedule": {"kind": "cosine", "ofset": 1}}},
            "inner.schedule.ofset: unknown key: did you mean offset?",
        ),
        (
            {"inner": {"schedule": {"kind": "cosine", "limit": 0}}},
            "inner.schedule.limit: input should be greater than or equal to 1, got 0",
        ),
        ({"sampler": {"kind": "heun", "steps": None}}, "sampler.steps: "),
    ],
)
def test_errors_name_key_value_and_alternatives(tree: object, message: str) -> None:
    with pytest.raises(BadInput, match=f"^recipe x: {message}") as caught:
        parse(Recipe, tree, where="recipe x:")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tree", [3, "text", [1]])
def test_something_that_is_no_mapping(tree: object) -> None:
    with pytest.raises(BadInput, match=r"^x: must be a mapping of options, got"):
        parse(Recipe, tree, where="x")


# --- Counts ---


@pytest.mark.parametrize(
    ("given", "count"),
    [(5, 5), ("5", 5), ("200k", 200_000), ("2M", 2_000_000), ("1.5M", 1_500_000), ("2_000", 2000), ("1e5", 100_000)],
)
def test_counts(given: object, count: int) -> None:
    assert parse(Recipe, {"images": given}).images == count


def test_epochs_count_training_images() -> None:
    assert parse(Recipe, {"images": "100ep"}, train_images=1500).images == 150_000
    assert parse(Recipe, {"images": "0.5ep"}, train_images=1500).images == 750
    assert parse(Recipe, {"images": "100ep"}).images > 0  # checked only


@pytest.mark.parametrize("given", ["200 kk", "2m", "ep", "", "-5", "many", 0, 1.5])
def test_wrong_counts(given: object) -> None:
    with pytest.raises(BadInput, match="images: "):
        parse(Recipe, {"images": given})


# --- Overrides ---


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("seed=3", {"seed": 3}),
        ("inner.size=9", {"inner": {"size": 9}}),
        ("a.b.c=x", {"a": {"b": {"c": "x"}}}),
        ("path=", {"path": None}),
        ("path=a=b", {"path": "a=b"}),
        ("list=[1, 2]", {"list": [1, 2]}),
        ("schedule={kind: cosine, limit: 3}", {"schedule": {"kind": "cosine", "limit": 3}}),
    ],
)
def test_overrides(assignment: str, expected: dict[str, Any]) -> None:
    assert override({}, [assignment]) == expected


def test_overrides_keep_the_rest_and_the_original() -> None:
    tree = {"seed": 1, "inner": {"size": 8, "depth": 2}}
    assert override(tree, ["inner.size=9"]) == {"seed": 1, "inner": {"size": 9, "depth": 2}}
    assert tree == {"seed": 1, "inner": {"size": 8, "depth": 2}}


def test_the_last_override_wins() -> None:
    assert override({}, ["seed=1", "seed=2"]) == {"seed": 2}


def test_options_of_a_part_given_by_name() -> None:
    assert override({"schedule": "cosine"}, ["schedule.limit=3"]) == {"schedule": {"kind": "cosine", "limit": 3}}


def test_another_kind_drops_the_old_parts_options() -> None:
    tree = {"schedule": {"kind": "cosine", "limit": 3}}
    assert override(tree, ["schedule.kind=linear"]) == {"schedule": {"kind": "linear"}}
    assert override(tree, ["schedule=linear"]) == {"schedule": {"kind": "linear"}}
    assert override(tree, ["schedule.kind=cosine"]) == override(tree, ["schedule=cosine"]) == tree
    assert override(tree, ["schedule.kind=linear", "schedule.beta=0.1"]) == {
        "schedule": {"kind": "linear", "beta": 0.1}
    }


@pytest.mark.parametrize("assignment", ["seed", "=3", "a..b=3", ".a=3", "a.=3", ""])
def test_malformed_overrides(assignment: str) -> None:
    with pytest.raises(BadInput, match=r"must look like key\.path=value"):
        override({}, [assignment])


def test_an_override_that_is_not_yaml() -> None:
    with pytest.raises(BadInput, match="not valid YAML"):
        override({}, ["a=[1, 2"])


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.integers() | st.booleans() | st.none(), max_size=5)
)
def test_overrides_can_build_any_flat_tree(tree: dict[str, object]) -> None:
    text = {True: "true", False: "false", None: "null"}
    words = [f"{key}={text[value] if value is None or value is True or value is False else value}"
             for key, value in tree.items()]  # fmt: skip
    assert override({}, words) == tree


# --- Files ---


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "not valid YAML"),
        (b"- 1\n", "must hold a mapping of options, holds a list"),
        (b"", "must hold a mapping of options, holds nothing"),
        (b"\xff\xfe\x00", "can't be read"),
        (b"a: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_bad_yaml_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_yaml_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can't be read"):
        read_yaml(tmp_path / "none.yaml")
