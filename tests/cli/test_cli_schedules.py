"""`mezzotint schedules`."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from mezzotint.cli.main import app
from mezzotint.diffusion.schedules import SCHEDULES


def drawn(*words: object) -> Result:
    return CliRunner().invoke(app, ["schedules", *map(str, words)])


def test_without_words_all_are_drawn_and_told(tmp_path: Path) -> None:
    result = drawn("-o", tmp_path / "all.png", "--points", 21)
    assert result.exit_code == 0, result.output
    heading, *lines, last = result.stdout.splitlines()
    assert heading.split() == ["u", "=", "0", "0.5", "1"]
    assert [line.split()[0] for line in lines] == list(SCHEDULES)
    assert next(line for line in lines if line.startswith("ve")).split()[1:] == ["100", "1.414", "0.02"]
    assert Path(last) == tmp_path / "all.png"
    with Image.open(last) as picture:
        assert min(picture.size) > 800


def test_curves_as_json(tmp_path: Path) -> None:
    words = ("cosine", "{kind: sigmoid, tau: 0.5}", "-o", tmp_path / "two.png", "--points", 5, "--json")
    found = json.loads(drawn(*words).stdout)
    assert Path(found["picture"]).is_file()
    assert list(found["schedules"]) == ["cosine", "sigmoid, tau: 0.5"]
    assert found["schedules"]["cosine"]["u"] == [0, 0.25, 0.5, 0.75, 1]
    assert found["schedules"]["cosine"]["sigma"][0] == pytest.approx(500)


def test_bad_input_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    for words, message in (
        (("cosin", "-o", tmp_path / "x.png"), "did you mean cosine"),
        (("cosine", "-o", tmp_path / "x.jpg"), "end its name in .png"),
        (("cosine", "-o", tmp_path / "x.png", "--points", 2), "--points"),
        (("cosine",), "-o"),
    ):
        result = drawn(*words)
        assert result.exit_code == 2, words
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
