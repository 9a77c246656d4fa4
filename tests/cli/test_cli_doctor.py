"""`mezzotint doctor`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mezzotint.cli.diagnosis import convolution_gflops, diagnose, find_warnings
from mezzotint.cli.main import app
from mezzotint.machine import Machine

GOOD = {"device": "cuda:0", "precision": "bfloat16", "threads": 8, "memory_gib": 24.0, "disk_free_gib": 100.0}


def test_diagnosis_is_complete() -> None:
    found = diagnose(Machine.detect("cpu", "float32"), Path.cwd())
    assert set(found.gflops) == {"float32", "bfloat16"}
    assert all(gflops > 0 for gflops in found.gflops.values())
    assert {"device", "precision", "threads", "memory_gib", "disk_free_gib", "torch"} <= set(found.facts)
    assert 0.1 < float(found.facts["memory_gib"]) < 1e5


def test_measured_speed_is_of_the_right_size() -> None:
    import torch

    gflops = convolution_gflops(Machine.detect("cpu"), torch.float32, seconds=0.05)
    assert 0.1 < gflops < 1e5


def test_a_good_machine_gets_no_warnings() -> None:
    assert find_warnings(GOOD, {"float32": 1000, "bfloat16": 3000}) == ()


@pytest.mark.parametrize(
    ("changes", "gflops", "message"),
    [
        ({"device": "cpu"}, {"float32": 9, "bfloat16": 10}, "no accelerator"),
        ({"device": "cpu", "threads": 1}, {"float32": 9, "bfloat16": 10}, "one processor thread"),
        ({}, {"float32": 30, "bfloat16": 10}, "float32 is 3.0 times as fast as bfloat16"),
        ({"precision": "float32"}, {"float32": 10, "bfloat16": 20}, "training.precision=bfloat16"),
        ({"memory_gib": 3.0}, {"float32": 1, "bfloat16": 3}, "training.chunk_size"),
        ({"disk_free_gib": 1.0}, {"float32": 1, "bfloat16": 3}, "of disk free"),
    ],
)
def test_warnings(changes: dict[str, str | int], gflops: dict[str, float], message: str) -> None:
    assert message in find_warnings({**GOOD, **changes}, gflops)[-1]


def test_command() -> None:
    found = json.loads(CliRunner().invoke(app, ["doctor", "--json", "--device", "cpu"]).stdout)
    assert found["facts"]["device"] == "cpu"
    text = CliRunner().invoke(app, ["doctor", "--device", "cpu"]).stdout
    assert "convolution" in text
    assert "no accelerator" in text


def test_unknown_device() -> None:
    result = CliRunner().invoke(app, ["doctor", "--device", "gpu"])
    assert result.exit_code == 2
    assert result.stderr == "mezzotint: device 'gpu' is not on this machine: did you mean cpu?\n"
