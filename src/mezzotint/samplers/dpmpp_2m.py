"""DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2): one call a move, second order by remembering the last one."""

from math import log

from pydantic import Field
from torch import Tensor

from mezzotint.contracts import Denoiser, Noise
from mezzotint.samplers import Memory, Sampler, denoised


class DPMPP2M(Sampler):
    """Lu et al. 2022 (DPM-Solver++), Algorithm 2 divided by alpha, where e^-h = s'/s: D is linear in lambda = -ln s.

    The first move, with nothing to remember, and the move to 0, where h is infinite, are of first order; with few moves
    so is the one before it, to sigma_min, where extrapolating over a long h does harm.
    """

    lower_below: int = Field(
        default=100, ge=0, description="with fewer moves than this, the last but one is of first order"
    )

    @property
    def order(self) -> int:
        """Second order."""
        return 2

    def begin(self, steps: int) -> Memory:
        """Return the number of moves before the lowered one (negative: none), and that no D is known."""
        return (steps - 2 if steps < self.lower_below else -1), None

    def step(
        self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, memory: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Mix x with D, carried on along its last change; remember (sigma, D)."""
        until_lowered, last = memory
        x0 = ahead = denoised(denoise, x, sigma)
        if last is not None and until_lowered != 0 and sigma_next > 0:
            sigma_last, x0_last = last
            r = log(sigma_last / sigma) / log(sigma / sigma_next)
            ahead = x0 + (x0 - x0_last) / (2 * r)
        return ahead + sigma_next / sigma * (x - ahead), (until_lowered - 1, (sigma, x0))
