"""Denoisers out of networks: D(x; sigma) = c_skip x + c_out F(c_in x; level) (Karras et al. 2022, eq. 7).

What the network predicts (`PREDICTIONS`) and what it is told of the noise (`LEVELS`) end here: everything
downstream sees only D.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import torch
from pydantic import Field, field_serializer, field_validator
from torch import Tensor

from mezzotint.contracts import Condition
from mezzotint.diffusion.schedules import Schedule
from mezzotint.errors import BadInput
from mezzotint.options import Options
from mezzotint.registry import Table


def per_row(values: Tensor, x: Tensor) -> Tensor:
    """Values [N] -> [N, 1, ...] in x's dtype, to multiply x [N, *] row by row."""
    return values.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


# --- What the network predicts ---------------------------------------------------------------------------------


class Prediction(Options):
    """Coefficients of D = c_skip x + c_out F(c_in x), each sigma -> same shape and dtype."""

    def measured(self, deviation: float) -> Self:
        """Return this prediction with what it leaves to the images filled in: `deviation` is that of the codes."""
        return self

    def c_skip(self, sigma: Tensor) -> Tensor:
        """Return the share of x that is passed around the network."""
        raise NotImplementedError(f"{type(self).__name__} must say c_skip")

    def c_out(self, sigma: Tensor) -> Tensor:
        """Return the factor on the network's raw output."""
        raise NotImplementedError(f"{type(self).__name__} must say c_out")

    def c_in(self, sigma: Tensor) -> Tensor:
        """Return the factor that gives the network's input unit variance, for codes of unit variance."""
        return (1 + sigma**2).rsqrt()

    def target(self, x0: Tensor, n: Tensor, sigma: Tensor) -> Tensor:
        """Return the raw output [N, *] for which D = x0 at x = x0 + sigma n."""
        c_skip, c_out = self.c_skip(sigma), self.c_out(sigma)
        return per_row((1 - c_skip) / c_out, x0) * x0 - per_row(c_skip * sigma / c_out, x0) * n


class X0(Prediction):
    """The clean codes themselves."""

    def c_skip(self, sigma: Tensor) -> Tensor:
        """Nothing of x."""
        return torch.zeros_like(sigma)

    def c_out(self, sigma: Tensor) -> Tensor:
        """The output as it is."""
        return torch.ones_like(sigma)


class Noise(Prediction):
    """The unit noise n (Ho et al. 2020, eq. 11)."""

    def c_skip(self, sigma: Tensor) -> Tensor:
        """All of x."""
        return torch.ones_like(sigma)

    def c_out(self, sigma: Tensor) -> Tensor:
        """D = x - sigma n."""
        return -sigma


class VENoise(Noise):
    """The unit noise, by a network that reads x as it is (Song et al. 2021's VE networks; Karras et al. 2022, table 1).

    What it reads is as large as sigma: a network must be made for that, e.g. `ncsnpp`.
    """

    def c_in(self, sigma: Tensor) -> Tensor:
        """1: x isn't scaled."""
        return torch.ones_like(sigma)


class V(Prediction):
    """The velocity alpha n - sqrt(1 - alpha^2) x0 (Salimans & Ho 2022, appendix D)."""

    def c_skip(self, sigma: Tensor) -> Tensor:
        """alpha^2: x divided by alpha twice."""
        return 1 / (1 + sigma**2)

    def c_out(self, sigma: Tensor) -> Tensor:
        """-sqrt(1 - alpha^2)."""
        return -sigma * (1 + sigma**2).rsqrt()


class Flow(Prediction):
    """The velocity n - x0 of the straight path (Lipman et al. 2023; Liu et al. 2023)."""

    def c_skip(self, sigma: Tensor) -> Tensor:
        """1 - t."""
        return 1 / (1 + sigma)

    def c_out(self, sigma: Tensor) -> Tensor:
        """-t."""
        return -sigma / (1 + sigma)

    def c_in(self, sigma: Tensor) -> Tensor:
        """1 - t: the network sees the point on the path."""
        return 1 / (1 + sigma)


