"""Chen's cosine (Chen 2023, section 2.1): a piece of a cosine to a power as share of signal, cut at both ends."""

from math import cos, pi
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mezzotint.diffusion.schedules import Timed, VariancePreserving
from mezzotint.errors import BadInput


class ChenCosine(VariancePreserving, Timed):
    """gamma = (v(1) - v(t)) / (v(1) - v(0)), v(t) = cos(pi/2 (start + t (end - start)))^(2 tau), sigma^2 = 1/gamma - 1.

    Time is the angle gone since t = 0. The paper clips gamma at 1e-9, sigma 31,623: beyond any sigma_max.
    """

    RANGE: ClassVar[tuple[float, float]] = (0.005, 500.0)

    start: float = Field(default=0.0, ge=0, lt=1, description="where on the quarter wave t = 0 is")
    end: float = Field(default=1.0, gt=0, le=1, description="where on the quarter wave t = 1 is")
    tau: float = Field(default=1.0, ge=0.1, le=10, description="half the power the cosine is raised to")

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.start >= self.end:
            raise BadInput(f"start: must be below end, got {self.start:g} and {self.end:g}")
        return self

    def _angles(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return like.new_tensor(pi / 2 * self.start), like.new_tensor(pi / 2 * self.end)

    def _shares(self) -> tuple[float, float]:
        """Return v(0) and v(1)."""
        return cos(pi / 2 * self.start) ** (2 * self.tau), cos(pi / 2 * self.end) ** (2 * self.tau)

    def _fall(self, c: Tensor, by: Tensor) -> Tensor:
        """Return c^(2 tau) - (c - by)^(2 tau) without cancelling where `by` is small; rounding may make it exceed c."""
        return -(c ** (2 * self.tau)) * torch.expm1(2 * self.tau * torch.log1p((-by / c).clamp_min(-1)))

    def at(self, time: Tensor) -> Tensor:
        """sigma^2 = (v(0) - v(t)) / (v(t) - v(1)), differences of cosines as products of sines."""
        first, last = self._angles(time)
        angle = first + time
        gone = 2 * (first + time / 2).sin() * (time / 2).sin()
        left = 2 * ((last + angle) / 2).sin() * ((last - angle) / 2).sin().clamp_min(0)  # rounded, t may be over 1 ...
        cosine = angle.cos().abs()  # ... and the cosine below 0, which has no power
        return (self._fall(first.cos(), gone) / self._fall(cosine, left)).sqrt()

    def time(self, sigma: Tensor) -> Tensor:
        """Solve for the cosine c = c_0 e^fall, then for the angle gone: c_0 - c is a product of two sines."""
        (first, _), (v_0, v_1) = self._angles(sigma), self._shares()
        fall = torch.log1p(-(1 - v_1 / v_0) * sigma**2 / (1 + sigma**2)) / (2 * self.tau)
        sine = (first.sin() ** 2 - first.cos() ** 2 * torch.expm1(2 * fall)).sqrt()
        angle = torch.atan2(sine, first.cos() * fall.exp())
        return 2 * torch.asin(-first.cos() * torch.expm1(fall) / (2 * ((first + angle) / 2).sin()))
