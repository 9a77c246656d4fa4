"""What every sampler x schedule and every prediction x schedule is measured by, against an exact denoiser.

Tests check these numbers, and benchmarks/conformance.py makes a page of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from math import log, log2
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.diffusion.denoiser import PREDICTIONS, LogSigma, Preconditioned, Prediction
from mezzotint.diffusion.schedules import SCHEDULES, Schedule
from mezzotint.diffusion.schedules.karras import Karras
from mezzotint.options import parse
from mezzotint.samplers import SAMPLERS, Sampler, integrate
from mezzotint.seeds import SeededNoise
from oracle import ExactNetwork, Mixture

D = Mixture()

SHOWING_ORDER: Mapping[str, Mapping[str, object]] = {"adaptive": {"relative": 1, "absolute": 1}}
"""Options under which an order shows: tolerances that let every move of a grid through undivided."""

SHOWING_LATE = {"lms": (512, 1024), "unipc": (512, 1024), "pndm": (128, 1024)}
"""Moves for samplers whose order shows late where few levels are at low noise; PNDM's after errors of either sign."""

Rows = list[dict[str, str]]
"""A table: a row per sampler or prediction, a column per schedule."""


class Checked(NamedTuple):
    """A table, and the entries in it that aren't as they should be."""

    rows: Rows
    wrong: list[str]


# --- Order of convergence -----------------------------------------------------------------------------------------

HIGH, LOW = 10.0, 0.05
"""The range of sigma in which orders are measured: every schedule has it."""


def start(count: int, sigma: float, seed: int = 0) -> Tensor:
    return sigma * torch.randn(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@cache
def reference() -> Tensor:
    """The ODE from 10 down to 0.05, by classical Runge-Kutta in ln sigma: no code in common with any sampler."""
    x, levels = start(16, HIGH), torch.linspace(log(HIGH), log(LOW), 2001, dtype=torch.float64)

    def f(x: Tensor, log_sigma: Tensor) -> Tensor:  # dx / dln(sigma)
        return x - D(x, log_sigma.exp().expand(len(x)))

    for a, b in pairwise(levels):
        h = b - a
        k1 = f(x, a)
        k2 = f(x + h / 2 * k1, a + h / 2)
        k3 = f(x + h / 2 * k2, a + h / 2)
        k4 = f(x + h * k3, b)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


def within(schedule: Schedule, moves: int) -> Tensor:
    """Levels from 10 to 0.05, u between them as a square, so that multistep formulas begin with short moves."""
    high, low = schedule.u(torch.tensor([HIGH, LOW], dtype=torch.float64))
    shares = torch.linspace(0, 1, moves + 1, dtype=torch.float64) ** 2
    return schedule.sigma(torch.lerp(high, low, shares))


def order(sampler: Sampler, schedule: Schedule, moves: tuple[int, int] = (100, 300)) -> float:
    """Log2 of what halving the moves divides the error by, without the move to 0, from few moves to many."""
    errors, (few, many) = [], moves
    for count in (few, many):
        last = list(integrate(D, start(16, HIGH), within(schedule, count), sampler, SeededNoise(range(16))))[-1]
        errors.append(float((last.x - reference()).norm()))
    return log2(errors[0] / errors[1]) / log2(many / few)


# --- Moments ------------------------------------------------------------------------------------------------------

POINTS = 200
"""Points of one image: what samplers measure of an image (norms, errors) then varies as little as with real ones."""

USUAL = Karras(sigma_min=0.005, sigma_max=20)


class Moments(NamedTuple):
    """Largest errors of the mean and of the covariance, in units of codes and of their square."""

    mean: float
    covariance: float


def standard(images: int) -> Tensor:
    """Latents float64 [N, 2 POINTS] whose points have mean 0 and covariance 1 exactly."""
    x = start(images * POINTS, 1.0)
    x = x - x.mean(0)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(x.T.cov()), x.T, upper=False).T.reshape(images, -1)


def moments(sampler: Sampler, schedule: Schedule, images: int = 20) -> Moments:
    """Errors of what is drawn from the mixture, against its own moments."""
    grid = schedule.within(USUAL).grid(moves(sampler))
    latent = standard(images) * schedule.start_scale(float(grid[0]))
    points = final(sampler, latent, grid, range(images)).reshape(-1, 2)
    mean, covariance = points.mean(0) - D.mean, points.T.cov() - D.covariance
    return Moments(float(mean.abs().max()), float(covariance.abs().max()))


def moves(sampler: Sampler) -> int:
    """How many moves suffice for moments; `adaptive` finds out by itself."""
    return 2 if sampler.least_steps > 1 else 80 if sampler.order <= 1 else 50


def final(sampler: Sampler, x: Tensor, grid: Tensor, seeds: Sequence[int]) -> Tensor:
    """Drawn codes [N, *], in the dtype of x."""
    return list(integrate(D, x, grid, sampler, SeededNoise(seeds)))[-1].x


def dependence(sampler: Sampler, schedule: Schedule, steps: int = 6) -> float:
    """Largest change of an image when it is drawn alone instead of among others."""
    grid = schedule.within(USUAL).grid(steps)
    latent = standard(3) * schedule.start_scale(float(grid[0]))
    together, alone = final(sampler, latent, grid, [3, 1, 4]), final(sampler, latent[1:2], grid, [1])
    return float((together[1:2] - alone).abs().max())


