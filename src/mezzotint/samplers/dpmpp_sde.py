"""SDE-DPM-Solver++(2M) (Lu et al. 2022): one call a move, stochastic, remembers the last call."""

from math import log, sqrt

from torch import Tensor

from mezzotint.contracts import Denoiser, Noise
from mezzotint.samplers import Memory, Sampler, denoised


class DPMPPSDE(Sampler):
    """Lu et al. 2022 (DPM-Solver++), SDE-DPM-Solver++(2M) divided by alpha, where e^-h = s'/s.

    Its first-order relative, SDE-DPM-Solver++1, is what `ddpm` does: the first move here and, without noise, the last.
    """

    @property
    def order(self) -> int:
        """Stochastic."""
        return 0

    def step(
        self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, memory: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Mix x with D, carried on along its last change, and draw the noise that is missing; remember (sigma, D)."""
        x0 = ahead = denoised(denoise, x, sigma)
        if sigma_next == 0:
            return x0, memory
        if memory is not None:
            sigma_last, x0_last = memory
            r = log(sigma_last / sigma) / log(sigma / sigma_next)
            ahead = x0 + (x0 - x0_last) / (2 * r)
        kept = (sigma_next / sigma) ** 2  # e^-2h
        fresh = sigma_next * sqrt(1 - kept) * noise.normal(x.shape).to(x)
        return ahead + kept * (x - ahead) + fresh, (sigma, x0)
