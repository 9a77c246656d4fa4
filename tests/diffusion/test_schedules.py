"""Noise schedules: inverses, grids, ranges, the processes they stand for, and what they refuse."""

from math import cos, pi
from typing import Literal, get_args

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from mezzotint.diffusion.schedules import SCHEDULES, SIGMA_LIMIT, Schedule, Spacing, Timed
from mezzotint.diffusion.schedules.chen_cosine import ChenCosine
from mezzotint.diffusion.schedules.cosine import Cosine
from mezzotint.diffusion.schedules.flow import Flow
from mezzotint.diffusion.schedules.karras import Karras
from mezzotint.diffusion.schedules.linear import Linear
from mezzotint.diffusion.schedules.log_normal import LogNormal
from mezzotint.diffusion.schedules.polynomial import Polynomial
from mezzotint.diffusion.schedules.rates import LinearRate
from mezzotint.diffusion.schedules.shifted import Shifted
from mezzotint.diffusion.schedules.sigmoid import Sigmoid
from mezzotint.diffusion.schedules.sub_vp import SubVP
from mezzotint.diffusion.schedules.tables import Tabled
from mezzotint.diffusion.schedules.ve import VE
from mezzotint.diffusion.schedules.vp import VP
from mezzotint.errors import BadInput
from mezzotint.options import parse
from mezzotint.registry import table_summaries
from mezzotint.samplers import Sampler, integrate
from mezzotint.samplers.adaptive import Adaptive
from mezzotint.samplers.ddim import DDIM
from mezzotint.seeds import SeededNoise
from oracle import Mixture

