"""Planning from a time budget: the arithmetic, without a clock, and one real plan."""

import time

import pytest

from mezzotint.data.loading import Loader
from mezzotint.data.prepare import ensure_pack
from mezzotint.errors import BadInput
from mezzotint.machine import Machine
from mezzotint.runs import recipe
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
    with pytest.raises(BadInput, match=r"--budget: [0-4] s left are too few .* give more time"):
        _planned(OPEN, seconds, 0.01, 2.0, 1.0)


def test_a_real_plan_sets_the_length_and_nothing_else() -> None:
    _, checked = recipe.read("digits-edm", [*OVERRIDES, "training.sheet_images=null", "data.channels=1"])
    loader = Loader(ensure_pack(checked.data), checked.seed)
    machine = Machine.detect("cpu").prepare()
    planned = plan(checked, loader, machine, 10, time.monotonic() + 60)
    assert planned.training.images > 320
    assert planned.training.sheet_images is not None
    kept = {"images": 320, "sheet_images": None}
    assert planned.but(training=planned.training.but(**kept)) == checked
