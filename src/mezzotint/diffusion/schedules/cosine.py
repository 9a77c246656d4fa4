"""alpha-bar a squared cosine of time (Nichol & Dhariwal 2021, eq. 17), cut at the range's ends."""

from math import pi
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.diffusion.schedules import Timed, VariancePreserving


class Cosine(VariancePreserving, Timed):
    """Nichol & Dhariwal 2021, eq. 17, t regular in u.

    With b = pi/2 (t + s) / (1 + s) and a = b(0): sigma^2 = cos(a)^2 / cos(b)^2 - 1 = sin(b - a) sin(b + a) / cos(b)^2.
    """

    RANGE: ClassVar[tuple[float, float]] = (0.005, 500.0)

    offset: float = Field(default=0.008, gt=0, le=0.1, description="s: keeps noise from vanishing too fast near t = 0")

    def _a(self, like: Tensor) -> Tensor:
        return like.new_tensor(pi / 2 * self.offset / (1 + self.offset))

    def time(self, sigma: Tensor) -> Tensor:
        """The angle b."""
        a = self._a(sigma)
        return torch.atan2((a.sin() ** 2 + sigma**2).sqrt(), a.cos())

    def at(self, time: Tensor) -> Tensor:
        """Eq. 17 in the form that doesn't cancel at low noise."""
        a = self._a(time)
        return ((time - a).sin() * (time + a).sin()).clamp_min(0).sqrt() / time.cos()
