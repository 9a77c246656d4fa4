"""DDPM's T steps of linearly growing beta (Ho et al. 2020): its exact table, ln sigma linear in between."""

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.diffusion.schedules.tables import Tabled


class Linear(Tabled):
    """Ho et al. 2020, section 4."""

    beta_start: float = Field(default=1e-4, gt=0, lt=1, description="variance that the first timestep adds")
    beta_end: float = Field(default=0.02, gt=0, lt=1, description="variance that the last timestep adds")

    def betas(self) -> Tensor:
        """Regular from the first to the last."""
        return torch.linspace(self.beta_start, self.beta_end, self.timesteps, dtype=torch.float64)
