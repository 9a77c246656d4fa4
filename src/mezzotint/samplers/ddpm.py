"""Ancestral sampling (Ho et al. 2020, Algorithm 2) on any grid of noise levels: one call a move, stochastic."""

from math import sqrt
from typing import Literal

from pydantic import Field
from torch import Tensor

from mezzotint.contracts import Denoiser, Noise
from mezzotint.samplers import Memory, Sampler, denoised


class DDPM(Sampler):
    """Ho et al. 2020, eq. 6 and 7 divided by alpha: x' = D + (s'/s)^2 (x - D) + deviation * n.

    With abar = 1 / (1 + s^2), beta is (s^2 - s'^2) / (1 + s^2), and the posterior variance in units of codes is
    s'^2 (s^2 - s'^2) / s^2.
    """

    variances: Literal["small", "large"] = Field(
        default="small",
        description="small: the posterior's variance for a known x0; large: beta, for unit Gaussian data",
    )

    @property
    def order(self) -> int:
        """Stochastic."""
        return 0

    def _variance(self, sigma: float, sigma_next: float) -> float:
        removed = sigma**2 - sigma_next**2
        if self.variances == "small":
            return sigma_next**2 * removed / sigma**2
        return removed * (1 + sigma_next**2) / (1 + sigma**2)

    def step(
        self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, memory: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Draw from the Gaussian around the posterior mean; the last move, to 0, returns the mean itself."""
        x0 = denoised(denoise, x, sigma)
        x_next = x0 + (sigma_next / sigma) ** 2 * (x - x0)
        if sigma_next > 0:
            deviation = sqrt(self._variance(sigma, sigma_next))
            x_next = x_next + deviation * noise.normal(x.shape).to(x)
        return x_next, memory
