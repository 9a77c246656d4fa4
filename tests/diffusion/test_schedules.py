"""Noise schedules: inverses, grids, ranges, the processes they stand for, and what they refuse."""

from math import cos, pi
from typing import Literal

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from mezzotint.diffusion.schedules import (
    SCHEDULES,
    SIGMA_LIMIT,
    Cosine,
    Flow,
    Karras,
    Linear,
    LogNormal,
    Ranged,
    Schedule,
)
from mezzotint.errors import BadInput
from mezzotint.options import parse
from mezzotint.registry import table_summaries
from mezzotint.samplers import SAMPLERS, integrate
from mezzotint.seeds import AmbientNoise
from oracle import Mixture

EVERY: list[Schedule] = [
    *(SCHEDULES[name]() for name in SCHEDULES),
    Cosine(sigma_max=SIGMA_LIMIT),
    Flow(sigma_max=SIGMA_LIMIT, sigma_min=1e-4),
    LogNormal(sigma_max=SIGMA_LIMIT),
    Karras(sigma_min=0.01, sigma_max=50, rho=3),
    Linear(timesteps=2),
]
schedules = pytest.mark.parametrize("schedule", EVERY, ids=repr)


@schedules
@given(share=st.floats(0, 1))
def test_sigma_of_u_of_sigma(schedule: Schedule, share: float) -> None:
    low, high = schedule.bounds()
    sigma = torch.tensor([low * (high / low) ** share], dtype=torch.float64)
    torch.testing.assert_close(schedule.sigma(schedule.u(sigma)), sigma, atol=0, rtol=1e-9)


@schedules
@given(u=st.floats(0, 1))
def test_u_of_sigma_of_u(schedule: Schedule, u: float) -> None:
    position = torch.tensor([u], dtype=torch.float64)
    torch.testing.assert_close(schedule.u(schedule.sigma(position)), position, atol=1e-8, rtol=0)


@schedules
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_decreasing_from_end_to_end(schedule: Schedule, dtype: torch.dtype) -> None:
    low, high, rounding = *schedule.bounds(), 1e-3 if dtype == torch.float32 else 1e-9
    sigma = schedule.sigma(torch.linspace(0, 1, 257, dtype=dtype))
    assert sigma.dtype == dtype
    assert bool((sigma.diff() < 0).all())
    torch.testing.assert_close(sigma[[0, -1]], torch.tensor([high, low], dtype=dtype), atol=0, rtol=rounding)
    ends = schedule.u(torch.tensor([high, low], dtype=dtype))
    torch.testing.assert_close(ends, torch.tensor([0.0, 1.0], dtype=dtype), atol=1e-6, rtol=0)


@schedules
def test_outside_the_domain_is_the_nearest_end(schedule: Schedule) -> None:
    low, high = schedule.bounds()
    outside = schedule.sigma(torch.tensor([-0.5, 1.5], dtype=torch.float64))
    torch.testing.assert_close(outside, torch.tensor([high, low], dtype=torch.float64), atol=0, rtol=1e-9)
    beyond = schedule.u(torch.tensor([2 * high, low / 2], dtype=torch.float64))
    torch.testing.assert_close(beyond, torch.tensor([0.0, 1.0], dtype=torch.float64), atol=1e-9, rtol=0)


@schedules
@pytest.mark.parametrize("steps", [1, 2, 18])
def test_grid_decreases_from_sigma_max_to_0(schedule: Schedule, steps: int) -> None:
    steps = min(steps, schedule.last_timestep() + 1)
    grid = schedule.grid(steps)
    assert grid.dtype == torch.float64
    assert grid.shape == (steps + 1,)
    assert float(grid[0]) == pytest.approx(schedule.bounds()[1])
    assert float(grid[-1]) == 0
    assert bool((grid.diff() < 0).all())


@schedules
def test_draw_is_stratified_and_follows_the_generators(schedule: Schedule) -> None:
    torch.manual_seed(0)
    drawn = schedule.draw(64)
    torch.manual_seed(0)
    assert torch.equal(drawn, schedule.draw(64))
    assert drawn.dtype == torch.float32
    strata = (schedule.u(drawn.double()) * 64 + 1e-3).floor()  # float32 may fall just before its stratum
    assert int((strata.clamp_max(63) - torch.arange(64)).abs().max()) <= 1
    assert not torch.equal(drawn, schedule.draw(64))


def test_linear_is_the_table_of_ddpm() -> None:
    bar = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).neg().add(1).cumprod(0)
    expected = ((1 - bar) / bar).sqrt().flip(0)
    torch.testing.assert_close(Linear().grid(1000)[:-1], expected, atol=0, rtol=1e-10)
    assert Linear().bounds()[1] == pytest.approx(157.4, rel=1e-3)


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("steps", [2, 7, 50, 333, 1000])
def test_spacings_agree_with_diffusers(spacing: Literal["linspace", "leading", "trailing"], steps: int) -> None:
    theirs = DDPMScheduler(timestep_spacing=spacing)
    theirs.set_timesteps(steps)
    bar = theirs.alphas_cumprod.double()[theirs.timesteps]
    ours = parse(Linear, {"spacing": spacing}).grid(steps)[:-1]
    torch.testing.assert_close(ours, ((1 - bar) / bar).sqrt(), atol=1e-4, rtol=1e-4)


def test_log_normal_has_the_stated_median_and_deviation() -> None:
    sigma = LogNormal().sigma(torch.linspace(0, 1, 10_001, dtype=torch.float64))
    log_sigma = sigma.log()
    assert float(log_sigma.median()) == pytest.approx(-1.2, abs=1e-3)
    assert float(log_sigma[1:-1].std()) == pytest.approx(1.2, rel=2e-3)


