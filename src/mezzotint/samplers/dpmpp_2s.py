"""DPM-Solver++(2S) (Lu et al. 2022, Algorithm 1): two calls a move, second order, nothing remembered."""

from pydantic import Field
from torch import Tensor

from mezzotint.contracts import Denoiser, Noise
from mezzotint.samplers import Memory, Sampler, denoised


class DPMPP2S(Sampler):
    """Lu et al. 2022 (DPM-Solver++), Algorithm 1 divided by alpha. The move to 0 is of first order: one call."""

    r: float = Field(default=0.5, gt=0.05, le=1, description="where the second call is, as a share of the way in ln s")

    @property
    def order(self) -> int:
        """Second order."""
        return 2

    def step(
        self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, memory: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Go part of the way with D, then all of it with what D is there."""
        ahead = x0 = denoised(denoise, x, sigma)
        if sigma_next > 0:
            ratio = (sigma_next / sigma) ** self.r
            u = x0 + ratio * (x - x0)
            ahead = x0 + (denoised(denoise, u, ratio * sigma) - x0) / (2 * self.r)
        return ahead + sigma_next / sigma * (x - ahead), memory
