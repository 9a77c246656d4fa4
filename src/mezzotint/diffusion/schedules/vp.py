"""Variance preserving with a linear rate, in continuous time (Song et al. 2021, eq. 32 and 33)."""

import torch
from torch import Tensor

from mezzotint.diffusion.schedules import VariancePreserving
from mezzotint.diffusion.schedules.rates import LinearRate


class VP(VariancePreserving, LinearRate):
    """alpha = exp(-1/2 integral of beta) (Song et al. 2021, eq. 33), so sigma^2 = exp(integral) - 1."""

    def sigma_of(self, area: Tensor) -> Tensor:
        """sqrt(1 - alpha^2) / alpha."""
        return torch.expm1(area).sqrt()

    def area(self, sigma: Tensor) -> Tensor:
        """ln(1 + sigma^2)."""
        return torch.log1p(sigma**2)