# --- Predictions --------------------------------------------------------------------------------------------------


class RoundTrip(NamedTuple):
    """Largest error of D in units of codes at sigma_min and sigma_max; over the range, as a multiple of rounding's."""

    at_min: float
    at_max: float
    of_rounding: float


class Rounded(nn.Module):
    """A network whose output is rounded to a dtype."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        return self.network(x, level, condition).to(self.dtype)


@torch.no_grad()
def round_trip(prediction: Prediction, schedule: Schedule, dtype: torch.dtype) -> RoundTrip:
    """The exact denoiser turned into a raw output of a dtype and back, at 33 levels over a schedule's range.

    What rounding may do: half a unit of the last place of the output, times c_out; in float32 a few units of what is
    added up besides, |c_skip x| and the level's own rounding, which scales with x too.
    """
    network = Rounded(ExactNetwork(D, prediction), dtype)
    denoise = Preconditioned(network, prediction, LogSigma(), schedule)
    generator = torch.Generator().manual_seed(0)
    errors, multiples = [], []
    for level in schedule.sigma(torch.linspace(0, 1, 33, dtype=torch.float64)).flip(0):
        sigma = level.float().expand(64)
        x = (D.means[0] + level * torch.randn(64, 2, dtype=torch.float64, generator=generator)).float()
        exact = D(x.double(), sigma.double())
        error = (denoise(x, sigma).double() - exact).abs()
        c_skip, c_out = (c(level) for c in (prediction.c_skip, prediction.c_out))
        raw = ((exact - c_skip * x) / c_out).abs()
        output = c_out.abs() * raw * torch.finfo(dtype).eps / 2
        rest = (1 + x.abs() + exact.abs()) * torch.finfo(torch.float32).eps * 8
        errors.append(float(error.max()))
        multiples.append(float((error / (output + rest)).max()))
    return RoundTrip(errors[0], errors[-1], max(multiples))


@torch.no_grad()
def moved_by_rounding(prediction: Prediction, schedule: Schedule, sampler: Sampler, steps: int) -> float:
    """Root mean square change of drawn codes when the exact network's output is rounded to bfloat16 at every call."""
    grid, drawn = Karras().within(schedule).grid(steps), list[Tensor]()
    for dtype in (torch.float32, torch.bfloat16):
        network = Rounded(ExactNetwork(D, prediction), dtype)
        denoise = Preconditioned(network, prediction, LogSigma(), schedule)
        moves = integrate(denoise, start(1000, float(grid[0])).float(), grid, sampler, SeededNoise(range(1000)))
        drawn.append(list(moves)[-1].x)
    return float((drawn[1] - drawn[0]).square().mean().sqrt())


# --- Tables -------------------------------------------------------------------------------------------------------


def tabulated(first: str, names: Iterable[str], cell: Callable[[str, str], tuple[str, bool]]) -> Checked:
    """A row per name, a column per schedule; `cell` says what stands there and whether it should."""
    rows, wrong = [], []
    for name in names:
        row = {first: name}
        for schedule in SCHEDULES:
            row[schedule], right = cell(name, schedule)
            wrong += [] if right else [f"{name} x {schedule}: {row[schedule]}"]
        rows.append(row)
    return Checked(rows, wrong)


def orders() -> Checked:
    """Measured orders of convergence; stochastic samplers, of order 0, have none and say so."""

    def cell(name: str, schedule: str) -> tuple[str, bool]:
        sampler = parse(SAMPLERS[name], SHOWING_ORDER.get(name, {}))
        if sampler.order == 0:
            return "stochastic", True
        found = order(sampler, SCHEDULES[schedule](), SHOWING_LATE.get(name, (100, 300)))
        return f"{found:.2f} ({sampler.order})", abs(found - sampler.order) < 0.35

    return tabulated("sampler", SAMPLERS, cell)


def all_moments() -> Checked:
    """Errors of mean / covariance (the mixture's variances are 0.32 and 0.15) of each sampler's usual options."""

    def cell(name: str, schedule: str) -> tuple[str, bool]:
        sampler = SAMPLERS[name]()
        found = moments(sampler, SCHEDULES[schedule]())
        right = found.mean < 0.03 and found.covariance < (0.025 if sampler.order else 0.075)
        return f"{found.mean:.3f} / {found.covariance:.3f}", right

    return tabulated("sampler", SAMPLERS, cell)


def dependences() -> Checked:
    """Largest change of an image when it is drawn alone."""

    def cell(name: str, schedule: str) -> tuple[str, bool]:
        found = dependence(SAMPLERS[name](), SCHEDULES[schedule]())
        return f"{found:.0e}" if found else "0", found < 1e-12

    return tabulated("sampler", SAMPLERS, cell)


def round_trips(dtype: torch.dtype) -> Checked:
    """Errors at sigma_min / sigma_max; right where nothing in the range is off by more than rounding."""

    def cell(name: str, schedule: str) -> tuple[str, bool]:
        found = round_trip(PREDICTIONS[name](), SCHEDULES[schedule](), dtype)
        return f"{found.at_min:.0e} / {found.at_max:.0e}", found.of_rounding <= 1

    return tabulated("prediction", PREDICTIONS, cell)