EVERY: list[Schedule] = [
    *(SCHEDULES[name]() for name in SCHEDULES),
    Cosine(sigma_max=SIGMA_LIMIT),
    Flow(sigma_max=SIGMA_LIMIT, sigma_min=1e-4),
    LogNormal(sigma_max=SIGMA_LIMIT),
    Karras(sigma_min=0.01, sigma_max=50, rho=3),
    Linear(timesteps=2),
    Linear(zero_terminal_snr=True),
    Polynomial(shape="cool-off", tau=2, zero_terminal_snr=True, timesteps=100),
    ChenCosine(start=0.2),
    ChenCosine(start=0.1, end=0.6, tau=2),
    Sigmoid(tau=1.1),
    Sigmoid(start=0, end=3, tau=0.3),
    VP(beta_min=1, beta_max=1, sigma_min=0.01),
    VE(sigma_min=1e-3, sigma_max=SIGMA_LIMIT),
    Shifted(by=0.25, schedule=Linear()),
    Shifted(by=4, schedule=Shifted(by=0.5, schedule=LogNormal())),
]
schedules = pytest.mark.parametrize("schedule", EVERY, ids=repr)
SPACINGS: tuple[Spacing, ...] = get_args(Spacing)


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


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [2, 7, 50, 333, 1000])
def test_spacings_agree_with_diffusers(spacing: Spacing, steps: int) -> None:
    theirs = DDPMScheduler(timestep_spacing=spacing)
    theirs.set_timesteps(steps)
    bar = theirs.alphas_cumprod.double()[theirs.timesteps]
    ours = Linear().grid(steps, spacing)[:-1]
    torch.testing.assert_close(ours, ((1 - bar) / bar).sqrt(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("schedule", [schedule for schedule in EVERY if schedule.last_timestep() > 5], ids=repr)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_every_schedule_has_the_spacings(schedule: Schedule, spacing: Spacing) -> None:
    """Both ends, the lowest alone, the highest alone; in between regular in u, a table's to within an entry."""
    grid = schedule.grid(5, spacing)
    assert grid.shape == (6,)
    assert bool((grid.diff() < 0).all())
    u = schedule.u(grid[:-1])
    assert (spacing != "leading") == (float(u[0]) == pytest.approx(0, abs=1e-9))
    assert (spacing != "trailing") == (float(u[-1]) == pytest.approx(1, abs=1e-9))
    assert float((u.diff() - u.diff()[0]).abs().max()) <= 1.001 / schedule.last_timestep()
    assert torch.equal(schedule.grid(5), schedule.grid(5, "linspace"))


def test_what_runs_once_wrote_of_spacing_is_read() -> None:
    assert parse(Linear, {"timesteps": 50, "spacing": "linspace"}) == Linear(timesteps=50)
    with pytest.raises(BadInput, match="spacing: .*sampling.spacing"):
        parse(Linear, {"spacing": "trailing"})


def error_of_ddim(steps: int, spacing: Spacing) -> float:
    """Distance of drawn from exact codes of the mixture, root mean square, along Nichol and Dhariwal's cosine."""
    noise, latent = SeededNoise(range(500)), SeededNoise(range(500)).normal((500, 2)).double()

    def drawn(sampler: Sampler, grid: torch.Tensor) -> torch.Tensor:
        return list(integrate(Mixture(), latent * grid[0], grid, sampler, noise))[-1].x

    exact = drawn(Adaptive(relative=1e-7, absolute=1e-7), Cosine().grid(2))
    return float((drawn(DDIM(), Cosine().grid(steps, spacing)) - exact).square().mean().sqrt())


def test_trailing_makes_use_of_the_last_of_few_moves() -> None:
    assert error_of_ddim(5, "trailing") < 0.9 * error_of_ddim(5, "linspace")
    assert error_of_ddim(10, "trailing") < 0.96 * error_of_ddim(10, "linspace")


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

    def t_of(schedule: Timed, inverse_end: tuple[float, float]) -> float:  # u back to the paper's own time
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


# --- Each as its paper defines it ----------------------------------------------------------------------------------

TIMES = torch.linspace(0.01, 0.99, 41, dtype=torch.float64)


def at_times(schedule: Timed) -> torch.Tensor:
    """Sigma at the paper's own t, u being regular in t between those of sigma_max and sigma_min."""
    probe = schedule.but(sigma_min=1e-6, sigma_max=SIGMA_LIMIT)
    first, last = (own_time(probe, end) for end in (SIGMA_LIMIT, 1e-6))
    return probe.sigma((first - TIMES) / (first - last))


def own_time(schedule: Timed, sigma: float) -> torch.Tensor:
    found = schedule.time(torch.tensor(sigma, dtype=torch.float64))
    if isinstance(schedule, ChenCosine):  # an angle gone
        return found / (pi / 2 * (schedule.end - schedule.start))
    return found + 1 if isinstance(schedule, Sigmoid) else found


@pytest.mark.parametrize(("start", "end", "tau"), [(0, 1, 1), (0.2, 1, 1), (0.1, 0.7, 2), (0, 1, 0.5)])
def test_chen_cosine_is_the_papers_gamma(start: float, end: float, tau: float) -> None:
    at = (torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), TIMES)
    v = [(pi / 2 * (start + t * (end - start))).cos() ** (2 * tau) for t in at]
    gamma = ((v[1] - v[2]) / (v[1] - v[0])).clamp_min(1e-9)
    ours = at_times(ChenCosine(start=start, end=end, tau=tau))
    torch.testing.assert_close(ours, ((1 - gamma) / gamma).sqrt(), atol=0, rtol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tau", [0.1, 0.2, 0.9])
def test_chen_cosine_is_finite_where_rounding_takes_its_angle_over_a_quarter(tau: float, dtype: torch.dtype) -> None:
    found = ChenCosine(tau=tau, sigma_max=SIGMA_LIMIT).sigma(torch.linspace(0, 1, 101, dtype=dtype))
    assert bool(found.isfinite().all())
    assert bool((found.diff() < 0).all())


@pytest.mark.parametrize(("start", "end", "tau"), [(-3, 3, 0.9), (-3, 3, 1.1), (0, 3, 0.3)])
def test_sigmoid_is_the_papers_gamma(start: float, end: float, tau: float) -> None:
    at = (torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), TIMES)
    v = [((start + t * (end - start)) / tau).sigmoid() for t in at]
    gamma = ((v[1] - v[2]) / (v[1] - v[0])).clamp_min(1e-9)
    ours = at_times(Sigmoid(start=start, end=end, tau=tau))
    torch.testing.assert_close(ours, ((1 - gamma) / gamma).sqrt(), atol=0, rtol=1e-6)


@pytest.mark.parametrize("schedule", [VP(), SubVP(), VP(beta_min=1, beta_max=5)], ids=repr)
def test_rates_are_integrated(schedule: LinearRate) -> None:
    """alpha = exp(-1/2 integral of beta), the integral taken numerically; sigma as each process defines it."""
    s = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    beta = schedule.beta_min + s * (schedule.beta_max - schedule.beta_min)
    area = torch.cumulative_trapezoid(beta, s)[(TIMES * 200_000).round().long() - 1]
    alpha = (-area / 2).exp()
    expected = (1 - alpha**2) / alpha if isinstance(schedule, SubVP) else (1 - alpha**2).sqrt() / alpha
    torch.testing.assert_close(schedule.at(TIMES), expected, atol=0, rtol=1e-8)
    torch.testing.assert_close(schedule.alpha(expected), alpha, atol=1e-12, rtol=1e-9)
    assert schedule.start_scale(float(expected[-1])) == pytest.approx(float(1 / alpha[-1]))
    assert schedule.bounds()[1] == pytest.approx(float(schedule.at(torch.ones(()))), rel=1e-6)


def test_ve_is_geometric() -> None:
    grid = VE().grid(11)[:-1]
    torch.testing.assert_close(grid[1:] / grid[:-1], torch.full((10,), 5000**-0.1, dtype=torch.float64))
    assert float(VE().alpha(grid)[0]) == 1


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-0.8, 1.2), (0.5, 0.6)])
def test_flows_logit_normal_time_is_log_normal_sigma(mean: float, std: float) -> None:
    """Esser et al. 2024, eq. 19: the density of t = sigma / (1 + sigma) under `log-normal`, range cut far outside."""
    schedule = LogNormal(mean=mean, std=std, sigma_min=1e-4, sigma_max=SIGMA_LIMIT)
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64, requires_grad=True)
    drawn_above = schedule.u(t / (1 - t))  # probability of a larger t
    (density,) = torch.autograd.grad(-drawn_above.sum(), t)
    logit, t = (t / (1 - t)).log().detach(), t.detach()
    expected = (-((logit - mean) ** 2) / (2 * std**2)).exp() / (std * (2 * pi) ** 0.5 * t * (1 - t))
    torch.testing.assert_close(density, expected, atol=1e-7, rtol=1e-6)


