"""Recipes: every shipped one parses and round-trips, and wrong ones say what is wrong."""

from pathlib import Path

import pytest

from mezzotint.errors import BadInput
from mezzotint.options import parse, write_yaml
from mezzotint.runs import build, recipe
from mezzotint.runs.recipe import Recipe


@pytest.mark.parametrize("name", recipe.shipped())
def test_shipped_recipes_parse_and_round_trip(name: str) -> None:
    _, checked = recipe.read(name)
    assert parse(Recipe, checked.tree()) == checked


@pytest.mark.parametrize("name", recipe.shipped())
def test_shipped_recipes_can_be_built_and_can_draw(name: str) -> None:
    _, checked = recipe.read(name)
    build.check(checked, num_classes=10)


@pytest.mark.parametrize("name", recipe.shipped())
def test_shipped_recipes_begin_with_their_summary_and_are_named_data_then_method(name: str) -> None:
    first = recipe.shipped()[name].read_text("utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert 20 < len(first) < 120
    assert "-" in name


def test_counts_in_epochs_take_their_meaning_from_the_data() -> None:
    tree, _ = recipe.read("digits-edm", ["training.images=100ep"])
    assert parse(Recipe, tree, train_images=1437).training.images == 143_700


def test_cadences_left_open_follow_the_length() -> None:
    _, checked = recipe.read("digits-edm", ["training.images=200k", "training.sheet_images=null"])
    assert checked.training.every("checkpoint") == 20_000
    assert checked.training.every("sheet") == 20_000
    assert checked.training.every("log") == 1000


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.learning_rat=1", r"training\.learning_rat: unknown key: did you mean learning_rate"),
        ("training.learning_rate=fast", r"training\.learning_rate: .*number.*'fast'"),
        ("training.batch_size=0", r"training\.batch_size: .*greater than or equal to 1"),
        ("family.schedule=cosin", r"family\.schedule: unknown schedule 'cosin': did you mean cosine"),
        ("family.schedule.sigma_mx=3", r"family\.schedule\.sigma_mx: unknown key: did you mean sigma_max"),
        ("network.kind=unett", r"network: unknown network 'unett': did you mean unet"),
        ("sampling.sampler=hein", r"sampling\.sampler: unknown sampler 'hein'"),
        ("sampling.step=3", r"sampling\.step: unknown key: did you mean steps"),
        ("evaluation.protocol=fd-squeeznet-1k", r"evaluation\.protocol: .*fd-squeezenet-1k"),
        ("augment=[flop]", r"augment\.0: unknown augmentation 'flop': did you mean flip"),
        ("colour=1", r"colour: unknown key"),
        ("training", r"must look like key\.path=value"),
        ("data.image_size=4", r"data\.image_size: .*greater than or equal to 8"),
    ],
)
def test_a_wrong_override_names_key_value_and_alternatives(override: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        recipe.read("digits-edm", [override])
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(BadInput, match="digits-edm"):
        recipe.read("digit-edm")


def test_a_recipe_file_may_stand_anywhere(tmp_path: Path) -> None:
    tree, checked = recipe.read("digits-edm")
    file = tmp_path / "mine.yaml"
    file.write_text(write_yaml(tree))
    assert recipe.read(str(file))[1] == checked
    file.write_text("seed: [")
    with pytest.raises(BadInput, match="not valid YAML"):
        recipe.read(str(file))
