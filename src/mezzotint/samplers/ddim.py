"""DDIM (Song et al. 2021, eq. 12): deterministic at eta 0, ancestral at eta 1, one call a move."""

from math import sqrt

from pydantic import Field
from torch import Tensor

from mezzotint.contracts import Denoiser, Noise
from mezzotint.samplers import Memory, Sampler, denoised


class DDIM(Sampler):
    """Song et al. 2021 (DDIM), eq. 12 and 16, divided by alpha: there the eta 0 case is Euler's method."""

    eta: float = Field(default=0.0, ge=0, le=1, description="share of DDPM's noise: 0 deterministic, 1 ancestral")

    @property
    def order(self) -> int:
        """First order at eta 0."""
        return 0 if self.eta else 1

    def step(
        self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, memory: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Keep part of the predicted noise and draw the rest anew, so that the sum has deviation sigma_next."""
        x0 = denoised(denoise, x, sigma)
        fresh = self.eta * sigma_next * sqrt(1 - (sigma_next / sigma) ** 2)
        x_next = x0 + sqrt(sigma_next**2 - fresh**2) / sigma * (x - x0)
        if fresh > 0:
            x_next = x_next + fresh * noise.normal(x.shape).to(x)
        return x_next, memory
