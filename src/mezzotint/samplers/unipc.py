"""UniPC (Zhao et al. 2023): predictor and corrector for one call a move, third order by default."""

from dataclasses import dataclass
from math import expm1, log
from typing import Literal

from pydantic import Field
from torch import Tensor

from mezzotint.contracts import Denoiser, Noise
from mezzotint.samplers import Memory, Sampler, denoised
from mezzotint.samplers.multistep import weights

Evaluation = tuple[float, Tensor]
"""A noise level sigma and D(x; sigma) [N, *] there."""


@dataclass(frozen=True, slots=True)
class Past:
    """Corrected codes [N, *] at the last level, the evaluations (newest first), and how many the predictor used."""

    x: Tensor
    evaluations: tuple[Evaluation, ...]
    used: int


class UniPC(Sampler):
    """Zhao et al. 2023, multistep UniPC-p for data prediction divided by alpha; with h = ln(s/s').

    x' = (s'/s) x + (1 - e^-h) D_0 + sum_m w_m (D_m - D_0). At every arrival D is evaluated at the predicted codes, and
    these are then corrected with it: no call beyond the predictor's own. The weights integrate the polynomial through
    all D_m exactly, so B cancels, but where there is one difference: w = B(h) / 2r, the paper's a_1 = 1/2. The move to
    0 returns D; with few moves the one before it, to sigma_min, is of first order: extrapolating over a long h harms.
    """

    predictor_order: int = Field(default=2, ge=1, le=3, description="p, evaluations the predictor uses at most")
    b: Literal["bh1", "bh2"] = Field(default="bh2", description="weight of a single difference: bh1 h, bh2 1 - e^-h")
    lower_below: int = Field(
        default=100, ge=0, description="with fewer moves than this, the last but one is of first order"
    )

    @property
    def order(self) -> int:
        """One more than the predictor's; the first moves, with less to remember, are of lower order."""
        return self.predictor_order + 1

    def begin(self, steps: int) -> Memory:
        """Return the number of moves before the lowered one (negative: none), and that nothing is known."""
        return (steps - 2 if steps < self.lower_below else -1), None

    def step(
        self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, memory: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Correct x with the evaluation at x itself, then predict from there."""
        now = (sigma, denoised(denoise, x, sigma))
        if sigma_next == 0:
            return now[1], memory
        (until_lowered, past), evaluations = memory, (now,)
        if past is not None:
            x = self._move(past.x, (*past.evaluations[: past.used], now), sigma)
            evaluations = (now, *past.evaluations[: self.predictor_order - 1])
        used = 1 if until_lowered == 0 else len(evaluations)
        return self._move(x, evaluations[:used], sigma_next), (until_lowered - 1, Past(x, evaluations, used))

    def _move(self, x: Tensor, evaluations: tuple[Evaluation, ...], sigma_next: float) -> Tensor:
        """Carry x from the level of the first evaluation to sigma_next."""
        (sigma, x0), *others = evaluations
        h = log(sigma / sigma_next)
        x_next = x0 + sigma_next / sigma * (x - x0)
        for w, (_, other) in zip(self._weights(h, [log(sigma / s) / h for s, _ in others]), others, strict=True):
            x_next = x_next + w * (other - x0)
        return x_next

    def _weights(self, h: float, r: list[float]) -> list[float]:
        """Return w_m of the differences at lambda_0 + r_m h: integrals of e^(t - h) over 0 < t < h, or the paper's."""
        if len(r) == 1:
            return [(h if self.b == "bh1" else -expm1(-h)) / (2 * r[0])]
        moments = [-expm1(-h)]  # of (t/h)^k, by parts: 1 - k/h of the one before
        for k in range(1, len(r) + 1):
            moments.append(1 - k / h * moments[-1])
        return weights([0.0, *r], moments)[1:]