# --- Tables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["warm-up", "cool-off"])
@pytest.mark.parametrize("tau", [0.5, 1, 3])
def test_a_long_polynomial_table_is_the_integral_of_beta(shape: Literal["warm-up", "cool-off"], tau: float) -> None:
    steps, k, low, high = 10_000, 2 * tau, 1e-5, 2e-3
    schedule = Polynomial(shape=shape, tau=tau, timesteps=steps, beta_min=low, beta_max=high)
    t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    power = t ** (k + 1) / (k + 1) if shape == "warm-up" else t - (1 - (1 - t) ** (k + 1)) / (k + 1)
    sigma = torch.expm1(steps * (low * t + (high - low) * power)).sqrt()
    torch.testing.assert_close(schedule.grid(steps)[:-1].flip(0)[100:], sigma[100:], atol=0, rtol=0.03)
    torch.testing.assert_close(schedule.grid(steps)[:-1].flip(0)[-1000:], sigma[-1000:], atol=0, rtol=0.01)


def test_polynomials_of_first_degree_are_linear() -> None:
    for shape in ("warm-up", "cool-off"):
        polynomial = parse(Polynomial, {"shape": shape, "tau": 0.5})
        torch.testing.assert_close(polynomial.grid(1000), Linear().grid(1000), atol=0, rtol=1e-9)


def test_warm_up_begins_slower_and_cool_off_ends_slower() -> None:
    u = torch.tensor([0.9, 0.5], dtype=torch.float64)
    slow, line, fast = (schedule.sigma(u) for schedule in (Polynomial(), Linear(), Polynomial(shape="cool-off")))
    assert bool((slow < line).all() and (line < fast).all())


@pytest.mark.parametrize("schedule", [Linear(), Linear(timesteps=100, beta_end=0.2)], ids=repr)
def test_zero_terminal_snr_agrees_with_diffusers(schedule: Linear) -> None:
    """Lin et al. 2024, Algorithm 1, in diffusers' float32; the last entry, infinite, is cut."""
    theirs = DDPMScheduler(
        num_train_timesteps=schedule.timesteps, beta_end=schedule.beta_end, rescale_betas_zero_snr=True
    )
    bar = theirs.alphas_cumprod.double()
    ours = schedule.but(zero_terminal_snr=True).grid(schedule.timesteps)[:-1].flip(0)
    torch.testing.assert_close(ours[:-1], ((1 - bar) / bar).sqrt()[:-1], atol=0, rtol=2e-3)
    assert float(ours[-1]) == pytest.approx(SIGMA_LIMIT)
    assert float(ours[0]) == pytest.approx(schedule.bounds()[0])
    assert issubclass(Linear, Tabled)


