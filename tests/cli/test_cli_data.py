"""`mezzotint data prepare | inspect | verify`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from mezzotint.cli.cards import describe_offer
from mezzotint.cli.main import app
from mezzotint.data.sources import Offer, gigabytes
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


# --- Sources without a card ----------------------------------------------------------------------------------


@pytest.fixture
def on_the_hub(tmp_path: Path) -> Path:
    """A data set in the hub's layout: five training pictures and two test pictures of two classes."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"]), "year": datasets.Value("int32")}
    )
    write_png(tmp_path / "one.png", torch.randint(0, 256, (3, 20, 24), dtype=torch.uint8))
    photo = {"bytes": (tmp_path / "one.png").read_bytes(), "path": None}
    for split, count in (("train", 5), ("test", 2)):
        rows = {"photo": [photo] * count, "kind": [row % 2 for row in range(count)], "year": [1999] * count}
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(tmp_path / "set" / "data" / f"{split}-00000-of-00001.parquet")
    return tmp_path / "set"


def test_a_data_set_of_the_hub_tells_splits_columns_and_size_before_it_is_fetched(on_the_hub: Path) -> None:
    text = data("inspect", "hub", f"dataset={on_the_hub}").stdout
    size = sum(file.stat().st_size for file in on_the_hub.rglob("*.parquet"))
    for words in (
        "pictures  7 (train 5, test 2)",
        "image     photo",
        "label     kind (2 classes: cat, dog)",
        "columns   photo, kind, year",
        "licence   not told",
        f"nothing: its files, {gigabytes(size)}, are here",
    ):
        assert words in text
    (on_the_hub / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n", "utf-8")
    asked = ("inspect", "hub", f"data.source.dataset={on_the_hub}", "split=test", "labelled=false", "--json")
    told = json.loads(data(*asked).stdout)
    assert (told["pictures"], told["size"], told["here"]) == ({"test": 2}, size, True)
    assert (told["licence"], told["image"], told["label"]) == ("cc-by-4.0", "photo", None)


def test_the_use_that_a_card_of_the_hub_names_works(on_the_hub: Path, tmp_path: Path) -> None:
    lines = data("inspect", "hub", f"dataset={on_the_hub}", "split=test").stdout.splitlines()
    use = next(line for line in lines if line.startswith("use "))
    words = use.partition(" data ")[2].replace("PACK", str(tmp_path / "pack")).split()
    assert data(*words, "image_size=8").exit_code == 0
    assert "cat 1, dog 1" in data("inspect", tmp_path / "pack").stdout


def test_what_the_hub_itself_tells_is_shown_as_a_download() -> None:
    offer = Offer("a/b", {"train": 1000, "test": None}, 170_000_000, False, "mit", ("img",), "img", None, ())
    text = describe_offer(offer, [])
    for words in ("not counted (train 1,000, test ?)", "about 170 MB through", "huggingface.co/datasets/a/b", "none"):
        assert words in text
    assert "of unknown size" in describe_offer(replace(offer, size=None), [])


def test_what_the_hub_cannot_be_asked_is_one_line(on_the_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for words, message in (
        (["dataset=nobody/nothing"], "data.source.dataset: 'nobody/nothing' can't be loaded"),
        ([f"dataset={on_the_hub}", "split=tset"], "no split 'tset' here; did you mean test"),
        ([f"dataset={on_the_hub}", "image=phto"], "no column 'phto'; did you mean photo"),
        ([], "data.source.dataset: is not set"),
    ):
        result = data("inspect", "hub", *words)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert message in result.stderr


@pytest.mark.parametrize("name", ["folder", "npz", "parquet", "webdataset", "digits"])
def test_a_source_without_a_card_tells_its_options_and_that_nothing_is_downloaded(name: str) -> None:
    text = data("inspect", name).stdout
    assert f"source    {name}\n" in text
    assert "\ndownload  nothing" in text
    assert ("path=..." in text) == ("labelled=true" in text) == (name != "digits")
    assert json.loads(data("inspect", name, "--json").stdout)["size"] == 0


def test_a_pack_called_like_a_source_or_near_a_wrong_name(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "did you mean pack?" in data("inspect", "pakc").stderr
    pack.rename("digits")
    assert "6 of 7 offered" in data("inspect", "digits").stdout


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
        (["inspect", "fodler"], "did you mean folder, flowers102?); a pack is a folder"),
        (["inspect", "nobody/nothing"], "`mezzotint data inspect hub dataset=nobody/nothing`"),
        (["inspect", "folder", "labelled=false"], "what is known of folder depends on no option"),
        (["inspect", ".", "split=test"], "is no pack"),
        (["verify", "."], "is no pack"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str) -> None:
    result = data(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("mezzotint: ")
    assert result.stderr.count("\n") == 1
