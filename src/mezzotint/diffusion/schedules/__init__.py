"""Noise schedules: one decreasing function u -> sigma with its inverse, on a finite range; one file per schedule.

u = 0 is sigma_max, u = 1 is sigma_min. A regular grid of u gives the sampling points, random u the training
distribution. Both functions keep the dtype and device of what they are given and clamp it to their domain.
"""

from collections.abc import Callable
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mezzotint.errors import BadInput
from mezzotint.options import Options
from mezzotint.registry import Folder

SIGMA_LIMIT = 20_000.0

SCHEDULES = Folder("mezzotint.diffusion.schedules", "schedule")

Spacing = Literal["linspace", "leading", "trailing"]
"""Which ends of the range a sampling grid visits: both, the lowest alone, or the highest alone."""

_POSITIONS: dict[Spacing, Callable[[int], Tensor]] = {
    "linspace": lambda steps: torch.linspace(0, 1, steps, dtype=torch.float64),
    "leading": lambda steps: torch.arange(1, steps + 1, dtype=torch.float64) / steps,
    "trailing": lambda steps: torch.arange(steps, dtype=torch.float64) / steps,
}


class Schedule(Options):
    """A noise schedule; variance-exploding (alpha = 1) unless a subclass says otherwise."""

    def bounds(self) -> tuple[float, float]:
        """Return (sigma_min, sigma_max), in units of codes."""
        raise NotImplementedError(f"{type(self).__name__} must state its range")

    def within(self, other: "Schedule") -> "Schedule":
        """Return this schedule with whatever end of its range was left unset taken from another one."""
        return self

    def sigma(self, u: Tensor) -> Tensor:
        """Position u in [0, 1] -> sigma, decreasing; same shape and dtype."""
        raise NotImplementedError(f"{type(self).__name__} must say sigma(u)")

    def u(self, sigma: Tensor) -> Tensor:
        """The inverse of `sigma`: same shape and dtype, in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} must say u(sigma)")

    def last_timestep(self) -> int:
        """T - 1, what a network that is told timesteps hears at sigma_max; it hears 0 at sigma_min."""
        return 999

    def alpha(self, sigma: Tensor) -> Tensor:
        """Return what the process multiplies x by where it is not variance-exploding; for plots and export."""
        return torch.ones_like(sigma)

    def start_scale(self, sigma: float) -> float:
        """Return what a standard normal latent is multiplied by to start sampling at sigma what was trained on this.

        It belongs to the process that was learnt, on whatever grid of sigmas it is followed.
        """
        return sigma

    def grid(self, steps: int, spacing: Spacing = "linspace") -> Tensor:
        """Sampling points at regular u, float64 [steps + 1], the last one 0; spacings as Lin et al. 2024, table 2."""
        check_steps(steps)
        sigmas = self.sigma(_POSITIONS[spacing](steps))
        return torch.cat([sigmas, sigmas.new_zeros(1)])

    def draw(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Draw sigma float32 [count], one from each of `count` equal parts of u.

        From torch's CPU generator whatever the device: float64 works there, and nothing waits for the device.
        """
        strata = torch.arange(count, dtype=torch.float64)
        u = (strata + torch.rand(count, dtype=torch.float64)) / count
        return self.sigma(u).to(device, torch.float32)

    def _clamp(self, sigma: Tensor) -> Tensor:
        return sigma.clamp(*self.bounds())


def check_steps(steps: int) -> None:
    """Refuse a grid without moves."""
    if steps < 1:
        raise BadInput(f"steps: sampling needs at least 1 step, got {steps}")


class VariancePreserving(Schedule):
    """A process whose x_t = alpha (x0 + sigma n) keeps unit variance: alpha = 1 / sqrt(1 + sigma^2)."""

    def alpha(self, sigma: Tensor) -> Tensor:
        """Square root of alpha-bar (Ho et al. 2020)."""
        return (1 + sigma**2).rsqrt()

    def start_scale(self, sigma: float) -> float:
        """Divide DDPM's standard normal x_T by alpha; where sigma_max is small it is nearer to images than sigma.

        Codes there deviate by the root of sigma^2 and their own variance, which few directions hold nearly all of.
        """
        return (1 + sigma**2) ** 0.5


class Ranged(Schedule):
    """A schedule of a chosen range; an end left unset has a default for training, and when sampling is trained's."""

    RANGE: ClassVar[tuple[float, float]] = (0.002, 80.0)

    sigma_min: float | None = Field(
        default=None, gt=0, lt=SIGMA_LIMIT, description="lowest noise, in units of codes; null: the usual one"
    )
    sigma_max: float | None = Field(
        default=None, gt=0, le=SIGMA_LIMIT, description="highest noise, in units of codes; null: the usual one"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.sigma_min is not None and self.sigma_max is not None:
            self.bounds()
        return self

    def usual(self) -> tuple[float, float]:
        """Return (sigma_min, sigma_max) where neither is set."""
        return self.RANGE

    def bounds(self) -> tuple[float, float]:
        """Return the range set, or the schedule's usual one; BadInput where sigma_min is not below sigma_max."""
        low, high = self.usual()
        low = low if self.sigma_min is None else self.sigma_min
        high = high if self.sigma_max is None else self.sigma_max
        if low >= high:
            raise BadInput(f"sigma_min: must be below sigma_max, got {low:g} and {high:g}")
        return low, high

    def within(self, other: Schedule) -> "Ranged":
        """Take unset ends of the range from another schedule."""
        low, high = other.bounds()
        return self.but(
            sigma_min=low if self.sigma_min is None else self.sigma_min,
            sigma_max=high if self.sigma_max is None else self.sigma_max,
        )

    def _ends(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Sigma_max and sigma_min as scalar tensors of a given dtype and device."""
        low, high = self.bounds()
        return like.new_tensor(high), like.new_tensor(low)


class Timed(Ranged):
    """A schedule in which u runs regularly through a time of its own, from that of sigma_max to that of sigma_min."""

    def time(self, sigma: Tensor) -> Tensor:
        """Sigma in the range -> time, growing; same shape and dtype."""
        raise NotImplementedError(f"{type(self).__name__} must say when sigma is reached")

    def at(self, time: Tensor) -> Tensor:
        """The inverse of `time`."""
        raise NotImplementedError(f"{type(self).__name__} must say sigma at a time")

    def sigma(self, u: Tensor) -> Tensor:
        """Sigma at the time that lies a share u of the way down."""
        first, last = (self.time(end) for end in self._ends(u))
        return self._clamp(self.at(torch.lerp(first, last, u.clamp(0, 1))))

    def u(self, sigma: Tensor) -> Tensor:
        """Time gone by since sigma_max, as a share of the whole."""
        first, last = (self.time(end) for end in self._ends(sigma))
        return ((first - self.time(self._clamp(sigma))) / (first - last)).clamp(0, 1)
