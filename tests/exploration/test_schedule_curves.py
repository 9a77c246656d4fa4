"""Curves of noise schedules, and pictures on their way through them."""

import pytest
import torch

from mezzotint.diffusion.schedules import SCHEDULES
from mezzotint.errors import BadInput
from mezzotint.exploration.schedules import named_schedules, noised, schedules

ALL = named_schedules()


def test_every_schedule_that_needs_no_choice_is_drawn() -> None:
    assert set(ALL) <= set(SCHEDULES)
    assert {"linear", "cosine", "karras", "log-normal", "flow"} <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_curves_are_what_the_schedule_says(name: str) -> None:
    schedule = ALL[name]
    (curve,) = schedules({name: schedule}, points=51)
    low, high = schedule.bounds()
    assert curve.name == name
    assert (curve.u[0], curve.u[-1]) == (0, 1)
    assert float(curve.sigma[0]) == pytest.approx(high, rel=1e-6)
    assert float(curve.sigma[-1]) == pytest.approx(low, rel=1e-6)
    assert (curve.sigma.diff() < 0).all()
    torch.testing.assert_close(curve.log_snr, (1 / curve.sigma**2).log())
    torch.testing.assert_close(curve.alpha, schedule.alpha(curve.sigma))


@pytest.mark.parametrize("name", ALL)
def test_a_picture_goes_forward_as_the_process_does(name: str) -> None:
    schedule, x0 = ALL[name], torch.linspace(-1, 1, 64 * 64 * 3).reshape(3, 64, 64)
    strip, sigma = noised(x0, schedule)
    assert strip.shape == (11, 3, 64, 64)
    low, high = schedule.bounds()
    assert (float(sigma[0]), float(sigma[-1])) == pytest.approx((low, high), rel=1e-6)
    alpha = schedule.alpha(sigma).float()
    torch.testing.assert_close(strip[0] / alpha[0], x0, atol=6 * low, rtol=0)
    noise = strip / alpha[:, None, None, None] - x0
    wanted = noise[-1] / sigma[-1].float()
    assert float(wanted.std()) == pytest.approx(1, abs=0.03)
    torch.testing.assert_close(noise[5] / sigma[5].float(), wanted, atol=0.02, rtol=0.02)  # the same noise throughout


def test_a_seed_chooses_the_noise() -> None:
    x0, schedule = torch.zeros(1, 8, 8), ALL["linear"]
    assert noised(x0, schedule, seed=1)[0].equal(noised(x0, schedule, seed=1)[0])
    assert not noised(x0, schedule, seed=1)[0].equal(noised(x0, schedule, seed=2)[0])


def test_an_unknown_schedule_is_bad_input() -> None:
    with pytest.raises(BadInput, match="did you mean cosine"):
        named_schedules(["cosin"])
