"""Entering a run: created whole or not at all, resumed only as what it was made of."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from mezzotint.diffusion.family import Diffusion
from mezzotint.errors import BadInput
from mezzotint.pixels import write_png
from mezzotint.runs.folder import RunFolder
from mezzotint.runs.run import Run, drawing_overrides, enter, open_run
from tiny import OVERRIDES, RECIPE, after, train


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run stopped after three updates, to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        return train(tmp_path_factory.mktemp("runs"), "begun", should_stop=after(3))[0]


def _enter(runs: Path, name: str | None, *changes: str, recipe: str = RECIPE) -> Run:
    with enter(runs, name, recipe, [*OVERRIDES, *changes]) as run:
        return run


def _pictures(folder: Path, count: int = 40) -> Path:
    for number in range(count):
        write_png(folder / f"{number}.png", torch.full((1, 8, 8), number, dtype=torch.uint8))
    return folder


# --- Nothing half made -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [
        ("digit-edm", [], r"recipe 'digit-edm': no such recipe .*digits-edm"),
        ("missing.yaml", [], r"recipe 'missing\.yaml': no such recipe or \.yaml file"),
        (RECIPE, ["training.learning_rat=1"], r"training\.learning_rat: unknown key: did you mean learning_rate"),
        (RECIPE, ["data.source=parquet", "data.path=missing.parquet"], r"missing\.parquet"),
        (RECIPE, ["data.split=tset"], r"data\.split: .*'tset'.*test"),
        (RECIPE, ["network.groups=5"], r"groups"),
        (RECIPE, ["training.phases={denoser: {beta1: 0.5}}"], r"unknown phase 'denoser': did you mean denoiser"),
        (RECIPE, ["data.held_out=0.6"], r"data\.held_out: .*0\.5"),
    ],
)
def test_a_wrong_request_leaves_no_run(tmp_path: Path, recipe: str, changes: Sequence[str], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        _enter(tmp_path, "new", *changes, recipe=recipe)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_classes_for_images_without_labels_leave_no_run(tmp_path: Path) -> None:
    data = ["data.source=folder", f"data.path={_pictures(tmp_path / 'flat')}"]
    with pytest.raises(BadInput, match=r"class_conditional: .*no labels; set it to false"):
        _enter(tmp_path / "runs", "new", *data)
    assert list((tmp_path / "runs").iterdir()) == []
    assert _enter(tmp_path / "runs", "new", *data, "family.class_conditional=false").num_classes == 0


@pytest.mark.parametrize("name", ["/", "../out", "a/b", ".hidden", "a b", "x" * 101])
def test_a_name_is_one_folders_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="run name .* must be"), enter(tmp_path / "runs", name, RECIPE, OVERRIDES):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_budget_and_a_length_contradict_each_other(tmp_path: Path) -> None:
    entering = enter(tmp_path, "new", RECIPE, OVERRIDES, deadline=1e12)
    with pytest.raises(BadInput, match=r"--budget plans training\.images"), entering:
        pass
    assert list(tmp_path.iterdir()) == []


# --- What is written down --------------------------------------------------------------------------------------


def test_a_run_is_called_after_its_recipe_unless_named(tmp_path: Path) -> None:
    assert _enter(tmp_path, None).folder.path == tmp_path / RECIPE
    assert _enter(tmp_path, "mine").folder.path == tmp_path / "mine"


def test_open_numbers_are_resolved(tmp_path: Path) -> None:
    run = _enter(tmp_path, "new", "training.images=100ep", "training.chunk_size=null", "data.channels=null")
    written = open_run(RunFolder.open(tmp_path / "new")).recipe
    assert written == run.recipe
    assert written.training.images == 100 * run.folder.read_environment()["train_images"]
    assert written.training.chunk_size == written.training.batch_size == 32
    assert written.data.channels == 1


def test_a_relative_path_is_kept_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pictures(tmp_path / "flat")
    changes = ["data.source=folder", "data.path=flat", "family.class_conditional=false"]
    monkeypatch.chdir(tmp_path)
    assert _enter(tmp_path / "runs", "new", *changes).recipe.data.path == tmp_path / "flat"
    monkeypatch.chdir(tmp_path / "runs")
    with pytest.raises(BadInput, match=r"data\.path="):
        _enter(tmp_path / "runs", "new", *changes)  # here it names another folder
    assert len(_enter(tmp_path / "runs", "new").loader()) == 39


# --- Opened again ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["training.learning_rate=0.01"], r"made with training\.learning_rate=0\.001, not 0\.01; give --name"),
        (["seed=3"], r"made with seed=0, not 3"),
        (["family.schedule=cosine"], r"made with family\.schedule\.kind=log-normal, not cosine"),
        (["data.channels=3"], r"made with data\.channels=1, not 3"),
        (["augment=[]"], r"made with augment=\[.*flip.*\], not \[\]"),
    ],
)
def test_other_options_are_refused_with_their_key(begun: Run, changes: Sequence[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        _enter(begun.folder.path.parent, "begun", *changes)


def test_another_recipe_is_refused(begun: Run) -> None:
    with pytest.raises(BadInput, match=r"made from digits-edm, not digits-ddpm; give --name"):
        _enter(begun.folder.path.parent, "begun", recipe="digits-ddpm")


def test_the_same_command_opens_the_same_run(tmp_path: Path) -> None:
    changes = ["sampling.sampler=ddim", "sampling.sampler.eta=0.5", "training.images=2ep", "training.chunk_size=null"]
    first = _enter(tmp_path, "new", *changes)
    again = _enter(tmp_path, "new", *changes)
    assert again.recipe == first.recipe
    assert again.content_hash == first.content_hash
    with enter(tmp_path, "new", RECIPE, []) as bare:
        assert bare.recipe == first.recipe


def test_one_process_at_a_time(begun: Run) -> None:
    with begun.folder.lock(), pytest.raises(BadInput, match="in use by process"):
        _enter(begun.folder.path.parent, "begun")


def _copy(begun: Run, to: Path) -> RunFolder:
    shutil.copytree(begun.folder.path, to)
    return RunFolder.open(to)


def test_an_environment_that_lacks_something_is_told(begun: Run, tmp_path: Path) -> None:
    folder = _copy(begun, tmp_path / "copy")
    environment = folder.read_environment()
    del environment["content_hash"]
    folder.environment.write_text(json.dumps(environment))
    with pytest.raises(BadInput, match=r"environment\.json: content_hash: .*required"):
        open_run(folder)


@pytest.mark.parametrize(("key", "value"), [("threads", [1]), ("precision", "half"), ("num_classes", -1)])
def test_a_damaged_environment_is_told(begun: Run, tmp_path: Path, key: str, value: object) -> None:
    folder = _copy(begun, tmp_path / "copy")
    folder.environment.write_text(json.dumps(folder.read_environment() | {key: value}))
    with pytest.raises(BadInput, match=rf"environment\.json: {key}: "):
        open_run(folder)


def test_a_recipe_that_cannot_be_built_is_refused_before_its_images_are_prepared(tmp_path: Path) -> None:
    missing = ["data.source=parquet", "data.path=missing.parquet"]
    refused = {"data.image_size=12": r"network\.kind=unet: .*12", "sampling.steps=99999": r"sampling\.steps"}
    for change, message in refused.items():
        with pytest.raises(BadInput, match=message), enter(tmp_path, "bad", "cifar10-ddpm", [*missing, change]):
            pass
    assert not (tmp_path / "bad").exists()


def test_a_recipe_edited_on_disk_is_told(begun: Run, tmp_path: Path) -> None:
    folder = _copy(begun, tmp_path / "copy")
    text = folder.recipe.read_text()
    folder.recipe.write_text(text.replace("channels: 16", "channels: 24"))
    with pytest.raises(BadInput, match=r"recipe\.yaml: its network is not the one of the checkpoint"):
        open_run(folder).generator("last", "ema")
    folder.recipe.write_text(text.replace("channels: 16", "channels: many"))
    with pytest.raises(BadInput, match=r"recipe\.yaml: network\.channels: .*'many'"):
        open_run(folder)


# --- Looked at from Python -----------------------------------------------------------------------------------------


def test_what_was_trained_in_half_precision_can_be_called_anywhere(tmp_path: Path) -> None:
    run, _ = train(tmp_path, "half", ["training.precision=bfloat16"], should_stop=after(1))
    family = run.trained("last", "raw")
    assert isinstance(family, Diffusion)
    denoise = family.denoiser(family.condition(torch.tensor([3])))
    assert denoise(torch.zeros(1, 1, 8, 8), torch.ones(1)).dtype == torch.float32


# --- Drawn or judged in another way ------------------------------------------------------------------------------


def test_only_drawing_and_judging_can_change_later(begun: Run) -> None:
    changed = begun.changed([*drawing_overrides("ddim", 7), "evaluation.protocol=fd-classifier-64"])
    assert changed.sampling.tree()["steps"] == 7
    assert changed.sampling.tree()["sampler"]["kind"] == "ddim"
    assert changed.evaluation.protocol == "fd-classifier-64"
    with pytest.raises(BadInput, match=r"override 'network\.channels=8': a trained run takes sampling"):
        begun.changed(["network.channels=8"])
    with pytest.raises(BadInput, match=r"unknown sampler 'hein': did you mean heun"):
        begun.changed(drawing_overrides("hein", None))
