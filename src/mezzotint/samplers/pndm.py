"""PNDM's pseudo linear multistep (Liu et al. 2022): one call a move, second order."""

from torch import Tensor

from mezzotint.contracts import Denoiser, Noise
from mezzotint.samplers import Memory, Sampler, slope

# Adams-Bashforth on a regular grid, newest slope first, by how many are known (Liu et al. 2022, eq. 12 for four).
ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


class PNDM(Sampler):
    """Liu et al. 2022 (PNDM), eq. 12 divided by alpha, where the transfer part (eq. 11) is Euler's move along sigma.

    The weights are those of a regular grid of u, whatever sigma does between. The first moves use the formulas of
    fewer slopes (iPNDM in Zhang and Chen 2023, DEIS), not the paper's Runge-Kutta (eq. 13) of four calls a move.
    """

    @property
    def order(self) -> int:
        """Second order: the weights ignore how sigma is spaced."""
        return 2

    def step(
        self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, memory: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Follow a mean of the last four slopes down to sigma_next, the present one alone down to 0."""
        known = (slope(denoise, x, sigma), *(memory or ()))[:4]
        used = known if sigma_next > 0 else known[:1]
        for w, d in zip(ADAMS_BASHFORTH[len(used)], used, strict=True):
            x = x + w * (sigma_next - sigma) * d
        return x, known
