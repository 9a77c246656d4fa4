"""Runs of autoencoders from the command line: every command works on them, resuming is exact, and `reconstruct`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from mezzotint.cli.main import app
from mezzotint.errors import BadInput
from mezzotint.runs import build, recipe
from mezzotint.runs.drive import drive
from mezzotint.runs.run import Run, enter
from tiny import after, same, tensors

SHORT = (
    "training.images=256",
    "training.batch_size=32",
    "training.chunk_size=8",
    "training.warmup_images=0",
    "training.log_images=64",
    "training.checkpoint_images=128",
    "training.sheet_images=128",
    "training.validation_images=128",
    "training.sheet_size=4",
    "training.validation_size=28",
    "evaluation.extractors=[{kind: classifier, images: 200}]",
)
VAE = ("network.widths=[8,16]", "family.likelihood=discretized-logistic", "family.warmup_images=200")
VQ = (
    "family={kind: vq-vae, codes: 8, codebook_decay: 0.5, restart_below: 0.5, class_conditional: true}",
    "network={kind: residual-autoencoder, channels: 8, multipliers: [1, 2], blocks: 1, groups: 4, code_channels: 4}",
)
KINDS = {"vae": VAE, "vq-vae": VQ}


def mezzotint(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def done(*words: object) -> Result:
    result = mezzotint(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def refused(*words: object) -> str:
    result = mezzotint(*words)
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.stderr
    return result.stderr.strip().splitlines()[-1]


def train(runs: Path, name: str, kind: str, should_stop: Callable[[], bool] = lambda: False) -> Run:
    with enter(runs, name, "digits-vae", [*SHORT, *KINDS[kind]]) as run:
        list(drive(run, run.loader(), should_stop))
        return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run of each kind, to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        folder = tmp_path_factory.mktemp("runs")
        for kind, changes in KINDS.items():
            done("train", "digits-vae", *SHORT, *changes, "--name", kind, "--runs", folder, "--device", "cpu")
    return folder


# --- Training ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_and_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(kind: str, tmp_path: Path) -> None:
    whole = train(tmp_path, "whole", kind)
    stopped = train(tmp_path, "stopped", kind, after(5))
    assert not same(tensors(stopped), tensors(whole))
    resumed = train(tmp_path, "stopped", kind)
    assert same(tensors(resumed), tensors(whole))
    held = tensors(whole)
    if kind == "vq-vae":
        assert held["weights/codebook.vectors"].equal(held["ema/codebook.vectors"]), "buffers are copied, not averaged"
        fresh = build.family(whole.recipe, whole.num_classes, whole.machine).state_dict()
        assert not fresh["codebook.vectors"].equal(held["weights/codebook.vectors"])


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch was built without torch.distributed")
def test_two_processes_end_with_the_weights_and_the_codebook_of_one(tmp_path: Path) -> None:
    short = [*SHORT, *VQ, "training.precision=float32", "training.images=96"]
    done("train", "digits-vae", *short, "--name", "1", "--runs", tmp_path, "--device", "cpu")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "mezzotint"]
    words = ["train", "digits-vae", *short, "--name", "2", "--runs", str(tmp_path), "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, *launcher, *words], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    one, two = (load_file(tmp_path / name / "checkpoints" / "96" / "weights.safetensors") for name in ("1", "2"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)


def test_the_log_tells_physical_parts_and_what_collapses(runs: Path) -> None:
    records = {
        kind: [json.loads(line) for line in (runs / kind / "log.jsonl").read_text().splitlines()] for kind in KINDS
    }
    update = {kind: next(r for r in log if r["kind"] == "update") for kind, log in records.items()}
    validation = {kind: next(r for r in log if r["kind"] == "validation") for kind, log in records.items()}
    names = {"nll", "bits_per_dim", "loss"}
    assert {f"autoencoder/{name}" for name in names | {"kl", "beta"}} <= update["vae"].keys()
    assert {f"autoencoder/{name}" for name in names | {"commitment", "perplexity", "used_codes", "sigma"}} <= update[
        "vq-vae"
    ].keys()
    assert 0 <= validation["vae"]["autoencoder/held_out_active_units/ema"] <= 8
    assert 1 <= validation["vq-vae"]["autoencoder/held_out_perplexity"] <= 8
    assert 0 < validation["vq-vae"]["autoencoder/held_out_bits_per_dim"] < 12


def test_sheets_of_a_vq_vae_show_held_out_images_above_its_own(runs: Path) -> None:
    sheet = np.asarray(Image.open(runs / "vq-vae" / "samples" / "000000256-ema.png"))
    assert sheet.shape == (4 * 48 // 2 * 2 + 5 * 2, 3 * 50 + 2)  # 4 rows of 3: 3 images and theirs, 1 image and its own
    drawn = np.asarray(Image.open(runs / "vae" / "samples" / "000000256-ema.png"))
    assert drawn.shape == (102, 102)


# --- What draws, draws; what doesn't, says so ---------------------------------------------------------------------


def test_a_vae_is_sampled_evaluated_compared_and_estimated(runs: Path, tmp_path: Path) -> None:
    done("sample", runs / "vae", "sampling.temperature=0.7", "sampling.noise=true", "-n", 4, "-o", tmp_path / "a.png")
    against = ("--against", "digits:test", "--protocol", "fd-classifier-64")
    found = json.loads(done("evaluate", runs / "vae", *against, "--json").stdout)
    assert found["values"]
    table = done("compare", runs / "vae", runs / "vae", *against, "-o", tmp_path / "compared").stdout
    assert table.count("vae") >= 2
    assert "1 network calls per picture" in done("estimate", "digits-vae").stdout
    assert "digits" in done("list", "recipes").stdout


def test_a_vq_vae_refuses_to_draw_in_one_line(runs: Path) -> None:
    for words in (("sample",), ("evaluate", "--against", "digits:test", "--protocol", "fd-classifier-64")):
        assert "that takes a prior over its codes" in refused(words[0], runs / "vq-vae", *words[1:])
    vq = [*SHORT, *VQ, "--runs", runs, "--name", "monitored"]
    wrong = refused("train", "digits-vae", *vq, "evaluation.monitor=fd-classifier-64")
    assert "evaluation.monitor: fd-classifier-64 scores pictures, this family draws none" in wrong


@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_plans_their_length(kind: str, tmp_path: Path) -> None:
    short = [word for word in SHORT if not word.startswith("training.images")]
    done("train", "digits-vae", *short, *KINDS[kind], "--name", "b", "--runs", tmp_path, "--budget", "4s")
    assert (tmp_path / "b" / "log.jsonl").read_text().count('"kind": "sheet"') >= 1


# --- Reconstruct ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_reconstruct_shows_a_sheet_and_tells_numbers_of_all_images(kind: str, runs: Path, tmp_path: Path) -> None:
    words = ("reconstruct", runs / kind, "--on", "digits:test", "-n", 5)
    found = json.loads(done(*words, "--json", "-o", tmp_path / "sheet.png").stdout)
    assert found["images"] == 360
    assert found["psnr"] == pytest.approx(-10 * np.log10(found["mse"]))
    bits = (found["nll"] + found["kl"]) / 64 / np.log(2)
    gaussian = 0 if kind == "vae" else np.log2(127.5)
    assert found["bits_per_dim"] == pytest.approx(bits + gaussian)
    assert ("active_units" in found) == (kind == "vae")
    assert Image.open(tmp_path / "sheet.png").size == (4 * 50 + 2, 4 * 50 + 2)  # 4 + 1 images, each row with its own
    plain = done(*words, "--weights", "raw").stdout.splitlines()
    assert plain[0] == "360 images"
    assert plain[-1].endswith("reconstructed-raw-256.png")
    other = json.loads(done(*words, "--checkpoint", 128, "--json", "-o", tmp_path / "b.png").stdout)
    assert other["mse"] != found["mse"]


def test_reconstruct_does_not_depend_on_batches(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("reconstruct", runs / "vae", "--on", "digits:test", "--json", "-o", tmp_path / "sheet.png")
    once = json.loads(done(*words).stdout)
    monkeypatch.setattr("mezzotint.runs.references.BATCH", 50)
    again = json.loads(done(*words).stdout)
    for name in ("nll", "kl", "mse", "psnr"):
        assert again[name] == pytest.approx(once[name], rel=2e-3)


def test_an_array_of_pixels_is_reconstructed_too(runs: Path, tmp_path: Path) -> None:
    pixels = np.zeros((3, 1, 8, 8), np.uint8)
    np.savez(tmp_path / "black.npz", pixels=pixels, labels=np.array([0, 1, 2]))
    found = done("reconstruct", runs / "vae", "--on", tmp_path / "black.npz", "--json", "-o", tmp_path / "sheet.png")
    assert json.loads(found.stdout)["images"] == 3


def test_wrong_images_are_refused(runs: Path, tmp_path: Path) -> None:
    def on(**arrays: np.ndarray) -> str:
        np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
        return refused("reconstruct", runs / "vae", "--on", tmp_path / "a.npz")

    pixels = np.zeros((3, 1, 8, 8), np.uint8)
    assert "has no labels, and this run is class conditional" in on(pixels=pixels)
    assert "has a class 10, this run's classes are 0..9" in on(pixels=pixels, labels=np.array([0, 10, 1]))
    assert "its images are 1x9x9 (channels, height, width), the run's are 1x8x8" in on(
        pixels=np.zeros((3, 1, 9, 9), np.uint8), labels=np.arange(3)
    )
    assert "no such pack, file or folder" in refused("reconstruct", runs / "vae", "--on", "digit")
    assert "end its name in .png" in refused("reconstruct", runs / "vae", "--on", "digits", "-o", tmp_path / "x")


def test_a_diffusion_run_has_no_encoder(tmp_path: Path) -> None:
    tiny = ["network.channels=16", "network.groups=8", "training.images=32", "training.batch_size=32"]
    quick = ["training.sheet_size=1", "sampling.steps=1", "training.precision=float32"]
    done("train", "digits-edm", *tiny, *quick, "--name", "d", "--runs", tmp_path)
    line = refused("reconstruct", tmp_path / "d", "--on", "digits")
    assert "family.kind=diffusion has no encoder, it reconstructs nothing; runs of vae, vq-vae do" in line


# --- Recipes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("training.batch_size=64", "batch_size"),
        ("training.batch_size=256", "batch_size"),
        ("training.learning_rate=0.01", "learning_rate"),
        ("training.beta1=0", "beta1"),
        ("training.beta1=0.7", "beta1"),
        ("network.latent=50", "latent"),
        ("network.latent=200", "latent"),
    ],
)
def test_every_dial_of_the_study_is_one_override(change: str, key: str) -> None:
    _, published = recipe.read("cats-dogs-vae")
    assert (published.training.batch_size, published.training.learning_rate) == (128, 1e-4)
    assert (published.training.beta1, published.network.tree()["latent"], published.data.image_size) == (0.5, 100, 64)
    _, changed = recipe.read("cats-dogs-vae", [change])
    build.check(changed, 2)
    before = published.training.tree() | published.network.tree()
    now = changed.training.tree() | changed.network.tree()
    assert [name for name in now if now[name] != before[name]] == [key]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["network.latent=0"], r"network\.latent: .*greater than or equal to 1"),
        (["data.image_size=30"], r"network\.kind=conv-vae: image_size=30 can't be halved 2 times for 3 levels"),
        (["network={kind: unet}"], r"network\.kind=unet is not for family\.kind=vae; choose one of: conv-vae"),
        (["family.beta=-1"], r"family\.beta: .*greater than or equal to 0"),
        (["family.likelihood=poisson"], r"family\.likelihood: unknown likelihood 'poisson'"),
        (["sampling.temperature=-1"], r"sampling\.temperature: .*greater than or equal to 0"),
        (["sampling.steps=3"], r"sampling\.steps: unknown key"),
        (["family={kind: vq-vae}"], r"choose residual-autoencoder"),
    ],
)
def test_a_wrong_recipe_is_refused_before_training(overrides: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build.check(recipe.read("digits-vae", overrides)[1], 10)


def test_classes_without_labels_are_refused_before_training() -> None:
    with pytest.raises(BadInput, match=r"family\.class_conditional: the images have no labels"):
        build.check(recipe.read("digits-vae")[1], 0)
