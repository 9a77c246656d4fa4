"""What VP and sub-VP share: noise added at a rate beta that grows linearly with time (Song et al. 2021, eq. 33)."""

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mezzotint.diffusion.schedules import SIGMA_LIMIT, Timed
from mezzotint.errors import BadInput


class LinearRate(Timed):
    """A process of beta(t) = beta_min + t (beta_max - beta_min), t in [0, 1] regular in u; at t = 1 is sigma_max."""

    RANGE: ClassVar[tuple[float, float]] = (0.001, 1.0)  # its upper end depends on the rates: see `usual`

    beta_min: float = Field(default=0.1, gt=0, le=100, description="rate at t = 0, per unit of time")
    beta_max: float = Field(default=20.0, gt=0, le=100, description="rate at t = 1, per unit of time")

    @model_validator(mode="after")
    def _finite(self) -> Self:
        if self.beta_max < self.beta_min:
            raise BadInput(f"beta_min: must not be over beta_max, got {self.beta_min:g} and {self.beta_max:g}")
        if (self.beta_min + self.beta_max) / 2 > 19 or self.usual()[1] > SIGMA_LIMIT:
            raise BadInput(f"beta_max: sigma_max would be over {SIGMA_LIMIT:g}; choose smaller rates")
        return self

    def usual(self) -> tuple[float, float]:
        """From 0.001 to what t = 1 brings."""
        return self.RANGE[0], float(self.at(torch.ones((), dtype=torch.float64, device="cpu")))

    def sigma_of(self, area: Tensor) -> Tensor:
        """Integral of beta up to t -> sigma at t."""
        raise NotImplementedError(f"{type(self).__name__} must say sigma")

    def area(self, sigma: Tensor) -> Tensor:
        """The inverse of `sigma_of`."""
        raise NotImplementedError(f"{type(self).__name__} must say what brought sigma")

    def at(self, time: Tensor) -> Tensor:
        """Sigma of the integral in closed form."""
        return self.sigma_of(self.beta_min * time + (self.beta_max - self.beta_min) / 2 * time**2)

    def time(self, sigma: Tensor) -> Tensor:
        """The positive root of the quadratic, in the form that doesn't cancel at low noise."""
        area = self.area(sigma)
        root = (self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * area).sqrt()
        return 2 * area / (self.beta_min + root)
