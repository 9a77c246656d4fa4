"""Guidance: a denoiser pushed away from a weaker one of the same images, within an interval of noise levels."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from torch import Tensor

from mezzotint.contracts import Denoiser
from mezzotint.diffusion.denoiser import per_row
from mezzotint.diffusion.wrapping import wrapped
from mezzotint.errors import BadInput
from mezzotint.options import Options
from mezzotint.registry import Table


@dataclass(frozen=True)
class Guided:
    """D_weak + scale (D - D_weak) at sigmas in (low, high]; elsewhere D, and nothing else is called.

    `low` and `high` are in units of codes.
    """

    weak: Denoiser
    scale: float
    low: float = 0.0
    high: float = inf

    def __call__(self, denoised: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoised codes [N, *] -> guided ones, row by row."""
        inside = (sigma > self.low) & (sigma <= self.high)
        if not inside.any():
            return denoised
        return denoised + (self.scale - 1) * per_row(inside, x) * (denoised - self.weak(x, sigma))


@dataclass(frozen=True)
class Denoisers:
    """What guidance may ask for, made for one path from noise to image: each call makes a denoiser anew."""

    asked: Callable[[], Denoiser]
    unconditional: Callable[[], Denoiser]
    weak: Callable[[], Denoiser]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a weak model is: a run's folder and which of its checkpoints (last, best, or images seen)."""

    run: Path
    which: str


class Guidance(Options):
    """How sampling is pushed beyond what was learnt."""

    def check(self, num_classes: int, label_dropout: float) -> None:
        """Raise `BadInput` for a model that can't be guided so: one of `num_classes`, 0 if it isn't told them."""

    def meet(self, sigmas: Tensor) -> None:
        """Raise `BadInput` for a sampling grid [steps + 1] whose levels all lie beyond what is guided."""

    def weak(self) -> Checkpoint | None:
        """Return the other model that it needs, if any."""
        return None

    def guide(self, denoisers: Denoisers) -> Denoiser:
        """Return the denoiser that sampling follows."""
        return denoisers.asked()


class Unguided(Guidance):
    """The denoiser as it was learnt."""


class Away(Guidance):
    """Away from a weaker denoiser."""

    scale: float = Field(
        default=2.0, ge=0, le=100, description="how far from the weaker denoiser to the better one and beyond; 1: none"
    )
    interval: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]] | None = Field(
        default=None, description="[low, high]: sigmas that are guided, above low up to high, in units of codes"
    )

    @field_validator("interval")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] >= value[1]:
            raise BadInput(f"must be [low, high] with low below high, got [{value[0]:g}, {value[1]:g}]")
        return value

    def meet(self, sigmas: Tensor) -> None:
        """Raise `BadInput` where the interval holds no noise level from the first move to the last."""
        lowest, highest = float(sigmas[-2]), float(sigmas[0])
        if self.interval is not None and (self.interval[0] >= highest or self.interval[1] < lowest):
            raise BadInput(
                f"guidance.interval: nothing is sampled from {self.interval[0]:g} to {self.interval[1]:g}; levels of "
                f"this schedule are {lowest:g} to {highest:g}, in units of codes"
            )

    def away(self, better: Denoiser, weaker: Denoiser) -> Denoiser:
        """Return the two combined; at scale 1 the better one, which then is called alone."""
        return better if self.scale == 1 else wrapped(better, Guided(weaker, self.scale, *(self.interval or ())))


class ClassifierFree(Away):
    """Away from the same model told no class (Ho & Salimans 2022, eq. 6: scale is 1 + w; interval: Kynkaanniemi 2024).

    Two calls of the network within the interval.
    """

    def check(self, num_classes: int, label_dropout: float) -> None:
        """Raise `BadInput` where classes were never told, or always."""
        if not num_classes:
            raise BadInput(
                "guidance: classifier-free needs classes, but this model has family.class_conditional=false; "
                "set guidance=none"
            )
        if not label_dropout:
            raise BadInput(
                "guidance: classifier-free needs a model that also learnt without classes, but this one has "
                "family.label_dropout=0; train with e.g. family.label_dropout=0.1, or set guidance=none"
            )

    def guide(self, denoisers: Denoisers) -> Denoiser:
        """Combine the two of one network."""
        return self.away(denoisers.asked(), denoisers.unconditional())


class Autoguidance(Away):
    """Away from a worse version of itself, e.g. a smaller or younger one (Karras et al. 2024, autoguidance, sec. 4)."""

    run: Path = Field(description="folder of the weaker model's run, e.g. this run's own; its averaged weights guide")
    checkpoint: str = Field(default="last", description="the weaker model's checkpoint: last, best or images seen")

    @field_validator("run")
    @classmethod
    def _anywhere(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("checkpoint", mode="before")
    @classmethod
    def _as_written(cls, value: object) -> object:
        """YAML reads images seen as a number."""
        return str(value) if isinstance(value, int) else value

    def weak(self) -> Checkpoint:
        """The checkpoint named."""
        return Checkpoint(self.run, self.checkpoint)

    def guide(self, denoisers: Denoisers) -> Denoiser:
        """Combine this model and the weaker one, both asked for the same class."""
        return self.away(denoisers.asked(), denoisers.weak())


GUIDANCES = Table("guidance", {"none": Unguided, "classifier-free": ClassifierFree, "autoguidance": Autoguidance})
