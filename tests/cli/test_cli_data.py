"""`mezzotint data prepare | inspect | verify`."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from mezzotint.cli.main import app
from mezzotint.pixels import write_png


def data(*words: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, words)])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six pictures of two classes, and one that is none."""
    for name in ("cat", "dog"):
        for i in range(3):
            write_png(tmp_path / "pictures" / name / f"{i}.png", torch.randint(0, 256, (3, 20, 24), dtype=torch.uint8))
    (tmp_path / "pictures/cat/broken.png").write_bytes(b"")
    return tmp_path / "pictures"


@pytest.fixture
def pack(pictures: Path, tmp_path: Path) -> Path:
    """Those pictures, prepared."""
    result = data("prepare", pictures, "image_size=16", "-o", tmp_path / "pack")
    assert result.exit_code == 0, result.output
    return tmp_path / "pack"


def test_a_folder_is_prepared_described_and_verified(pack: Path) -> None:
    text = data("inspect", pack).stdout
    for words in ("6 of 7 offered", "16 px, colour", "cat 3, dog 3", "broken.png"):
        assert words in text
    assert data("verify", pack).stdout.startswith(f"{pack}: intact, 6 pictures")


def test_inspect_as_json(pack: Path) -> None:
    found = json.loads(data("inspect", pack, "--json").stdout)
    assert (found["count"], found["class_names"], sum(found["skipped"].values())) == (6, ["cat", "dog"], 1)


def test_a_published_data_set_says_what_would_be_downloaded() -> None:
    text = data("inspect", "caltech-birds").stdout
    for words in ("11,788 (train 5,994, test 5,794)", "1.15 GB", "CUB_200_2011.tgz", "non-commercial"):
        assert words in text
    card = json.loads(data("inspect", "cifar10", "--json").stdout)
    assert (card["pictures"], card["size"]) == ({"train": 50_000, "test": 10_000}, 170_498_071)
    assert data("inspect", "folder").exit_code == 2


def test_a_changed_pack_is_refused_and_named(pack: Path) -> None:
    pixels = bytearray((pack / "pixels.bin").read_bytes())
    pixels[100] ^= 1
    (pack / "pixels.bin").write_bytes(pixels)
    verified = data("verify", pack)
    assert verified.exit_code == 1
    assert "pixels.bin has changed" in verified.stdout
    assert verified.stderr.count("\n") == 1
    inspected = data("inspect", pack)
    assert inspected.exit_code == 2
    assert "pixels.bin has changed" in inspected.stderr


def test_a_source_by_name_goes_to_the_cache_and_is_made_once() -> None:
    first, second = (data("prepare", "digits", "image_size=8") for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert first.stdout == second.stdout
    assert "px, grayscale" in first.stdout


def test_a_recipes_data_with_overrides_in_either_spelling(tmp_path: Path) -> None:
    results = [data("prepare", "digits-edm", word, "-o", tmp_path / word) for word in ("limit=20", "data.limit=20")]
    assert [result.exit_code for result in results] == [0, 0]
    contents = [json.loads(data("inspect", tmp_path / word, "--json").stdout) for word in ("limit=20", "data.limit=20")]
    assert contents[0]["content_hash"] == contents[1]["content_hash"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prepare", "digit-edm"], "did you mean digits-edm"),
        (["prepare", "nothing.parquet"], "nothing.parquet"),
        (["prepare", "none.yaml"], "none.yaml"),
        (["prepare", "digits", "image_sise=8"], "image_sise: unknown key: did you mean image_size?"),
        (["prepare", "digits", "image_size=0"], "image_size: "),
        (["prepare", "digits", "image_size"], "key.path=value"),
        (["prepare", "digits", "source=digit"], "did you mean digits?"),
        (["inspect", "nowhere"], "nowhere: does not exist"),
        (["verify", "."], "is no pack"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str) -> None:
    result = data(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("mezzotint: ")
    assert result.stderr.count("\n") == 1
