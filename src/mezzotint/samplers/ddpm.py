"""Ancestral sampling (Ho et al. 2020, Algorithm 2) on any grid of noise levels: one call a move, stochastic."""

from math import sqrt
from typing import Literal

from pydantic import Field
from torch import Tensor

from mezzotint.contracts import Denoiser, Noise, VarianceDenoiser
from mezzotint.errors import BadInput
from mezzotint.samplers import Memory, Sampler, denoised, levels


class DDPM(Sampler):
    """Ho et al. 2020, eq. 6 and 7 divided by alpha: x' = D + (s'/s)^2 (x - D) + deviation * n.

    With abar = 1 / (1 + s^2), beta is (s^2 - s'^2) / (1 + s^2), and the posterior variance in units of codes is
    s'^2 (s^2 - s'^2) / s^2.
    """

    variances: Literal["small", "large", "learned"] = Field(
        default="small",
        description="small: the posterior's variance for a known x0; large: beta, for unit Gaussian data; learned: "
        "between them as the network says (Nichol & Dhariwal 2021, eq. 15)",
    )

    @property
    def order(self) -> int:
        """Stochastic."""
        return 0

    @property
    def draws_variance(self) -> bool:
        """Only if told to."""
        return self.variances == "learned"

    def check(self, steps: int, learned_variance: bool) -> None:
        """Refuse learned variances of a denoiser that learnt none."""
        super().check(steps, learned_variance)
        if self.draws_variance and not learned_variance:
            raise BadInput(
                "sampler.variances: learned draws only from a model of family.variance: learned; use small or large"
            )

    def step(
        self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, memory: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Draw from the Gaussian around the posterior mean; the last move, to 0, returns the mean itself."""
        x0, share = self._denoised(denoise, x, sigma)
        x_next = x0 + (sigma_next / sigma) ** 2 * (x - x0)
        if sigma_next > 0:
            deviation = _deviation(share, sigma, sigma_next)
            x_next = x_next + deviation * noise.normal(x.shape).to(x)
        return x_next, memory

    def _denoised(self, denoise: Denoiser, x: Tensor, sigma: float) -> tuple[Tensor, Tensor | float]:
        """Return D, and v: how far ln variance is from that of the small one (0) to that of the large one (1)."""
        if not self.draws_variance:
            return denoised(denoise, x, sigma), float(self.variances == "large")
        if not isinstance(denoise, VarianceDenoiser):
            raise TypeError("learned variances need a denoiser that knows them; integrate() refuses others")
        return denoise.with_variance(x, levels(x, sigma))


def _deviation(share: Tensor | float, sigma: float, sigma_next: float) -> Tensor | float:
    """Return the standard deviation whose logarithm lies a share of the way from the small to the large one."""
    removed = sigma**2 - sigma_next**2
    small = sqrt(sigma_next**2 * removed) / sigma
    large = sqrt(removed * (1 + sigma_next**2) / (1 + sigma**2))
    return small * (large / small) ** share