class EDM(Prediction):
    """A mixture of x0 and noise with unit variance at every level (Karras et al. 2022, table 1)."""

    sigma_data: float | None = Field(
        default=0.5, gt=0, le=10, description="standard deviation of the codes; auto: measured when a run begins"
    )

    @field_validator("sigma_data", mode="before")
    @classmethod
    def _read_auto(cls, value: object) -> object:
        return None if value == "auto" else value

    @field_serializer("sigma_data")
    def _write_auto(self, value: float | None) -> float | str:
        return "auto" if value is None else value

    def measured(self, deviation: float) -> Self:
        """Return this prediction with an open sigma_data set to the codes' deviation, to four digits."""
        return self if self.sigma_data is not None else self.but(sigma_data=float(f"{deviation:.4g}"))

    def _known(self) -> float:
        if self.sigma_data is None:
            raise BadInput("prediction.sigma_data: auto is measured when a run begins; elsewhere it must be a number")
        return self.sigma_data

    def _total(self, sigma: Tensor) -> Tensor:
        return sigma**2 + self._known() ** 2

    def c_skip(self, sigma: Tensor) -> Tensor:
        """Table 1, skip scaling."""
        return self._known() ** 2 / self._total(sigma)

    def c_out(self, sigma: Tensor) -> Tensor:
        """Table 1, output scaling."""
        return sigma * self._known() * self._total(sigma).rsqrt()

    def c_in(self, sigma: Tensor) -> Tensor:
        """Table 1, input scaling."""
        return self._total(sigma).rsqrt()


PREDICTIONS = Table("prediction", {"x0": X0, "noise": Noise, "ve-noise": VENoise, "v": V, "flow": Flow, "edm": EDM})


# --- What the network is told of the noise ---------------------------------------------------------------------


class Level(Options):
    """How sigma is told to the network."""

    def of(self, sigma: Tensor, schedule: Schedule) -> Tensor:
        """Sigma [N] -> level [N] under the training schedule."""
        raise NotImplementedError(f"{type(self).__name__} must say what it tells")


class LogSigma(Level):
    """ln(sigma) / 4 (Karras et al. 2022, table 1)."""

    def of(self, sigma: Tensor, schedule: Schedule) -> Tensor:
        """c_noise of table 1."""
        return sigma.log() / 4


class Timestep(Level):
    """(T - 1)(1 - u): the timestep that DDPM networks expect, 0 at sigma_min, in between not rounded."""

    def of(self, sigma: Tensor, schedule: Schedule) -> Tensor:
        """Index into the training schedule's T steps; beyond its range, its nearest end."""
        return schedule.last_timestep() * (1 - schedule.u(sigma))


class Time(Level):
    """sigma / (1 + sigma): the time of the straight path, in [0, 1)."""

    def of(self, sigma: Tensor, schedule: Schedule) -> Tensor:
        """T of flow matching."""
        return sigma / (1 + sigma)


LEVELS = Table("level", {"log": LogSigma, "timestep": Timestep, "time": Time})


# --- Denoisers -------------------------------------------------------------------------------------------------


NetworkCall = Callable[[Tensor, Tensor, Condition], Tensor]
"""(input [N, *], level [N], condition) -> output [N, *]."""


@dataclass(frozen=True)
class Preconditioned:
    """D(x; sigma) of a network called as `network(input, level, condition)`, in float32 or the caller's autocast."""

    network: NetworkCall
    prediction: Prediction
    level: Level
    schedule: Schedule
    condition: Condition = field(default_factory=Condition)

    def outputs(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Noisy codes [N, C, *], sigma [N] -> all that the network returns [N, C or more, *], in x's dtype."""
        scaled = per_row(self.prediction.c_in(sigma), x) * x
        level = self.level.of(sigma, self.schedule)
        return self.network(scaled.float(), level.float(), self.condition).to(x.dtype)

    def raw(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Noisy codes [N, C, *], sigma [N] -> the network's output F [N, C, *], in x's dtype."""
        return self.outputs(x, sigma)[:, : x.shape[1]]

    def denoised(self, raw: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """The network's output F [N, C, *] at x, sigma -> denoised codes [N, C, *]."""
        c_skip, c_out = self.prediction.c_skip(sigma), self.prediction.c_out(sigma)
        return per_row(c_skip, x) * x + per_row(c_out, x) * raw

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Noisy codes [N, C, *], sigma [N] -> denoised codes [N, C, *]."""
        return self.denoised(self.raw(x, sigma), x, sigma)


def share_of(output: Tensor) -> Tensor:
    """A network's output, around 0 -> v, around 1/2: 0 is the small variance, 1 the large one, neither a bound."""
    return (output + 1) / 2


@dataclass(frozen=True)
class VariancePreconditioned(Preconditioned):
    """D of a network whose second half of channels says v (Nichol & Dhariwal 2021, eq. 15)."""

    def with_variance(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy codes [N, C, *], sigma [N] -> denoised codes; v in [0, 1] mixes the logs of the two variances."""
        raw, output = self.outputs(x, sigma).chunk(2, 1)
        return self.denoised(raw, x, sigma), share_of(output).clamp(0, 1)
