"""`mezzotint bench`: measures a reference network, keeps the numbers, and `doctor` shows them."""

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from mezzotint.cli.main import app
from mezzotint.disk import home
from mezzotint.machine import Machine
from mezzotint.runs import workload
from mezzotint.runs.compilation import operations_per_image
from mezzotint.runs.measured import Compiled, Measured, recall

SMALL = {"kind": "unet", "channels": 8, "multipliers": [1], "blocks": 1, "attention": [], "groups": 4}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A reference network that takes milliseconds."""
    real = workload.recipe
    monkeypatch.setattr(workload, "recipe", lambda batch_size: real(batch_size, SMALL, 16))
    monkeypatch.setattr(workload, "random_pixels", lambda _, real=workload.random_pixels: real(16))
    yield
    (home() / "machines.json").unlink(missing_ok=True)


@pytest.mark.usefixtures("small")
def test_numbers_fit_together_are_kept_and_shown_by_doctor() -> None:
    result = CliRunner().invoke(app, ["bench", "--device", "cpu", "--seconds", "1", "--json"])
    found = json.loads(result.stdout)
    assert found["device"] == "cpu"
    assert set(found["convolution_gflops"]) == {"float32", "bfloat16"}
    per_image = operations_per_image(workload.recipe(16), 0).update
    gflops = found["update_images_per_second"] * per_image / 1e9
    assert found["update_gflops"] == pytest.approx(gflops, rel=0.05, abs=0.1)
    assert 0 < found["roofline_fraction"] < 1.5
    assert found["compiled"] is None

    kept = recall(Machine.detect("cpu").prepare())
    assert kept is not None
    assert kept.tree().items() <= found.items()
    shown = CliRunner().invoke(app, ["doctor", "--device", "cpu"]).stdout
    assert f"updates        {kept.update_images_per_second:,.1f} images/s" in shown
    assert "nothing yet" not in shown


def test_text_and_a_compiled_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = Measured(
        batch_size=16,
        convolution_gflops={"float32": 300, "bfloat16": 500},
        update_images_per_second=60,
        update_gflops=500,
        roofline_fraction=0.6,
        evaluations_per_second=200,
        compiled=Compiled(seconds=70, gain=0.9),
    )
    asked: list[bool] = []

    def measure(machine: Machine, seconds: float, compiling: bool) -> Iterator[str | Measured]:
        asked.append(compiling)
        yield "working"
        yield numbers

    monkeypatch.setattr(workload, "measure", measure)
    result = CliRunner().invoke(app, ["bench", "--device", "cpu", "--compile"])
    (home() / "machines.json").unlink()
    assert asked == [True]
    assert "bench: working" in result.stderr
    assert "compiled       updates 0.90 times as fast, after 70 s" in result.stdout
    assert "roofline       60% of an update's time" in result.stdout


def test_bad_input_is_one_line() -> None:
    assert CliRunner().invoke(app, ["bench", "--device", "gpu"]).exit_code == 2
    assert CliRunner().invoke(app, ["bench", "--seconds", "0"]).exit_code == 2
