"""Curves of noise schedules, and pictures on their way through them."""

from math import log, pi

import pytest
import torch

from mezzotint.diffusion.schedules import SCHEDULES
from mezzotint.errors import BadInput
from mezzotint.exploration.figures import overview
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
    assert set(curve.numbers()) == {"u", "sigma", "alpha", "log_snr", "density"}
    assert all(len(column) == 51 for column in curve.numbers().values())


def test_density_is_how_often_training_draws_a_sigma() -> None:
    normal, geometric = schedules(named_schedules(["{kind: log-normal, mean: -1, std: 0.8}", "ve"]), points=4001)
    z = (normal.sigma.log() + 1) / 0.8
    within = z.abs() < 2
    torch.testing.assert_close(
        normal.density[within], ((-(z**2) / 2).exp() / (0.8 * (2 * pi) ** 0.5))[within], rtol=1e-3, atol=0
    )
    torch.testing.assert_close(geometric.density, torch.full_like(geometric.u, 1 / log(100 / 0.02)), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_all_of_training_lies_on_the_curve(name: str) -> None:
    (curve,) = schedules({name: ALL[name]})
    assert float(torch.trapezoid(curve.density, -curve.sigma.log())) == pytest.approx(1, abs=0.02)


def test_the_overview_shows_every_schedule_in_every_plot() -> None:
    figure = overview(schedules(ALL, points=11))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["sigma over u", "log-SNR over u", "density of ln sigma in training", "alpha over u"]
    assert all([line.get_label() for line in axes.get_lines()] == list(ALL) for axes in figure.axes)
    assert (figure.axes[0].get_yscale(), figure.axes[2].get_xscale()) == ("log", "log")
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].get_lines()}
    assert len(looks) == len(ALL)


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


def test_a_schedule_with_options_keeps_them_in_its_name() -> None:
    found = named_schedules(["{kind: sigmoid, tau: 0.5}", "sigmoid"])
    assert list(found) == ["sigmoid, tau: 0.5", "sigmoid"]
    assert found["sigmoid, tau: 0.5"] == found["sigmoid"].but(tau=0.5)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("cosin", "did you mean cosine"),
        ("{kind: sigmoid, ta: 1}", "schedule.ta: unknown key: did you mean tau"),
        ("{kind: sigmoid, tau: 0}", "schedule.tau: .* got 0"),
        ("{kind: sigmoid", "not valid YAML"),
        ("3", "must be a name or a mapping"),
    ],
)
def test_what_is_no_schedule_is_bad_input(word: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        named_schedules([word])