# --- Shift ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("by", [0.5, 3.0])
def test_any_schedule_can_be_shifted(name: str, by: float) -> None:
    inner = SCHEDULES[name]()
    shifted = Shifted(by=by, schedule=inner)
    u = torch.linspace(0, 1, 9, dtype=torch.float64)
    log_snr, before = (-2 * schedule.sigma(u).log() for schedule in (shifted, inner))
    torch.testing.assert_close(log_snr, before - 2 * torch.tensor(by, dtype=torch.float64).log())
    torch.testing.assert_close(shifted.grid(7, "trailing"), by * inner.grid(7, "trailing"), atol=0, rtol=1e-12)
    assert shifted.last_timestep() == inner.last_timestep()
    assert shifted.start_scale(2.0) == inner.start_scale(2.0)
    assert parse(Shifted, shifted.tree()) == shifted


def test_a_shifted_flow_is_equation_23() -> None:
    """Esser et al. 2024: t_m = s t_n / (1 + (s - 1) t_n) with s = sqrt(m / n)."""
    shifted, t = Shifted(by=3, schedule=Flow()), Flow().sigma(TIMES)
    t = t / (1 + t)
    moved = shifted.sigma(TIMES)
    torch.testing.assert_close(moved / (1 + moved), 3 * t / (1 + 2 * t))
    torch.testing.assert_close(shifted.alpha(moved), 1 - 3 * t / (1 + 2 * t))


def test_a_shifted_schedule_keeps_to_the_trained_range() -> None:
    assert Shifted(by=4, schedule=Karras()).within(Karras(sigma_max=50)).bounds() == pytest.approx((0.002, 50))
    assert Shifted(by=4, schedule=Linear()).within(Karras()).bounds() == pytest.approx(
        Shifted(by=4, schedule=Linear()).bounds()
    )


@pytest.mark.parametrize(
    ("part", "tree", "match"),
    [
        (Karras, {"sigma_min": 2, "sigma_max": 1}, "sigma_min: must be below sigma_max"),
        (Flow, {"sigma_max": 1, "sigma_min": 1}, "below sigma_max"),
        (Cosine, {"sigma_max": 30_000}, "sigma_max"),
        (LogNormal, {"sigma_min": 0}, "sigma_min"),
        (LogNormal, {"std": 0}, "std"),
        (LogNormal, {"mean": 8, "std": 0.1, "sigma_min": 0.01, "sigma_max": 80}, "mean: levels around exp.8."),
        (LogNormal, {"mean": -10, "std": 1, "sigma_min": 0.01, "sigma_max": 80}, "mean: levels around exp.-10."),
        (Linear, {"timesteps": 10_000, "beta_end": 0.5}, "timesteps: sigma_max would be over"),
        (Linear, {"timesteps": 1}, "timesteps"),
        (Karras, {"rho": 0}, "rho"),
        (Karras, {"offset": 0.1}, "offset: unknown key"),
        (ChenCosine, {"start": 0.5, "end": 0.5}, "start: must be below end"),
        (ChenCosine, {"end": 1.5}, "end"),
        (Sigmoid, {"start": 3, "end": -3}, "start: must be below end"),
        (Sigmoid, {"tau": 0}, "tau"),
        (Polynomial, {"shape": "cold"}, "shape"),
        (Polynomial, {"beta_min": 0.03, "timesteps": 100}, "beta_min: must not be over beta_max"),
        (Linear, {"timesteps": 10_000, "zero_terminal_snr": True, "beta_end": 0.9}, "timesteps: neighbouring entries"),
        (VP, {"beta_min": 30}, "beta_min: must not be over beta_max"),
        (VP, {"beta_max": 90}, "beta_max: sigma_max would be over"),
        (SubVP, {"beta_max": 90}, "beta_max: sigma_max would be over"),
        (VE, {"rho": 7}, "rho: unknown key"),
        (Shifted, {"by": 0}, "by"),
        (Shifted, {"by": 50}, "by: sigma_max would be 25000"),
        (Shifted, {"schedule": "cosin"}, "schedule: unknown schedule 'cosin': did you mean cosine"),
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
    [("denoiser", "PREDICTIONS"), ("denoiser", "LEVELS"), ("weighting", "WEIGHTINGS")],
)
def test_tables_can_be_listed_without_importing(module: str, variable: str) -> None:
    summaries = table_summaries(f"mezzotint.diffusion.{module}", variable)
    assert len(summaries) >= 3
    assert all(summaries.values())


def test_schedules_are_found_by_their_files() -> None:
    issued = {"linear", "cosine", "chen-cosine", "sigmoid", "polynomial", "ve", "vp", "sub-vp", "karras", "log-normal"}
    assert set(SCHEDULES) == issued | {"flow", "shifted"}
    assert all(SCHEDULES.summaries().values())
