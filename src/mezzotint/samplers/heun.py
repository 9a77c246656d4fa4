"""Heun's method with optional churn (Karras et al. 2022, Algorithms 1 and 2): two calls a move, second order."""

from math import sqrt

from pydantic import Field
from torch import Tensor

from mezzotint.contracts import Denoiser, Noise
from mezzotint.samplers import Memory, Sampler, slope


class Heun(Sampler):
    """Karras et al. 2022, Algorithm 2; with churn 0 it is Algorithm 1. The move to 0 is Euler's: one call."""

    churn: float = Field(default=0.0, ge=0, description="S_churn: noise added anew, in sigmas, summed over all moves")
    s_min: float = Field(default=0.0, ge=0, description="S_tmin: no churn below this sigma")
    s_max: float = Field(default=float("inf"), ge=0, description="S_tmax: no churn above this sigma")
    s_noise: float = Field(default=1.0, gt=0, le=2, description="S_noise: standard deviation of the added noise")

    @property
    def order(self) -> int:
        """Second order without churn."""
        return 0 if self.churn else 2

    def begin(self, steps: int) -> Memory:
        """Return gamma, the churn of a single move; beyond sqrt(2) - 1 it would add more noise than there is."""
        return min(self.churn / steps, sqrt(2) - 1)

    def step(
        self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, memory: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Churn up to sigma_hat, then average the slopes at both ends of the way down."""
        gamma = memory if self.s_min <= sigma <= self.s_max else 0.0
        sigma_hat = (1 + gamma) * sigma
        if gamma > 0:
            added = self.s_noise * noise.normal(x.shape).to(x)
            x = x + sqrt(sigma_hat**2 - sigma**2) * added

        d = slope(denoise, x, sigma_hat)
        x_next = x + (sigma_next - sigma_hat) * d
        if sigma_next > 0:
            d_next = slope(denoise, x_next, sigma_next)
            x_next = x + (sigma_next - sigma_hat) * (d + d_next) / 2
        return x_next, memory
