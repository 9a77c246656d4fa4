"""`mezzotint estimate`."""

import json

import pytest
from typer.testing import CliRunner

from mezzotint.cli.estimating import elsewhere, lines
from mezzotint.cli.main import app
from mezzotint.runs.estimate import Estimate
from tiny import OVERRIDES

FOUND = Estimate(
    device="cpu",
    precision="float32",
    threads=2,
    parameters=9_000_000,
    forward_operations=3e9,
    update_operations=9e9,
    batch_size=64,
    chunk_size=32,
    process_bytes=2**29,
    fixed_bytes=2**29,
    image_bytes=10 * 2**20,
    peak_bytes=2**30 + 320 * 2**20,
    free_bytes=None,
    compiled=True,
    compiled_because="on: compiling takes about 90 s",
    compiling_seconds=90.0,
    seconds_per_1000_images=20.0,
    images=100_000,
    training_seconds=2000.0,
    nfe=35.0,
    sheet_seconds=60.0,
    validation_seconds=30.0,
    monitor_seconds=100.0,
)


def test_words() -> None:
    text = "\n".join(lines(FOUND))
    for said in (
        "free",
        "9,000,000 parameters",
        "3.00 GFLOP forward per image, 9.00 in training (a multiply-add counts as two)",
        "1.31 GiB at the peak: 512 MiB of Python and torch, 512 MiB, and 10.0 MiB for each of 32 images at once",
        "20.0 s per 1,000 images, batch 64",
        "33 min for 100,000 images; sheets 60 s (35 network calls per picture)",
        "compiling      on: compiling takes about 90 s",
        "together       36 min without monitoring",
        "not verified",
    ):
        assert said in text


def test_gpus_are_marked_as_not_verified_and_small_ones_as_too_small() -> None:
    table = elsewhere(FOUND)
    assert table
    assert not any(gpu["verified"] for gpu in table)
    assert all(gpu["fits"] for gpu in table)
    from dataclasses import replace

    large = elsewhere(replace(FOUND, fixed_bytes=30 * 2**30))
    assert {gpu["name"] for gpu in large if gpu["fits"]} == {"A100 40 GB", "H100 SXM"}
    assert all(gpu["fits"] for gpu in elsewhere(replace(FOUND, process_bytes=30 * 2**30)))  # main memory is not theirs


def test_a_gpu_before_ampere_is_priced_in_float16() -> None:
    slow = next(gpu for gpu in elsewhere(FOUND) if gpu["name"] == "T4")
    assert slow["seconds"] == pytest.approx(FOUND.total_operations() / (0.25 * 65e12))


def test_command() -> None:
    result = CliRunner().invoke(app, ["estimate", "digits-edm", *OVERRIDES, "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["chunk_size"] == 16
    assert found["nfe"] == 5
    assert found["gpus"][0]["verified"] is False


def test_epochs_of_so_many_images() -> None:
    words = ["digits-edm", *OVERRIDES, "training.images=2ep", "--images", "50", "--device", "cpu", "--json"]
    result = CliRunner().invoke(app, ["estimate", *words])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["images"] == 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "recipe 'nothing'"),
        (["digits-edm", "training.chunk_size=0"], "training.chunk_size"),
        (["digits-edm", "network.attention=[3]"], "attention=3"),
        (["digits-edm", "training.images=100ep"], "training.images=100ep: how many images an epoch has"),
    ],
)
def test_bad_input(words: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["estimate", *words])
    assert result.exit_code == 2
    assert message in result.stderr
