"""ln sigma normally distributed over u, cut at the range's ends (Karras et al. 2022, table 1), usual in training."""

from math import erfc, exp, log, sqrt

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.diffusion.schedules import Ranged
from mezzotint.errors import BadInput

_LEAST = 1e-5
"""Part of the distribution that must lie in the range: from much less, rounding leaves one level or none."""


def _normal_above(z: Tensor) -> Tensor:
    """Probability that a standard normal exceeds z, exact in the tail (`torch.special.ndtr` cancels there)."""
    return torch.special.erfc(z * sqrt(0.5)) / 2


class LogNormal(Ranged):
    """Karras et al. 2022, table 1, training; the same as flow matching's logit-normal time (Esser et al. 2024)."""

    mean: float = Field(default=-1.2, ge=-10, le=10, description="P_mean: mean of ln sigma before the cut")
    std: float = Field(default=1.2, gt=0, le=10, description="P_std: standard deviation of ln sigma before the cut")

    def bounds(self) -> tuple[float, float]:
        """Return the range; BadInput where next to nothing of the distribution lies in it."""
        low, high = super().bounds()
        above = [erfc((log(end) - self.mean) / self.std * sqrt(0.5)) / 2 for end in (low, high)]
        if above[0] - above[1] < _LEAST:
            raise BadInput(
                f"mean: levels around exp({self.mean:g}) = {exp(self.mean):.3g} (std {self.std:g}) hardly ever lie "
                f"between sigma_min={low:g} and sigma_max={high:g}; move the mean into the range, or the range to it"
            )
        return low, high

    def _z(self, sigma: Tensor) -> Tensor:
        return (sigma.log() - self.mean) / self.std

    def sigma(self, u: Tensor) -> Tensor:
        """Quantile 1 - u of the cut distribution; each tail is computed from its own small probability."""
        (high, low), share = (self._z(end) for end in self._ends(u)), u.clamp(0, 1)
        above = torch.lerp(_normal_above(high), _normal_above(low), share)
        below = torch.lerp(_normal_above(-high), _normal_above(-low), share)
        z = torch.where(above < 0.5, -torch.special.ndtri(above), torch.special.ndtri(below))
        return self._clamp((self.mean + self.std * z).exp())

    def u(self, sigma: Tensor) -> Tensor:
        """Probability, under the cut distribution, of a higher sigma."""
        above, above_high, above_low = (_normal_above(self._z(s)) for s in (self._clamp(sigma), *self._ends(sigma)))
        return (above - above_high) / (above_low - above_high)
