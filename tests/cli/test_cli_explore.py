"""`mezzotint data explore | suggest`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mezzotint.cli.main import app
from mezzotint.runs.recipe import read


def data(*words: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, words)])


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    assert data("prepare", "digits", "image_size=8", "limit=100", "-o", tmp_path / "pack").exit_code == 0
    return tmp_path / "pack"


def test_explore_writes_a_page_and_says_where(pack: Path, tmp_path: Path) -> None:
    result = data("explore", pack, "-o", tmp_path / "out", "--schedule", "linear", "--schedule", "karras")
    assert result.exit_code == 0, result.output
    page = tmp_path / "out" / "index.html"
    assert page.is_file()
    assert str(page) in result.stdout.splitlines()[0]
    assert "100, 8 px" in result.stdout
    assert "explore: comparing all pairs" in result.stderr
    assert (tmp_path / "out" / "noising.png").is_file()


def test_explore_a_source_by_name_as_json(tmp_path: Path) -> None:
    words = ("explore", "digits", "image_size=8", "limit=60", "-o", tmp_path, "--schedule", "linear", "--json")
    found = json.loads(data(*words).stdout)
    assert (found["pictures"], found["image_size"], found["channels"]) == (60, 8, 1)
    assert sum(found["classes"].values()) == 60
    assert Path(found["page"]).is_file()


def test_suggest_ends_with_overrides_that_a_recipe_takes(pack: Path) -> None:
    result = data("suggest", pack)
    assert result.exit_code == 0, result.output
    *_, heading, line = result.stdout.splitlines()
    assert heading == "overrides"
    _, recipe = read("digits-ddpm", line.split())
    assert recipe.family.tree()["schedule"]["kind"] == "log-normal"
    assert "no flip" in result.stdout


def test_suggest_as_json(pack: Path) -> None:
    found = json.loads(data("suggest", pack, "--json").stdout)
    assert {row["about"] for row in found["advice"]} >= {"sigma_data", "training noise", "sigma_max", "image size"}
    assert all(row["because"] for row in found["advice"])
    assert found["overrides"].split() == [word for row in found["advice"] for word in row["settings"]]
    assert found["spectrum"]["pictures"] == 100


def test_bad_input_is_one_line(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for words, message in (
        (("explore", pack, "-o", tmp_path / "file"), "is a file"),
        (("explore", pack, "-o", tmp_path / "out", "--schedule", "cosin"), "did you mean cosine"),
        (("explore", pack, "image_size=16", "-o", tmp_path / "out"), "is a pack"),
        (("explore", pack), "-o"),
        (("suggest", "digit"), "did you mean digits"),
        (("suggest", tmp_path / "nothing.parquet"), "nothing.parquet"),
    ):
        result = data(*words)
        assert result.exit_code == 2, words
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
