"""T steps of beta that grows as a power of time, late (warm-up) or early (cool-off): an exact table like linear's."""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mezzotint.diffusion.schedules.tables import Tabled
from mezzotint.errors import BadInput


class Polynomial(Tabled):
    """beta(t) = beta_min + (beta_max - beta_min) p(t), p = t^(2 tau) or 1 - (1-t)^(2 tau), t from 0 to 1.

    For many steps alpha = exp(-1/2 integral of beta): T (beta_min + (beta_max - beta_min) P(t)) is the integral, with
    P = t^(k+1) / (k+1) or t - (1 - (1-t)^(k+1)) / (k+1), k = 2 tau. With tau 0.5 both are `linear`.
    """

    shape: Literal["warm-up", "cool-off"] = Field(
        default="warm-up", description="warm-up: beta grows slowly at first; cool-off: slowly at last"
    )
    tau: float = Field(default=1.0, ge=0.1, le=20, description="half the power of time")
    beta_min: float = Field(default=1e-4, gt=0, lt=1, description="variance that the first timestep adds")
    beta_max: float = Field(default=0.02, gt=0, lt=1, description="variance that the last timestep adds")

    @model_validator(mode="after")
    def _growing(self) -> Self:
        if self.beta_max < self.beta_min:
            raise BadInput(f"beta_min: must not be over beta_max, got {self.beta_min:g} and {self.beta_max:g}")
        return self

    def betas(self) -> Tensor:
        """Beta at T regular times, both ends included."""
        t = torch.linspace(0, 1, self.timesteps, dtype=torch.float64)
        power = 2 * self.tau
        share = t**power if self.shape == "warm-up" else 1 - (1 - t) ** power
        return self.beta_min + (self.beta_max - self.beta_min) * share
