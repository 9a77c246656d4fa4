"""Processes of T steps: the exact table that follows from beta_1 .. beta_T, ln sigma linear between its entries."""

from collections.abc import Hashable
from functools import lru_cache
from math import log
from typing import Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mezzotint.diffusion.schedules import SIGMA_LIMIT, Spacing, VariancePreserving, check_steps
from mezzotint.errors import BadInput


class Tabled(VariancePreserving):
    """A variance-preserving process of T steps (Ho et al. 2020, eq. 4); a subclass says its betas."""

    timesteps: int = Field(default=1000, ge=2, le=10_000, description="T: entries of the table")
    zero_terminal_snr: bool = Field(
        default=False, description="rescale the table so that its last entry holds no signal; cut at the highest sigma"
    )

    @model_validator(mode="before")
    @classmethod
    def _as_once_written(cls, tree: object) -> object:
        """Leave out the spacing, which runs wrote down here before `sampling.spacing` told it for every schedule."""
        if not isinstance(tree, dict) or "spacing" not in tree:
            return tree
        if tree["spacing"] != "linspace":
            raise BadInput("spacing: is no option of a schedule but of all sampling; set sampling.spacing")
        return {key: value for key, value in tree.items() if key != "spacing"}

    @model_validator(mode="after")
    def _finite(self) -> Self:
        if self.bounds()[1] > SIGMA_LIMIT * (1 + 1e-9):
            raise BadInput(f"timesteps: sigma_max would be over {SIGMA_LIMIT:g}; choose smaller betas or timesteps")
        if not bool((self._table().diff() > 0).all()):
            raise BadInput(f"timesteps: neighbouring entries would both be at {SIGMA_LIMIT:g}; choose smaller betas")
        return self

    def betas(self) -> Tensor:
        """Return the variance that each timestep adds, float64 [T]."""
        raise NotImplementedError(f"{type(self).__name__} must say its betas")

    def _table(self) -> Tensor:
        return _log_sigma(cast("Hashable", self))  # frozen options are

    def last_timestep(self) -> int:
        """T - 1."""
        return self.timesteps - 1

    def bounds(self) -> tuple[float, float]:
        """Return the table's ends."""
        table = self._table()
        return float(table[0].exp()), float(table[-1].exp())

    def sigma(self, u: Tensor) -> Tensor:
        """Entry (T - 1)(1 - u) of the table, interpolated."""
        table = self._table().to(u)
        t = (1 - u.clamp(0, 1)) * self.last_timestep()
        below = t.floor().clamp_max(self.timesteps - 2).long()
        return torch.lerp(table[below], table[below + 1], t - below).exp()

    def u(self, sigma: Tensor) -> Tensor:
        """Position between the two entries around sigma."""
        table, log_sigma = self._table().to(sigma), self._clamp(sigma).log()
        below = torch.searchsorted(table, log_sigma).sub(1).clamp(0, self.timesteps - 2)
        share = (log_sigma - table[below]) / (table[below + 1] - table[below])
        return (1 - (below + share) / self.last_timestep()).clamp(0, 1)

    def grid(self, steps: int, spacing: Spacing = "linspace") -> Tensor:
        """Entries of the table, float64 [steps + 1], the last one 0; BadInput for more steps than entries."""
        check_steps(steps)
        if steps > self.timesteps:
            raise BadInput(f"steps: this schedule has {self.timesteps} timesteps, {steps} can't be picked from them")
        sigmas = self._table()[self._picked(steps, spacing)].exp()
        return torch.cat([sigmas, sigmas.new_zeros(1)])

    def _picked(self, steps: int, spacing: Spacing) -> Tensor:
        count = torch.arange(steps, dtype=torch.float64)
        if spacing == "linspace":
            positions = torch.linspace(self.last_timestep(), 0, steps, dtype=torch.float64)
        elif spacing == "leading":
            positions = (steps - 1 - count) * (self.timesteps // steps)
        else:
            positions = self.timesteps - count * (self.timesteps / steps) - 1
        return positions.round().long()


@lru_cache(maxsize=32)
def _log_sigma(of: Hashable) -> Tensor:
    """Ln sigma float64 [T] of a `Tabled`, increasing, with sigma^2 = 1 / prod(1 - beta) - 1."""
    schedule = cast("Tabled", of)
    log_bar = torch.log1p(-schedule.betas()).cumsum(0)
    return _rescaled(log_bar) if schedule.zero_terminal_snr else torch.expm1(-log_bar).log() / 2


def _rescaled(log_bar: Tensor) -> Tensor:
    """Shift and scale sqrt(alpha-bar) so that it ends in 0 and begins as before (Lin et al. 2024, Algorithm 1)."""
    root = (log_bar / 2).exp()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    log_sigma = ((1 - root**2) / root**2).log() / 2
    return log_sigma.clamp_max(log(SIGMA_LIMIT))
