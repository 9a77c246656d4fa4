"""Sub-VP: a linear rate with less noise than VP at every time (Song et al. 2021, eq. 14)."""

import torch
from torch import Tensor

from mezzotint.diffusion.schedules.rates import LinearRate


class SubVP(LinearRate):
    """sigma = (1 - alpha^2) / alpha, ln alpha = -integral / 2 (Song et al. 2021, eq. 29): 2 sinh(integral / 2)."""

    def sigma_of(self, area: Tensor) -> Tensor:
        """(1 - alpha^2) / alpha."""
        return 2 * (area / 2).sinh()

    def area(self, sigma: Tensor) -> Tensor:
        """2 arsinh(sigma / 2)."""
        return 2 * (sigma / 2).asinh()

    def alpha(self, sigma: Tensor) -> Tensor:
        """(sqrt(sigma^2 + 4) - sigma) / 2, in the form that doesn't cancel at high noise."""
        return 2 / (torch.sqrt(sigma**2 + 4) + sigma)

    def start_scale(self, sigma: float) -> float:
        """Divide the standard normal x_T by alpha, as for VP."""
        return (sigma + (sigma**2 + 4) ** 0.5) / 2
