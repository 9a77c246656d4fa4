"""Predictor-corrector (Song et al. 2021): an ancestral move, then Langevin steps where it arrived; stochastic."""

from math import sqrt
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.contracts import Denoiser, Noise
from mezzotint.samplers import Memory, Sampler, denoised


class PredictorCorrector(Sampler):
    """Song et al. 2021, Algorithm 1 with the predictor of Algorithm 2 and the corrector of Algorithm 4 (both VE).

    Divided by alpha a VP process is the same one, so both serve it too. Its own predictor (Algorithm 3) differs from
    this one by terms of second order in the move; its own corrector (Algorithm 5) only by a factor alpha_i = 1 - beta_i
    on the step, close to 1. The score is (D - x) / sigma^2. The move to 0 returns D: there is nothing to correct.
    """

    predictor: Literal["reverse-diffusion", "ancestral"] = Field(
        default="reverse-diffusion",
        description="deviation of the predictor's noise: that of the move, or the posterior's",
    )
    corrections: int = Field(default=1, ge=0, le=100, description="M: Langevin steps after each move, one call each")
    snr: float = Field(
        default=0.16, gt=0, le=1, description="r: length of a correction over that of its noise, squared"
    )

    @property
    def order(self) -> int:
        """Stochastic."""
        return 0

    def step(
        self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, memory: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Predict codes at sigma_next, then correct their distribution there."""
        x0 = denoised(denoise, x, sigma)
        if sigma_next == 0:
            return x0, memory
        deviation = sqrt(sigma**2 - sigma_next**2) * (sigma_next / sigma if self.predictor == "ancestral" else 1)
        x = x0 + (sigma_next / sigma) ** 2 * (x - x0) + deviation * noise.normal(x.shape).to(x)
        for _ in range(self.corrections):
            x = self._corrected(denoise, x, sigma_next, noise)
        return x, memory

    def _corrected(self, denoise: Denoiser, x: Tensor, sigma: float, noise: Noise) -> Tensor:
        """Take one step of Langevin dynamics, Algorithm 4, its length chosen for each image by itself."""
        score = (denoised(denoise, x, sigma) - x) / sigma**2
        z = noise.normal(x.shape).to(x)
        step = 2 * (self.snr * _length(z) / _length(score)) ** 2
        # A score next to 0, as in images of a few numbers only, would ask for a step without bound.
        step = step.clamp_max(sigma**2)
        return x + step * score + torch.sqrt(2 * step) * z


def _length(x: Tensor) -> Tensor:
    """Euclidean norm of every image, [N, *] -> [N, 1, ...]."""
    return x.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))
