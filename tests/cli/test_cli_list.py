"""`mezzotint list`: everything that can be chosen, as the registries know it."""

import ast
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import mezzotint
from mezzotint.cli.main import app
from mezzotint.cli.menu import KINDS, summaries

RECIPES = sorted((Path(mezzotint.__file__).parent / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_parts_and_every_part_a_summary(kind: str) -> None:
    found = summaries(kind)
    assert found
    assert all(found.values()), found


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind(kind: str) -> None:
    output = CliRunner().invoke(app, ["list", kind]).stdout.splitlines()
    assert output[0] == kind
    assert [line.split()[0] for line in output[1:]] == list(summaries(kind))


def test_all_kinds() -> None:
    output = CliRunner().invoke(app, ["list"]).stdout
    assert [block.splitlines()[0] for block in output.split("\n\n")] == list(KINDS)


def test_json() -> None:
    found = json.loads(CliRunner().invoke(app, ["list", "recipes", "--json"]).stdout)
    assert list(found["recipes"]) == [file.stem for file in RECIPES]
    assert list(json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)) == list(KINDS)


def test_data_sets_are_listed_with_their_cards() -> None:
    from mezzotint.data.sources import SOURCES

    for name, summary in summaries("data").items():
        card = SOURCES[name].card
        facts = [f"{split} {count:,}" for split, count in card.pictures.items()] + [card.licence] if card else []
        assert all(fact in summary for fact in facts), summary


def test_no_summary_is_a_first_line_cut_in_two() -> None:
    for kind in KINDS:
        for name, summary in summaries(kind).items():
            assert not summary.endswith((",", " and", " of", " the")), (kind, name)


def test_listed_without_importing_is_what_importing_gives() -> None:
    from mezzotint.diffusion.denoiser import LEVELS, PREDICTIONS
    from mezzotint.diffusion.weighting import WEIGHTINGS
    from mezzotint.runs.codecs import CODECS

    tables = {"predictions": PREDICTIONS, "levels": LEVELS, "weightings": WEIGHTINGS}
    for kind, table in {**tables, "codecs": CODECS}.items():
        assert list(summaries(kind)) == list(table)
        first_lines = [ast.literal_eval(repr(table[name].__doc__)).strip().splitlines()[0] for name in table]
        assert list(summaries(kind).values()) == first_lines


# --- What one name stands for ----------------------------------------------------------------------------------


def _rows(*words: str) -> dict[str, dict[str, str]]:
    result = CliRunner().invoke(app, ["list", *words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_part_is_told_by_its_options() -> None:
    ((title, rows),) = _rows("classifier-free").items()
    assert title == "guidances classifier-free"
    assert rows["scale"].endswith("[2.0]")
    assert rows["interval"].endswith("[null]")
    assert _rows("autoguidance")["guidances autoguidance"]["run"].endswith("[required]")


def test_a_name_of_two_kinds_is_told_as_both() -> None:
    assert list(_rows("learned")) == ["weightings learned", "variances learned"]


def test_a_part_without_options_says_so() -> None:
    assert CliRunner().invoke(app, ["list", "flip"]).stdout.splitlines()[0] == "augmentations flip"
    assert "(no options)" in CliRunner().invoke(app, ["list", "x0"]).stdout


def test_a_family_is_told_with_its_ways_of_drawing() -> None:
    found = _rows("diffusion")
    assert found["families diffusion"]["schedule"].endswith("[log-normal]")
    assert found["sampling of diffusion"]["sampler"].endswith("[dpmpp-sde]")
    assert found["sampling of diffusion"]["schedule"].endswith("[karras]"), "a choice or null"


def test_a_recipe_is_told_as_its_file_says() -> None:
    assert _rows("digits-edm")["recipes digits-edm"]["data"] == "{source: digits, image_size: 8}"


def test_every_recipes_keys_are_overrides() -> None:
    from mezzotint.options import override
    from mezzotint.runs.recipe import read

    rows = _rows("options")["options"]
    assert rows["training.learning_rate"].endswith("]")
    assert rows["data.source"].endswith("[digits]")
    assert {"seed", "augment", "data.held_out", "evaluation.protocol", "training.phases"} <= rows.keys()
    _, recipe = read("digits-edm")
    tree = recipe.tree()
    assert override(tree, [f"{path}=1" for path in rows]).keys() == tree.keys()


def test_protocols_can_be_asked_for() -> None:
    from mezzotint.evaluation.protocols import Protocol

    names = {name.replace("-N", "-5k") for name in _rows("protocols")["protocols"]}
    assert {"fid-5k", "fd-squeezenet-5k", "kid-classifier-5k"} <= names
    assert {Protocol.parse(name).count for name in names} == {5000}


def test_every_part_of_every_kind_can_be_asked_for() -> None:
    from mezzotint.cli.details import PARTS, details

    assert PARTS.keys() - {"families"} == KINDS.keys() - {"recipes"}
    for kind, parts in PARTS.items():
        for name in parts:
            assert f"{kind} {name}" in details(name)


def test_an_unknown_name_is_told_with_those_near_it() -> None:
    result = CliRunner().invoke(app, ["list", "sampler"])
    assert result.exit_code == 2
    assert "unknown name 'sampler': did you mean samplers" in result.stderr
