"""`mezzotint doctor`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mezzotint.cli.diagnosis import convolution_gflops, diagnose, find_warnings
from mezzotint.cli.main import app
from mezzotint.machine import Machine
from mezzotint.runs.measured import Measured

GOOD = {
    "device": "cuda:0",
    "precision": "bfloat16",
    "threads": 8,
    "cores": 8,
    "load": 0.2,
    "load_weighed_by": "process",
    "bf16_hardware": True,
    "denormal_slowdown": 1.0,
    "huge_pages": "madvise",
    "memory_gib": 24.0,
    "memory_available_gib": 20.0,
    "disk_free_gib": 100.0,
}
MEASURED = Measured(
    batch_size=16,
    convolution_gflops={"float32": 300, "bfloat16": 500},
    update_images_per_second=60,
    update_gflops=500,
    roofline_fraction=0.6,
    evaluations_per_second=200,
)


def test_diagnosis_is_complete() -> None:
    found = diagnose(Machine.detect("cpu", "float32"), Path.cwd())
    assert set(found.gflops) == {"float32", "bfloat16"}
    assert all(gflops > 0 for gflops in found.gflops.values())
    assert {"torch", *GOOD} <= set(found.facts)
    assert found.measured is None
    assert 0.1 < float(found.facts["memory_gib"]) < 1e5


def test_measured_speed_is_of_the_right_size() -> None:
    import torch

    gflops = convolution_gflops(Machine.detect("cpu"), torch.float32, seconds=0.05)
    assert 0.1 < gflops < 1e5


def test_a_good_machine_gets_no_warnings() -> None:
    assert find_warnings(GOOD, {"float32": 1000, "bfloat16": 3000}, MEASURED) == ()


@pytest.mark.parametrize(
    ("changes", "gflops", "message"),
    [
        ({"device": "cpu"}, {"float32": 9, "bfloat16": 10}, "no accelerator"),
        ({"device": "cpu", "threads": 1, "cores": 1}, {"float32": 9, "bfloat16": 10}, "one processor thread"),
        ({"device": "cpu", "threads": 1}, {"float32": 9, "bfloat16": 10}, "1 of 8 processor cores are used"),
        ({"device": "cpu", "bf16_hardware": False}, {"float32": 9, "bfloat16": 10}, "no bf16 hardware"),
        ({"device": "cpu", "denormal_slowdown": 60.0}, {"float32": 9, "bfloat16": 10}, "1e-38 take 60 times as long"),
        ({"device": "cpu", "huge_pages": "never"}, {"float32": 9, "bfloat16": 10}, "huge pages are off"),
        ({"load": 7.5}, {"float32": 1, "bfloat16": 3}, "a load of 7.5 on 8 cores"),
        ({"load": 7.5, "load_weighed_by": "session"}, {"float32": 1, "bfloat16": 3}, "`nice` does not help"),
        ({"memory_available_gib": 1.0}, {"float32": 1, "bfloat16": 3}, "1.0 of 24 GiB of memory are free"),
        ({}, {"float32": 30, "bfloat16": 10}, "float32 is 3.0 times as fast as bfloat16"),
        ({"precision": "float32"}, {"float32": 10, "bfloat16": 20}, "training.precision=bfloat16"),
        ({"memory_gib": 3.0}, {"float32": 1, "bfloat16": 3}, "training.chunk_size"),
        ({"disk_free_gib": 1.0}, {"float32": 1, "bfloat16": 3}, "of disk free"),
    ],
)
def test_warnings(changes: dict[str, str | int], gflops: dict[str, float], message: str) -> None:
    assert message in find_warnings({**GOOD, **changes}, gflops)[-1]


def test_what_bench_found_slow_is_told() -> None:
    slow = MEASURED.but(roofline_fraction=0.25)
    assert "updates spent 25% of their time" in find_warnings(GOOD, {"float32": 1, "bfloat16": 3}, slow)[-1]


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
