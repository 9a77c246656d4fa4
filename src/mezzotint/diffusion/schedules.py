"""Noise schedules: one decreasing function u -> sigma with its inverse, on a finite range.

u = 0 is sigma_max, u = 1 is sigma_min. A regular grid of u gives the sampling points, random u the training
distribution. Both functions keep the dtype and device of what they are given and clamp it to their domain.
"""

from functools import lru_cache
from math import pi, sqrt
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mezzotint.errors import BadInput
from mezzotint.options import Options
from mezzotint.registry import Table

SIGMA_LIMIT = 20_000.0


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
        """Return what a standard normal latent is multiplied by to start sampling at sigma."""
        return sigma

    def grid(self, steps: int) -> Tensor:
        """Sampling points at regular u, float64 [steps + 1], the last one 0."""
        _check_steps(steps)
        sigmas = self.sigma(torch.linspace(0, 1, steps, dtype=torch.float64))
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


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise BadInput(f"steps: sampling needs at least 1 step, got {steps}")


class VariancePreserving(Schedule):
    """A process whose x_t = alpha (x0 + sigma n) keeps unit variance: alpha = 1 / sqrt(1 + sigma^2)."""

    def alpha(self, sigma: Tensor) -> Tensor:
        """Square root of alpha-bar (Ho et al. 2020)."""
        return (1 + sigma**2).rsqrt()

    def start_scale(self, sigma: float) -> float:
        """Divide DDPM's standard normal x_T by alpha; it matters where sigma_max is small."""
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

    def bounds(self) -> tuple[float, float]:
        """Return the range set, or the schedule's usual one; BadInput where sigma_min is not below sigma_max."""
        low = self.RANGE[0] if self.sigma_min is None else self.sigma_min
        high = self.RANGE[1] if self.sigma_max is None else self.sigma_max
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

    def _between(self, u: Tensor, at_max: Tensor, at_min: Tensor) -> Tensor:
        return at_max + u.clamp(0, 1) * (at_min - at_max)

    def _ends(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Sigma_max and sigma_min as scalar tensors of a given dtype and device."""
        low, high = self.bounds()
        return like.new_tensor(high), like.new_tensor(low)


class Karras(Ranged):
    """sigma^(1/rho) regular in u (Karras et al. 2022, eq. 5)."""

    rho: float = Field(default=7.0, ge=1, le=100, description="how much shorter the moves at low noise are")

    def sigma(self, u: Tensor) -> Tensor:
        """Eq. 5, i / (N - 1) being u."""
        high, low = (end ** (1 / self.rho) for end in self._ends(u))
        return self._clamp(self._between(u, high, low) ** self.rho)

    def u(self, sigma: Tensor) -> Tensor:
        """Eq. 5 solved for i / (N - 1)."""
        high, low = (end ** (1 / self.rho) for end in self._ends(sigma))
        return (high - self._clamp(sigma) ** (1 / self.rho)) / (high - low)


def _normal_above(z: Tensor) -> Tensor:
    """Probability that a standard normal exceeds z, exact in the tail (`torch.special.ndtr` cancels there)."""
    return torch.special.erfc(z * sqrt(0.5)) / 2


class LogNormal(Ranged):
    """ln sigma normally distributed over u, cut at the range's ends (Karras et al. 2022, table 1, training)."""

    mean: float = Field(default=-1.2, ge=-10, le=10, description="P_mean: mean of ln sigma before the cut")
    std: float = Field(default=1.2, gt=0, le=10, description="P_std: standard deviation of ln sigma before the cut")

    def _z(self, sigma: Tensor) -> Tensor:
        return (sigma.log() - self.mean) / self.std

    def sigma(self, u: Tensor) -> Tensor:
        """Quantile 1 - u of the cut distribution; each tail is computed from its own small probability."""
        high, low = (self._z(end) for end in self._ends(u))
        above = self._between(u, _normal_above(high), _normal_above(low))
        below = self._between(u, _normal_above(-high), _normal_above(-low))
        z = torch.where(above < 0.5, -torch.special.ndtri(above), torch.special.ndtri(below))
        return self._clamp((self.mean + self.std * z).exp())

    def u(self, sigma: Tensor) -> Tensor:
        """Probability, under the cut distribution, of a higher sigma."""
        above, above_high, above_low = (_normal_above(self._z(s)) for s in (self._clamp(sigma), *self._ends(sigma)))
        return (above - above_high) / (above_low - above_high)


class Cosine(VariancePreserving, Ranged):
    """alpha-bar a squared cosine of time (Nichol & Dhariwal 2021, eq. 17), cut at the range's ends.

    With b = pi/2 (t + s) / (1 + s) and a = b(0): sigma^2 = cos(a)^2 / cos(b)^2 - 1 = sin(b - a) sin(b + a) / cos(b)^2.
    """

    RANGE: ClassVar[tuple[float, float]] = (0.005, 500.0)

    offset: float = Field(default=0.008, gt=0, le=0.1, description="s: keeps noise from vanishing too fast near t = 0")

    def _a(self, like: Tensor) -> Tensor:
        return like.new_tensor(pi / 2 * self.offset / (1 + self.offset))

    def _b(self, sigma: Tensor) -> Tensor:
        a = self._a(sigma)
        return torch.atan2((a.sin() ** 2 + sigma**2).sqrt(), a.cos())

    def sigma(self, u: Tensor) -> Tensor:
        """Eq. 17 with t regular in u, in the form that doesn't cancel at low noise."""
        high, low = (self._b(end) for end in self._ends(u))
        a, b = self._a(u), self._between(u, high, low)
        return self._clamp(((b - a).sin() * (b + a).sin()).clamp_min(0).sqrt() / b.cos())

    def u(self, sigma: Tensor) -> Tensor:
        """Eq. 17 solved for t, as a share of the cut range."""
        high, low = (self._b(end) for end in self._ends(sigma))
        return (high - self._b(self._clamp(sigma))) / (high - low)


class Flow(Ranged):
    """The straight path (1 - t) x0 + t n (Lipman et al. 2023; Liu et al. 2023): sigma = t / (1 - t), t regular in u."""

    RANGE: ClassVar[tuple[float, float]] = (0.001, 1000.0)

    def alpha(self, sigma: Tensor) -> Tensor:
        """1 - t."""
        return 1 / (1 + sigma)

    def sigma(self, u: Tensor) -> Tensor:
        """T / (1 - t), both ends being cut."""
        high, low = (end / (1 + end) for end in self._ends(u))
        t = self._between(u, high, low)
        return self._clamp(t / (1 - t))

    def u(self, sigma: Tensor) -> Tensor:
        """Sigma / (1 + sigma) as a share of the cut range."""
        inside = self._clamp(sigma)
        t, high, low = (s / (1 + s) for s in (inside, *self._ends(sigma)))
        return (high - t) / (high - low)


@lru_cache(maxsize=32)
def _linear_table(timesteps: int, beta_start: float, beta_end: float) -> Tensor:
    """Ln sigma float64 [T], increasing, with sigma^2 = 1 / prod(1 - beta) - 1 (Ho et al. 2020, eq. 4)."""
    betas = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
    return torch.expm1(-torch.log1p(-betas).cumsum(0)).log() / 2


class Linear(VariancePreserving):
    """DDPM's T steps of linearly growing beta (Ho et al. 2020): its exact table, ln sigma linear in between."""

    timesteps: int = Field(default=1000, ge=2, le=10_000, description="T: entries of the table")
    beta_start: float = Field(default=1e-4, gt=0, lt=1, description="variance that the first timestep adds")
    beta_end: float = Field(default=0.02, gt=0, lt=1, description="variance that the last timestep adds")
    spacing: Literal["linspace", "leading", "trailing"] = Field(
        default="linspace",
        description="entries a shorter sampling grid visits: both ends, the first, or the last included",
    )

    @model_validator(mode="after")
    def _finite(self) -> Self:
        if self.bounds()[1] > SIGMA_LIMIT:
            raise BadInput(f"beta_end: sigma_max would be over {SIGMA_LIMIT:g}; choose smaller betas or timesteps")
        return self

    def _table(self) -> Tensor:
        return _linear_table(self.timesteps, self.beta_start, self.beta_end)

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

    def grid(self, steps: int) -> Tensor:
        """Entries of the table, float64 [steps + 1], the last one 0; BadInput for more steps than entries."""
        _check_steps(steps)
        if steps > self.timesteps:
            raise BadInput(f"steps: this schedule has {self.timesteps} timesteps, {steps} can't be picked from them")
        sigmas = self._table()[self._picked(steps)].exp()
        return torch.cat([sigmas, sigmas.new_zeros(1)])

    def _picked(self, steps: int) -> Tensor:
        count = torch.arange(steps, dtype=torch.float64)
        if self.spacing == "linspace":
            positions = torch.linspace(self.last_timestep(), 0, steps, dtype=torch.float64)
        elif self.spacing == "leading":
            positions = (steps - 1 - count) * (self.timesteps // steps)
        else:
            positions = self.timesteps - count * (self.timesteps / steps) - 1
        return positions.round().long()


SCHEDULES = Table(
    "schedule", {"linear": Linear, "cosine": Cosine, "karras": Karras, "log-normal": LogNormal, "flow": Flow}
)
