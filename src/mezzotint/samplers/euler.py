"""Euler's method on the probability-flow ODE: one call a move, first order."""

from torch import Tensor

from mezzotint.contracts import Denoiser, Noise
from mezzotint.samplers import Memory, Sampler, slope


class Euler(Sampler):
    """Euler's method for dx/dsigma = (x - D) / sigma (Karras et al. 2022, Algorithm 1 without line 6 to 8)."""

    @property
    def order(self) -> int:
        """First order."""
        return 1

    def step(
        self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, memory: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Follow the slope at sigma down to sigma_next."""
        return x + (sigma_next - sigma) * slope(denoise, x, sigma), memory
