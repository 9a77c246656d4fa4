"""sigma^(1/rho) regular in u (Karras et al. 2022, eq. 5), the usual grid for sampling."""

from pydantic import Field
from torch import Tensor

from mezzotint.diffusion.schedules import Timed


class Karras(Timed):
    """Karras et al. 2022, eq. 5, i / (N - 1) being u."""

    rho: float = Field(default=7.0, ge=1, le=100, description="how much shorter the moves at low noise are")

    def time(self, sigma: Tensor) -> Tensor:
        """sigma^(1/rho)."""
        return sigma ** (1 / self.rho)

    def at(self, time: Tensor) -> Tensor:
        """time^rho."""
        return time**self.rho
