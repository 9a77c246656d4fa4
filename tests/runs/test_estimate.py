"""What a run will need, counted exactly where it can be."""

import pytest

from mezzotint.machine import Machine
from mezzotint.runs import build, recipe
from mezzotint.runs import estimate as estimate_module
from mezzotint.runs.estimate import estimate, evaluations
from mezzotint.runs.measured import Compiled
from mezzotint.runs.recipe import Recipe
from mezzotint.training.cost import Pace
from tiny import OVERRIDES

CPU = Machine.detect("cpu", "float32", 1)


def _recipe(*changes: str) -> Recipe:
    return recipe.read("digits-edm", [*OVERRIDES, "data.channels=1", *changes])[1]


@pytest.mark.parametrize(
    ("sampling", "nfe"),
    [
        (["sampling.sampler=heun", "sampling.steps=12"], 23),
        (["sampling.sampler=euler", "sampling.steps=7"], 7),
        (["sampling.sampler=ddim", "sampling.steps=50"], 50),
    ],
)
def test_network_calls_of_a_picture(sampling: list[str], nfe: int) -> None:
    assert evaluations(_recipe(*sampling), 10) == nfe


MEASURED = {0.1: 19, 0.01: 40, 0.001: 91}
"""Calls by tolerance of 40 pictures drawn together, by `digits-edm` trained with 7,000 images: the slowest counts."""


@pytest.mark.parametrize("prediction", ["edm", "noise", "v", "flow"])
@pytest.mark.parametrize("tolerance", MEASURED)
def test_adaptive_calls_are_about_those_of_a_trained_network(prediction: str, tolerance: float) -> None:
    """Whatever it predicts and is told; a network that says 0, exact for one Gaussian, takes 16 to 28 at 0.01."""
    sampler = f"sampling.sampler={{kind: adaptive, relative: {tolerance}, absolute: {tolerance}}}"
    chosen = _recipe(sampler, "sampling.steps=2", f"family.prediction={prediction}", "family.level=time")
    assert evaluations(chosen, 10) == pytest.approx(MEASURED[tolerance], rel=0.15)


def test_a_grid_of_many_levels_decides_adaptive_calls_by_itself() -> None:
    assert evaluations(_recipe("sampling.sampler=adaptive", "sampling.steps=18"), 10) == 1 + 3 * 17


def test_calls_do_not_depend_on_the_size_of_pictures_nor_on_chance() -> None:
    changes = ("sampling.sampler=adaptive", "sampling.steps=2")
    large = _recipe(*changes, "data.image_size=512")
    assert evaluations(large, 10) == evaluations(_recipe(*changes), 10) == evaluations(large, 10)


def test_an_estimate_is_consistent_with_what_is_built() -> None:
    chosen = _recipe("evaluation.monitor=off")
    found = estimate(chosen, 10, CPU)
    family = build.family(chosen, 10, CPU)
    assert found.parameters == sum(p.numel() for p in family.parameters())
    assert 2.9 * found.forward_operations < found.update_operations <= 3 * found.forward_operations  # no slope in x
    assert found.peak_bytes == found.process_bytes + found.fixed_bytes + 16 * found.image_bytes  # chunk_size=16
    assert found.training_seconds == pytest.approx(found.seconds_per_1000_images * 0.320)
    assert found.nfe == 5
    assert found.sheet_seconds > 0
    assert found.validation_seconds > 0
    assert found.monitor_seconds == 0
    assert found.total_operations() == 320 * found.update_operations


def test_what_compiling_is_known_to_bring_is_in_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "compiler_lacks", lambda self: None)
    known = Compiled(seconds=100, gain=2.0)
    monkeypatch.setattr(estimate_module, "expected", lambda machine: (known, "measured by bench"))
    monkeypatch.setattr(estimate_module, "_pace", lambda *_: Pace(image=1.0, update=0.0))
    for wish, seconds, compiling in (("on", 160, 100), ("off", 320, 0), ("auto", 320, 0)):
        found = estimate(_recipe(f"training.compile={wish}"), 10, CPU)
        assert found.compiled == (wish == "on")
        assert (found.training_seconds, found.compiling_seconds) == (seconds, compiling)
        assert found.total_seconds() > seconds + compiling
    assert found.compiled_because.startswith("off: no faster on cpu")


def test_a_gain_that_nobody_measured_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "compiler_lacks", lambda self: None)
    monkeypatch.setattr(estimate_module, "_pace", lambda *_: Pace(image=1.0, update=0.0))
    found = estimate(_recipe("training.compile=on"), 10, CPU)
    assert (found.compiled, found.training_seconds, found.compiling_seconds) == (True, 320, 0)


def test_monitoring_too_short_to_be_done_takes_no_time() -> None:
    assert estimate(_recipe(), 10, CPU).monitor_seconds == 0


def test_operations_do_not_depend_on_the_data_and_open_channels_count_as_three() -> None:
    assert _recipe("data.channels=null").data.channels is None
    opened, three = (estimate(_recipe(f"data.channels={c}"), 10, CPU) for c in ("null", "3"))
    assert opened.forward_operations == three.forward_operations
    assert opened.parameters == three.parameters