def test_karras_is_equation_5() -> None:
    count = 18
    expected = [(80 ** (1 / 7) + i / (count - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(count)]
    torch.testing.assert_close(
        Karras().grid(count)[:-1], torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0
    )


def test_processes_divided_by_alpha_have_the_same_marginals() -> None:
    """At one sigma, x_t / alpha of VP, cosine and flow, each as its paper defines it, are the same x0 + sigma n."""
    x0, n = Mixture().draw(64), torch.randn(64, 2, dtype=torch.float64)
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    bar_linear = float((1 - betas).prod() / (1 - betas[400:]).prod())  # first 400 timesteps
    sigma = ((1 - bar_linear) / bar_linear) ** 0.5
    at = torch.tensor([sigma], dtype=torch.float64)

    def t_of(schedule: Ranged, inverse_end: tuple[float, float]) -> float:  # u back to the paper's own time
        high, low = inverse_end
        return high + float(schedule.u(at)) * (low - high)

    cosine, flow = Cosine(sigma_min=0.01, sigma_max=100), Flow(sigma_min=0.25, sigma_max=9)

    def bar_cosine(t: float) -> float:
        return (cos((t + 0.008) / 1.008 * pi / 2) / cos(0.008 / 1.008 * pi / 2)) ** 2

    ends = [bisect(lambda t, s=s: 1 / bar_cosine(t) - 1 - s**2) for s in (100.0, 0.01)]
    bar, t = bar_cosine(t_of(cosine, (ends[0], ends[1]))), t_of(flow, (0.9, 0.2))
    vp = bar_linear**0.5 * x0 + (1 - bar_linear) ** 0.5 * n
    cos_x, flow_x = bar**0.5 * x0 + (1 - bar) ** 0.5 * n, (1 - t) * x0 + t * n

    expected = x0 + sigma * n
    for x, schedule in ((vp, Linear()), (cos_x, cosine), (flow_x, flow)):
        torch.testing.assert_close(x / schedule.alpha(at), expected, atol=1e-8, rtol=0)


def bisect(f, low: float = 1e-9, high: float = 1 - 1e-9) -> float:
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) < 0 else (low, middle)
    return low


def test_variance_preserving_starts_at_a_standard_normal() -> None:
    for schedule in (Linear(timesteps=10), Cosine(sigma_max=3)):
        sigma = schedule.bounds()[1]
        alpha = float(schedule.alpha(torch.tensor(sigma, dtype=torch.float64)))
        assert alpha * schedule.start_scale(sigma) == pytest.approx(1)
    assert Karras().start_scale(80.0) == 80.0


def test_within_fills_only_the_ends_left_unset() -> None:
    assert Karras().within(Linear()).bounds() == pytest.approx(Linear().bounds())
    assert Karras(sigma_max=50).within(Flow()).bounds() == (0.001, 50)
    assert Linear().within(Karras()) == Linear()
    assert Karras(rho=3).within(Flow()) == Karras(sigma_min=0.001, sigma_max=1000, rho=3)
    with pytest.raises(BadInput, match="below sigma_max"):
        Karras(sigma_min=500).within(Karras())


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_moments_for_each_sampler_and_schedule(name: str, sampler: str) -> None:
    torch.manual_seed(0)
    schedule, mixture, chosen = SCHEDULES[name](), Mixture(), SAMPLERS[sampler]()
    grid = schedule.within(Karras(sigma_min=0.005, sigma_max=20)).grid(250)
    start = torch.randn(8_000, 2, dtype=torch.float64) * schedule.start_scale(float(grid[0]))
    x = list(integrate(mixture, start, grid, chosen, AmbientNoise()))[-1].x
    torch.testing.assert_close(x.mean(0), mixture.mean, atol=0.025, rtol=0)
    torch.testing.assert_close(x.T.cov(), mixture.covariance, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("part", "tree", "match"),
    [
        (Karras, {"sigma_min": 2, "sigma_max": 1}, "sigma_min: must be below sigma_max"),
        (Flow, {"sigma_max": 1, "sigma_min": 1}, "below sigma_max"),
        (Cosine, {"sigma_max": 30_000}, "sigma_max"),
        (LogNormal, {"sigma_min": 0}, "sigma_min"),
        (LogNormal, {"std": 0}, "std"),
        (Linear, {"timesteps": 10_000, "beta_end": 0.5}, "beta_end: sigma_max would be over"),
        (Linear, {"timesteps": 1}, "timesteps"),
        (Linear, {"spacing": "log"}, "spacing"),
        (Karras, {"rho": 0}, "rho"),
        (Karras, {"offset": 0.1}, "offset: unknown key"),
    ],
)
def test_bad_options_are_refused(part: type[Schedule], tree: dict[str, object], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        parse(part, tree)


@pytest.mark.parametrize(("schedule", "steps"), [(Karras(), 0), (Linear(), 0), (Linear(timesteps=10), 11)])
def test_impossible_grids_are_refused(schedule: Schedule, steps: int) -> None:
    with pytest.raises(BadInput, match="steps: "):
        schedule.grid(steps)


def test_a_range_wrong_by_its_defaults_is_refused_when_asked() -> None:
    with pytest.raises(BadInput, match="below sigma_max, got 100 and 80"):
        parse(Karras, {"sigma_min": 100}).bounds()


@pytest.mark.parametrize(
    ("module", "variable"),
    [("schedules", "SCHEDULES"), ("denoiser", "PREDICTIONS"), ("denoiser", "LEVELS"), ("weighting", "WEIGHTINGS")],
)
def test_tables_can_be_listed_without_importing(module: str, variable: str) -> None:
    summaries = table_summaries(f"mezzotint.diffusion.{module}", variable)
    assert len(summaries) >= 3
    assert all(summaries.values())
