"""Sigmoid (Jabri et al. 2022; Chen 2023, section 2.1): a piece of one as share of signal, cut at the range's ends."""

from math import cosh, log
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mezzotint.diffusion.schedules import Timed, VariancePreserving
from mezzotint.errors import BadInput


class Sigmoid(VariancePreserving, Timed):
    """gamma = (v(1) - v(t)) / (v(1) - v(0)), v(t) = sigmoid((start + t (end - start)) / tau), sigma^2 = 1/gamma - 1.

    With d = (end - start) / tau: sigma^2 = c sinh(t d/2) / sinh((1-t) d/2), c = cosh(end/2tau) / cosh(start/2tau).
    Time is t - 1, so that float32 resolves it where sigma grows without bound. Gamma's clip at 1e-9, sigma 31,623, is
    beyond any sigma_max.
    """

    RANGE: ClassVar[tuple[float, float]] = (0.005, 500.0)

    start: float = Field(default=-3.0, ge=-20, le=20, description="argument of the sigmoid at t = 0, before tau")
    end: float = Field(default=3.0, ge=-20, le=20, description="argument of the sigmoid at t = 1, before tau")
    tau: float = Field(default=0.9, ge=0.1, le=10, description="what both are divided by: larger is closer to linear")

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.start >= self.end:
            raise BadInput(f"start: must be below end, got {self.start:g} and {self.end:g}")
        return self

    def _d(self) -> float:
        return (self.end - self.start) / self.tau

    def _log_c(self) -> float:
        return log(cosh(self.end / (2 * self.tau)) / cosh(self.start / (2 * self.tau)))

    def at(self, time: Tensor) -> Tensor:
        """sigma^2 = (v(t) - v(0)) / (v(1) - v(t)), differences of sigmoids as ratios of hyperbolic functions."""
        half = self._d() / 2
        log_ratio = _log_sinh((1 + time) * half) - _log_sinh(-time * half)
        return ((self._log_c() + log_ratio) / 2).exp()

    def time(self, sigma: Tensor) -> Tensor:
        """With r = c / sigma^2: (1 - t) d = ln(1 + r e^(d/2)) - ln(1 + r e^(-d/2))."""
        log_r, half = self._log_c() - 2 * sigma.log(), self._d() / 2
        one = torch.zeros_like(log_r)  # its logarithm
        return (torch.logaddexp(log_r - half, one) - torch.logaddexp(log_r + half, one)) / self._d()


def _log_sinh(x: Tensor) -> Tensor:
    """Ln sinh x, -inf from 0 down (rounding takes t there), finite where sinh would overflow."""
    x = x.clamp_min(0)
    return x + torch.log(-torch.expm1(-2 * x) / 2)
