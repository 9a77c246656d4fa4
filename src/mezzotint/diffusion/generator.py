"""How a trained diffusion model draws: its options, and the generator that follows its denoiser down to sigma = 0."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mezzotint.contracts import Denoiser, Noise
from mezzotint.diffusion.guidance import GUIDANCES, Denoisers, Guidance, Unguided
from mezzotint.diffusion.schedules import SCHEDULES, Schedule, Spacing
from mezzotint.diffusion.schedules.karras import Karras
from mezzotint.diffusion.wrapping import Clipped, Thresholded, wrapped
from mezzotint.errors import BadInput
from mezzotint.options import Choice, Options
from mezzotint.samplers import SAMPLERS, Move, Sampler, integrate
from mezzotint.samplers.dpmpp_sde import DPMPPSDE

if TYPE_CHECKING:
    from mezzotint.diffusion.family import Diffusion


_NEAR = 1.1
"""Levels may lie outside the range trained on by this factor untold: ends of tables and processes differ by less."""


class DiffusionSampling(Options):
    """How a trained diffusion model draws; by default as was best or level in ten calls (benchmarks/samplers-*.md)."""

    sampler: Annotated[Sampler, Choice(SAMPLERS)] = Field(default=DPMPPSDE(), description="rule for one move in sigma")
    schedule: Annotated[Schedule, Choice(SCHEDULES)] | None = Field(
        default=Karras(), description="where the moves end; null: the training schedule's own grid"
    )
    spacing: Spacing = Field(
        default="linspace",
        description="which ends of the schedule the moves visit: linspace both, leading sigma_min only, trailing "
        "sigma_max only, so that the last move to 0 is as long as any other, which helps few moves",
    )
    steps: int | None = Field(
        default=10,
        ge=1,
        le=10_000,
        description="number of moves, the last one to sigma = 0; null: the schedule's timesteps (1000 if it has none)",
    )
    guidance: Annotated[Guidance, Choice(GUIDANCES)] = Field(
        default=Unguided(), description="what the denoiser is pushed away from: nothing, itself without classes, ..."
    )
    clip_x0: bool = Field(default=False, description="clip every estimate of x0 to images in [-1, 1]")
    dynamic_threshold: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="quantile of an estimate's absolute values that it is clipped to, and divided by where above 1; "
        "0.995 goes with strong guidance; null: none",
    )

    def levels(self, trained: Schedule) -> Tensor:
        """Return the noise levels of a drawing by a model trained on a schedule: float64 [steps + 1], the last one 0.

        `BadInput` where there are more than the schedule has, or where the model knows none of them.
        """
        schedule = trained if self.schedule is None else self.schedule.within(trained)
        steps = schedule.last_timestep() + 1 if self.steps is None else self.steps
        sigmas, (low, high) = schedule.grid(steps, self.spacing), trained.bounds()
        if float(sigmas[0]) < low / _NEAR or float(sigmas[-2]) > high * _NEAR:
            raise BadInput(f"{_ranges(sigmas, trained)}: nothing in common; schedule=null draws along what it knows")
        return sigmas

    def cautions(self, trained: Schedule) -> list[str]:
        """Say where a model trained on a schedule is asked for noise levels that it was never trained on."""
        sigmas, (low, high) = self.levels(trained), trained.bounds()
        if float(sigmas[0]) <= high * _NEAR and float(sigmas[-2]) >= low / _NEAR:
            return []
        return [f"sampling.{_ranges(sigmas, trained)}: beyond that it guesses; sampling.schedule=null keeps to it"]


def _ranges(sigmas: Tensor, trained: Schedule) -> str:
    low, high = trained.bounds()
    asked = f"schedule: its noise levels go from {float(sigmas[0]):.3g} to {float(sigmas[-2]):.3g}"
    return f"{asked}, but family.schedule trained the model from {high:.3g} to {low:.3g}"


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode for a block: dropout would spoil every move."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


@dataclass
class DiffusionGenerator:
    """A standard normal latent carried down a grid of noise levels [steps + 1], then decoded.

    `weaker` is the other model that autoguidance asks for: whoever opens runs hands it in by `beside`.
    """

    family: "Diffusion"
    options: DiffusionSampling
    sigmas: Tensor
    start_scale: float
    latent_shape: tuple[int, ...]
    num_classes: int
    weaker: "Diffusion | None" = None

    def beside(self, weaker: "Diffusion") -> "DiffusionGenerator":
        """Return this generator with a weaker model to guide by; `BadInput` for one of other images."""
        ours, theirs = (self.latent_shape, self.family.codec), (weaker.shape, weaker.codec)
        if ours != theirs:
            raise BadInput(
                f"guidance.run: its model's codes are {theirs[0]} by {theirs[1]!r}, but data and codec of this one "
                f"make them {ours[0]} by {ours[1]!r}; choose another run, or guidance=none"
            )
        if weaker.num_classes not in (0, self.num_classes):
            raise BadInput(
                f"guidance.run: its model asks for one of {weaker.num_classes} classes, but this one "
                f"(family.class_conditional) has {self.num_classes}; choose another run, or guidance=none"
            )
        return replace(self, weaker=weaker.eval())

    def denoiser(self, labels: Tensor | None) -> Denoiser:
        """Return the D that sampling follows, made for one path from noise to image."""
        family, options = self.family, self.options
        guided = options.guidance.guide(
            Denoisers(
                asked=lambda: family.drawing(family.condition(labels)),
                unconditional=lambda: family.drawing(family.unconditional(labels)),
                weak=lambda: self._weaker(labels),
            )
        )
        if options.dynamic_threshold is not None:
            guided = wrapped(guided, Thresholded(family.codec, options.dynamic_threshold))
        return wrapped(guided, Clipped(family.codec)) if options.clip_x0 else guided

    def _weaker(self, labels: Tensor | None) -> Denoiser:
        if self.weaker is None:
            raise BadInput("guidance: autoguidance needs its weaker model beside it; draw through a run")
        return self.weaker.drawing(self.weaker.condition(labels))

    def moves(self, latent: Tensor, labels: Tensor | None, noise: Noise) -> Iterator[Move]:
        """Yield every move of the codes from latent [N, *latent_shape] to sigma = 0."""
        start = latent.float() * self.start_scale
        return integrate(self.denoiser(labels), start, self.sigmas, self.options.sampler, noise)

    @torch.no_grad()
    def decode(self, latent: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        """Latent [N, *latent_shape], labels int64 [N] or None -> images [N, C, H, W]."""
        codes = latent
        with _evaluating(self.family.network):
            for move in self.moves(latent, labels, noise):
                codes = move.x
        return self.family.codec.decode(codes)
