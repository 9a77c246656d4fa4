"""The probability-flow ODE with steps chosen by an embedded Runge-Kutta pair, for each image by itself."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.contracts import Denoiser, Noise
from mezzotint.samplers import Memory, Sampler, levels


class Pair(NamedTuple):
    """An explicit Runge-Kutta pair whose last slope is the next step's first: rows of a, and b - b_hat.

    The last row of `a` is b; the sums of rows are the nodes c.
    """

    order: int
    a: tuple[tuple[float, ...], ...]
    error: tuple[float, ...]


PAIRS = {
    "bogacki-shampine": Pair(  # Bogacki & Shampine 1989
        3,
        ((), (1 / 2,), (0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
        (2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),
    ),
    "dormand-prince": Pair(  # Dormand & Prince 1980, table 2
        5,
        (
            (),
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
            (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
        ),
        (
            35 / 384 - 5179 / 57600,
            0,
            500 / 1113 - 7571 / 16695,
            125 / 192 - 393 / 640,
            -2187 / 6784 + 92097 / 339200,
            11 / 84 - 187 / 2100,
            -1 / 40,
        ),
    ),
}

SHORTEST, LONGEST = 0.01, 0.9
"""Bounds of a step, as shares of sigma; a shorter one is kept whatever its error, which then is one of rounding."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What is carried on, on the CPU but for `slope`: the next step to try, and the calls that each image needed.

    `step` float64 [N], a drop in sigma; `slope` [N, *] at the present codes; `calls` int64 [N]. An image that arrives
    early rides along with the batch: those calls are paid for, but are not its own.
    """

    step: Tensor
    slope: Tensor
    calls: Tensor


class Adaptive(Sampler):
    """dx/dsigma = (x - D) / sigma (Karras et al. 2022, eq. 1) by an embedded pair, as Song et al. 2021, section 4.3.

    Every level of the grid is arrived at exactly, so short grids serve best: with 2 steps all in between is free. The
    move to 0 returns D, which costs no call: the slope at the last level is known.
    """

    pair: Literal["bogacki-shampine", "dormand-prince"] = Field(
        default="bogacki-shampine", description="the formulas: of order 3 (3 calls a try), or of order 5 (6 calls)"
    )
    relative: float = Field(default=0.01, ge=1e-9, le=1, description="tolerated error of a step, as a share of |x|")
    absolute: float = Field(default=0.01, ge=1e-9, le=1, description="tolerated error of a step, in units of codes")

    @property
    def order(self) -> int:
        """That of the pair, once its tolerances let the grid's own moves through."""
        return PAIRS[self.pair].order

    @property
    def least_steps(self) -> int:
        """Two: the move to 0 can't be divided."""
        return 2

    def calls(self, memory: Memory) -> Tensor | None:
        """Return each image's own."""
        return memory.calls

    def step(
        self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, memory: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Try steps, keep those whose error is tolerated, until every image has arrived at sigma_next."""
        pace = memory or self._first(denoise, x, sigma)
        if sigma_next == 0:
            return x - sigma * pace.slope, pace
        at = torch.full((len(x),), sigma, dtype=torch.float64)
        while bool((at > sigma_next).any()):
            x, at, pace = self._tried(denoise, x, at, sigma_next, pace)
        return x, pace

    def _first(self, denoise: Denoiser, x: Tensor, sigma: float) -> Pace:
        """Return the slope at the first level, and half of that level as the first step to try."""
        step = torch.full((len(x),), sigma / 2, dtype=torch.float64)
        slope = (x - denoise(x, levels(x, sigma))) / sigma
        return Pace(step, slope, torch.ones(len(x), dtype=torch.int64))

    def _tried(
        self, denoise: Denoiser, x: Tensor, at: Tensor, sigma_next: float, pace: Pace
    ) -> tuple[Tensor, Tensor, Pace]:
        """Try one step of every image that is on its way; return codes, levels float64 [N] and the pace after it."""
        left = at - sigma_next
        moving = left > 0
        # A step to next to no noise would pass any test: far from the data as well, D is x there.
        drop = torch.where(moving, torch.minimum(pace.step, left).minimum(LONGEST * at), 0.0)
        x_next, slope, difference = self._formula(denoise, x, at, drop, pace.slope)

        error, shortest = self._error(difference, x, x_next), SHORTEST * at
        kept = moving & ((error <= 1) | (drop <= shortest))
        step = drop * (0.9 * error.clamp_min(1e-10) ** (-1 / self.order)).clamp(0.2, 5)
        # One cut short by the level to arrive at says little of how long the next may be: it never shortens it.
        arriving = kept & (drop == left)
        step = torch.where(arriving, torch.maximum(pace.step, step), step)

        step = torch.where(moving, torch.maximum(step, shortest), pace.step)
        at = torch.where(arriving, sigma_next, torch.where(kept, at - drop, at))
        chosen = _rows(kept, x) > 0
        calls = pace.calls + moving * (len(PAIRS[self.pair].a) - 1)
        return torch.where(chosen, x_next, x), at, Pace(step, torch.where(chosen, slope, pace.slope), calls)

    def _formula(
        self, denoise: Denoiser, x: Tensor, at: Tensor, drop: Tensor, slope: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Carry codes from levels `at` down by `drop`; return them, the slope there, and how far b_hat's are off."""
        pair, slopes, x_next = PAIRS[self.pair], [slope], x
        for row in pair.a[1:]:
            sigma = (at - sum(row) * drop).to(x)
            x_next = x - _rows(drop, x) * _mixed(row, slopes)
            slopes.append((x_next - denoise(x_next, sigma)) / _rows(sigma, x))
        return x_next, slopes[-1], _rows(drop, x) * _mixed(pair.error, slopes)

    def _error(self, difference: Tensor, x: Tensor, x_next: Tensor) -> Tensor:
        """Root mean square of every image's error over what is tolerated, float64 [N]; 0 for a broken image."""
        tolerated = self.absolute + self.relative * torch.maximum(x.abs(), x_next.abs())
        error = (difference / tolerated).flatten(1).square().mean(1).sqrt()
        return error.cpu().double().nan_to_num(nan=0.0)


def _rows(values: Tensor, x: Tensor) -> Tensor:
    """Values [N] -> [N, 1, ...] on x's device and in its dtype."""
    return values.to(x).reshape(-1, *[1] * (x.ndim - 1))


def _mixed(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """Weigh slopes [N, *] and add them up."""
    total = torch.zeros_like(slopes[0])
    for w, slope in zip(weights, slopes, strict=True):
        total = total + w * slope
    return total
