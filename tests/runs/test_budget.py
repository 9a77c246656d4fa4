"""Planning from a time budget: the arithmetic, without a clock, and one real plan."""

import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from torch import nn

from mezzotint.data.loading import Loader
from mezzotint.data.prepare import ensure_pack
from mezzotint.errors import BadInput
from mezzotint.machine import Compilation, Machine
from mezzotint.runs import budget, recipe
from mezzotint.runs.budget import _planned, plan
from mezzotint.runs.recipe import TrainingOptions
from tiny import OVERRIDES

OPEN = TrainingOptions(batch_size=100)


def _cost(training: TrainingOptions, per_image: float, per_sheet: float, per_validation: float) -> float:
    """What a planned run takes: its images, and each kind of looking at its cadence and at the end."""
    sheets = -(-training.images // training.every("sheet"))
    validations = -(-training.images // training.every("validation"))
    return training.images * per_image + sheets * per_sheet + validations * per_validation


@pytest.mark.parametrize("seconds", [20, 100, 1000, 100_000])
@pytest.mark.parametrize("given", [{}, {"sheet_images": 1000}, {"sheet_images": 5000, "validation_images": 300}])
def test_a_plan_fills_its_time_and_never_exceeds_it(seconds: float, given: dict[str, int]) -> None:
    planned = _planned(OPEN.but(**given), seconds, 0.01, 2.0, 1.0)
    cost = _cost(planned, 0.01, 2.0, 1.0)
    # An update takes 1 s; with a cadence given, looks in between are counted as if they went on.
    assert cost <= seconds
    assert cost > seconds - 1.0 - 2 * 3.0 * len(given) - 1e-6
    assert planned.images % planned.batch_size == 0


def test_open_cadences_look_ten_times_at_most_and_once_at_least() -> None:
    for seconds, looks in ((10_000, 10), (10, 1)):
        planned = _planned(OPEN, seconds, 0.01, 2.0, 1.0)
        assert -(-planned.images // planned.every("sheet")) == looks
        assert planned.every("validation") == planned.every("sheet")


def test_looking_takes_a_small_part_of_the_budget() -> None:
    planned = _planned(OPEN, 100, 0.01, 2.0, 1.0)
    assert planned.images * 0.01 > 0.9 * 100


def test_cadences_of_the_recipe_are_kept() -> None:
    planned = _planned(OPEN.but(sheet_images=700), 1000, 0.01, 2.0, 1.0)
    assert planned.sheet_images == 700
    assert planned.validation_images == pytest.approx(planned.images / 10, rel=0.01)


@pytest.mark.parametrize("seconds", [3.9, 1.0, 0.0, -5.0])
def test_too_little_time_is_refused(seconds: float) -> None:
    with pytest.raises(BadInput, match=r"--budget: [0-4] s left are too few .* about 4 s .* give more time"):
        _planned(OPEN, seconds, 0.01, 2.0, 1.0)


def _planned_images(monkeypatch: pytest.MonkeyPatch, *changes: str, compiled: bool = False) -> int:
    """Plan 1,000 s for updates of one second, after 200 s of beginning; nothing is timed."""
    monkeypatch.setattr(budget, "_seconds_of_updates", lambda *_: (1 / 32, 200.0))
    monkeypatch.setattr(budget, "_seconds_per_sheet", lambda *_: 0.001)
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr(nn.Module, "compile", lambda self, dynamic: None)
    monkeypatch.setattr(Machine, "compiler_lacks", lambda self: None)
    open_cadences = ("training.sheet_images=null", "training.validation_images=null")
    _, checked = recipe.read("digits-edm", [*OVERRIDES, "data.channels=1", *open_cadences, *changes])
    loader = Loader(ensure_pack(checked.data), checked.seed, checked.data.held_out)
    machine = replace(Machine.detect("cpu", "float32", 1), compilation=Compilation(compiled))
    return plan(checked, loader, machine, 10, 1000.0).training.images


@pytest.mark.parametrize(("held_out", "kept"), [("0.01", 0.0), ("0.2", 0.05)])
def test_time_is_kept_for_a_monitor_where_enough_is_held_out(
    monkeypatch: pytest.MonkeyPatch, held_out: str, kept: float
) -> None:
    part = f"data.held_out={held_out}"
    auto, off = (_planned_images(monkeypatch, part, *more) for more in ((), ("evaluation.monitor=off",)))
    assert auto == pytest.approx((1 - kept) * off, rel=0.01)


def test_time_is_kept_for_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _planned_images(monkeypatch, "evaluation.monitor=off")
    compiled = _planned_images(monkeypatch, "evaluation.monitor=off", compiled=True)
    assert plain - compiled == pytest.approx(200 * 32, rel=0.01)


def test_the_first_updates_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves with updates: 11 s the first, then one each."""
    clock = [0.0]

    class Slow:
        def train(self, learner: object) -> Iterator[None]:
            for took in (11.0, *[1.0] * 99):
                clock[0] += took
                yield

    monkeypatch.setattr(budget, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    learner = SimpleNamespace(options=OPEN, family=SimpleNamespace(rhythm=lambda: 1))
    per_image, beginning = budget._seconds_of_updates(Slow(), learner, 500)  # pyright: ignore[reportArgumentType]
    assert per_image == pytest.approx(0.01)
    assert beginning == pytest.approx(10.0)


def test_a_real_plan_sets_the_length_and_nothing_else() -> None:
    _, checked = recipe.read("digits-edm", [*OVERRIDES, "training.sheet_images=null", "data.channels=1"])
    loader = Loader(ensure_pack(checked.data), checked.seed)
    machine = Machine.detect("cpu").prepare()
    planned = plan(checked, loader, machine, 10, time.monotonic() + 60)
    assert planned.training.images > 320
    assert planned.training.sheet_images is not None
    kept = {"images": 320, "sheet_images": None}
    assert planned.but(training=planned.training.but(**kept)) == checked
