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
