"""GAN runs from recipe to picture: every preset resumes bit for bit, and what collapsed is not what draws."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from mezzotint.cli.main import app
from mezzotint.contracts import Family
from mezzotint.errors import BadInput
from mezzotint.gan.family import Gan, GanOptions
from mezzotint.machine import Machine
from mezzotint.runs import build, checkpoint, recipe, workload
from mezzotint.runs.compilation import decide, operations_per_image
from mezzotint.runs.drive import drive
from mezzotint.runs.estimate import estimate
from mezzotint.runs.run import enter
from mezzotint.training.ema import Ema
from mezzotint.training.loop import Feed
from mezzotint.training.speed import flops
from small_gans import PRESETS, overrides, train
from tiny import after, same, tensors

SHIPPED = [name for name in recipe.shipped() if isinstance(recipe.read(name)[1].family, GanOptions)]
QUICK = "evaluation.extractors=[{kind: classifier, images: 1000}]"
STUDIED = ("cats-dogs-dcgan", "cats-dogs-lsgan", "cats-dogs-sngan", "bedrooms-dcgan")


def test_which_recipes_there_are() -> None:
    small = [f"{data}-{preset}" for data in ("digits", "mnist") for preset in PRESETS]
    assert sorted(SHIPPED) == sorted([*small, *STUDIED, "cats-dogs-sngan-fast", "cats-dogs-r3gan", "bedrooms-r3gan"])


@pytest.mark.parametrize("name", STUDIED)
@pytest.mark.parametrize(
    "dial",
    [
        "training.batch_size=256",
        "training.learning_rate=0.005",
        "training.beta1=0.7",
        "network.ngf=32",
        "network.ndf=128",
        "network.latent=50",
        "family.loss=least-squares",
        "network.activation=relu6",
        "network.critic_activation=elu",
        "data.image_size=128",
        "data.image_size=256",
        "data.channels=1",
    ],
)
def test_every_dial_of_the_studies_is_one_override(name: str, dial: str) -> None:
    before, after_it = (recipe.read(name, changes)[1] for changes in ([], [dial]))
    build.check(after_it, 0)
    changed = [key for key, value in after_it.tree().items() if value != before.tree()[key]]
    assert changed == [dial.partition(".")[0]] or (dial, changed) == ("family.loss=least-squares", [])


def test_the_studies_own_numbers() -> None:
    for name in STUDIED[:3]:
        chosen = recipe.read(name)[1].tree()
        assert chosen["data"]["image_size"] == 64
        training, network = chosen["training"], chosen["network"]
        assert (training["batch_size"], training["learning_rate"], training["beta1"]) == (128, 1e-4, 0.5)
        assert (network["ngf"], network["ndf"], network["latent"]) == (64, 64, 100)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_resumes_bit_for_bit(tmp_path: Path, preset: str) -> None:
    changes = ["data.held_out=0.1"]
    if preset == "stylegan2-small":
        changes += ["family.augmentation.start=0.4", "family.augmentation.images=640"]
    whole, records = train(tmp_path, "whole", preset, changes)
    train(tmp_path, "stopped", preset, changes, after(3))
    run, _ = train(tmp_path, "stopped", preset, changes)
    assert same(tensors(run), tensors(whole))
    validations = [[r for r in one.folder.read_log() if r["kind"] == "validation"] for one in (run, whole)]
    assert validations[0] == validations[1]
    logged = [r.values for r in records if r.kind == "update"]
    assert all(isinstance(values["critic/gradient_norm"], float) for values in logged)
    assert "generator/gradient_norm" in logged[0]
    assert {"critic/on_held_out", "generator/feature_variance", "generator/near_duplicates/ema"} <= set(
        validations[0][0]
    )
    if preset == "stylegan2-small":
        p = tensors(whole)["weights/shown.p"].item()
        assert p != pytest.approx(0.4)
        assert logged[-1]["critic/augmentation_p"] == pytest.approx(p)


def test_how_varied_images_are_is_told_of_many_at_once_whatever_a_chunk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    held_out = Gan.held_out
    monkeypatch.setattr(
        Gan, "held_out", lambda family, batch: told.append(len(batch.images)) or held_out(family, batch)
    )
    changes = ["data.held_out=0.1", "training.chunk_size=2"]
    _, records = train(tmp_path, "140", "dcgan", [*changes, "training.validation_size=140"])
    assert set(told) == {64, 76}
    told.clear()
    train(tmp_path, "20", "dcgan", [*changes, "training.validation_size=20"])
    assert set(told) == {20}
    logged = [r.values["generator/batch_variance"] for r in records if r.kind == "update"]
    assert logged
    assert all(isinstance(value, float) and 0 < value < 10 for value in logged)


def _collapse_after(images: int, patch: pytest.MonkeyPatch) -> None:
    """From then on all pictures are white."""
    follow = Ema.follow

    def collapsing(self: Ema, family: Family, batch_size: int, images_seen: int) -> None:
        follow(self, family, batch_size, images_seen)
        for parameter in self.family.averaged().parameters() if images_seen > images else ():
            parameter.fill_(0 if parameter.ndim > 1 else 5)

    patch.setattr(Ema, "follow", torch.no_grad()(collapsing))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_recipe_keeps_its_best_unless_told_otherwise(name: str) -> None:
    chosen = recipe.read(name)[1]
    assert chosen.evaluation.monitor == "auto"
    assert chosen.data.held_out > 0


@pytest.mark.parametrize("name", SHIPPED)
def test_every_recipe_is_told_classes_by_one_override(name: str) -> None:
    build.check(recipe.read(name, ["family.class_conditional=true"])[1], 3)


@pytest.mark.parametrize("preset", ["dcgan", "r3gan"])
def test_a_collapse_is_survived_by_default_however_short_the_run(
    tmp_path: Path, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _collapse_after(320, monkeypatch)
    kept = [word for word in overrides(preset) if not word.startswith(("evaluation", "training.images"))]
    with enter(tmp_path, "run", f"digits-{preset}", [*kept, "training.images=480"]) as run:
        records = list(drive(run, run.loader()))
    (decided,) = [record.values for record in records if record.kind == "monitor"]
    assert decided["protocol"] == "fd-thumbnail-256"
    best = checkpoint.best(run.folder.checkpoints)
    assert best is not None
    assert best <= 320
    assert run.told("auto") == f"checkpoint {best}, the best by its monitored score (--checkpoint last: 480)"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A monitored run that collapses after 64 images. To be read only."""
    watched = ["data.held_out=0.2", "evaluation.monitor=fd-classifier-32", "evaluation.every_images=16"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        _collapse_after(64, patch)
        run, _ = train(tmp_path_factory.mktemp("runs"), "watched", "dcgan", [*watched, QUICK])
    return run.folder.path


def test_a_gan_draws_from_its_best_checkpoint_unless_the_last_is_asked_for(judged: Path, tmp_path: Path) -> None:
    best = checkpoint.best(judged / "checkpoints")
    assert best is not None
    assert best <= 64
    for asked, number, said in (
        ([], best, f"checkpoint {best}, the best by its monitored score (--checkpoint last: 96)"),
        (["--checkpoint", "last"], 96, "checkpoint 96, the last"),
    ):
        out = tmp_path / f"{number}.npz"
        done = CliRunner().invoke(app, ["sample", str(judged), "-n", "4", "-o", str(out), *asked])
        assert done.exit_code == 0, done.output
        assert said in done.stderr
        assert (len(np.unique(np.load(out)["pixels"], axis=0)) == 1) == (number == 96)
    arguments = ["--against", "digits:test", "--protocol", "fd-classifier-100", "--json"]
    done = CliRunner().invoke(app, ["evaluate", str(judged), *arguments])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["count"] == 100
    assert f"checkpoint {best}, the best" in done.stderr
    assert json.loads((judged / "scores.jsonl").read_text().splitlines()[-1])["checkpoint"] == best


def test_an_unmonitored_gan_draws_from_its_last_checkpoint(tmp_path: Path) -> None:
    run, _ = train(tmp_path, "plain", "dcgan")
    assert run.chosen("auto").name == "96"
    assert run.told("auto") == "checkpoint 96, the last"


def test_the_command_line_trains_draws_and_compares(tmp_path: Path) -> None:
    words = ["train", "digits-r3gan", *overrides("r3gan"), "--runs", str(tmp_path)]
    done = CliRunner().invoke(app, [*words, "family.class_conditional=true", "--name", "one"])
    assert done.exit_code == 0, done.output
    assert "checkpoint 96, the last, draws by default" in done.stdout
    done = CliRunner().invoke(app, ["sample", str(tmp_path / "one"), "-n", "3", "sampling.truncation=0.5"])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["sample", str(tmp_path / "one"), "--steps", "5"])
    assert (done.exit_code, "sampling.steps: unknown key" in done.stderr) == (2, True), done.output
    other, _ = train(tmp_path, "two", "dcgan")
    targets = [str(tmp_path / "one"), str(other.folder.path)]
    arguments = ["--against", "digits:test", "--protocol", "fd-classifier-100", "--format", "csv"]
    done = CliRunner().invoke(app, ["compare", *targets, *arguments])
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.image_size=9"], r"network\.kind=dcgan: image_size=9 can't be halved"),
        (["codec=standardize"], r"codec with network\.kind=dcgan: codes of images go from -2 to 2, .* codec=identity"),
        (["network.latent=0"], r"network\.latent: .*greater than or equal to 1"),
        (["family.loss=wasserstein"], r"family\.loss=wasserstein with family\.regularizers=\[\]"),
        (
            ["family.regularizers=[r1]", "data.image_size=16"],
            r"family\.regularizers=\['r1'\] with network\.critic_norm=batch",
        ),
        (["network=unet"], r"network\.kind=unet is not for family\.kind=gan; choose one of: dcgan"),
        (["training.gradient_checkpointing=true"], r"names no blocks"),
        (["training.phases.discriminator.learning_rate=0.1"], r"unknown phase 'discriminator'.*critic"),
        (["sampling.truncation=2"], r"sampling\.truncation: .*less than or equal to 1"),
    ],
)
def test_bad_input_is_refused_before_training(tmp_path: Path, changes: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        train(tmp_path, "bad", "dcgan", changes)
    assert not (tmp_path / "bad").exists()


def test_classes_without_labels_are_refused() -> None:
    chosen = recipe.read("digits-dcgan", ["family.class_conditional=true"])[1]
    with pytest.raises(BadInput, match=r"family\.class_conditional: the images have no labels"):
        build.check(chosen, 0)


def test_an_estimate_counts_every_phase_and_nothing_is_compiled() -> None:
    machine = Machine.detect("cpu", "float32", 1)
    chosen = recipe.read("digits-wgan-gp", [*overrides("wgan-gp"), "data.channels=1"])[1]
    found = estimate(chosen, 10, machine)
    assert (found.nfe, found.compiled) == (1, False)
    assert found.training_seconds > 0
    with pytest.raises(BadInput, match=r"training\.compile=on: this family's networks can't be compiled"):
        decide(chosen.but(training=chosen.training.but(compile="on")), machine, 10)


def _grey(size: int) -> Feed:
    return lambda position, length: (torch.randint(256, (length, 1, size, size), dtype=torch.uint8), None)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_operations_of_an_estimate_are_those_of_real_updates(preset: str) -> None:
    """Whatever is frozen, differentiated twice, or comes at some updates alone."""
    machine = Machine(torch.device("cpu"), "float32", torch.get_num_threads())
    chosen = recipe.read(f"digits-{preset}", [*overrides(preset), "data.channels=1", "training.images=100000"])[1]
    counted = operations_per_image(chosen, 10)
    learner = build.learner(chosen, 10, machine)
    updates = workload.updates(learner, chosen, machine, _grey(chosen.data.image_size))
    rhythm = learner.family.rhythm()
    done = flops(lambda: [next(updates) for _ in range(rhythm)]) / (rhythm * chosen.training.batch_size)
    assert counted.update == pytest.approx(done, rel=0.03)
    assert abs(counted.update / (3 * counted.forward) - 1) > 0.03  # three times what is forward would not do


def test_a_budget_plans_the_length(tmp_path: Path) -> None:
    words = ["train", "digits-dcgan", *(w for w in overrides("dcgan") if "training.images" not in w)]
    done = CliRunner().invoke(app, [*words, "--runs", str(tmp_path), "--name", "budget", "--budget", "12s"])
    assert done.exit_code == 0, done.output
    assert "training.images" not in done.output
    assert (tmp_path / "budget" / "samples").is_dir()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch was built without torch.distributed")
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    preset = "stylegan2-small"  # it adapts most: p, mean w, mean path length
    changes = ["training.chunk_size=4", "training.learning_rate=0.0001", "family.augmentation.start=0.4"]
    train(tmp_path, "one", preset, changes)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "mezzotint"]
    words = ["train", f"digits-{preset}", *overrides(preset), *changes, "--name", "two", "--runs", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *launcher, *words, "--device", "cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        load_file(tmp_path / name / "checkpoints" / "96" / "weights.safetensors") for name in ("one", "two")
    )
    for name, weight in ours.items():
        torch.testing.assert_close(theirs[name], weight, rtol=1e-2, atol=1e-3, msg=name)
