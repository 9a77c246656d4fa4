"""The diffusion family: one phase that trains a denoiser, and the generator that samples with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from mezzotint.contracts import Batch, Codec, Condition, Denoiser, Family, FamilyOptions, Loss, Noise, Phase
from mezzotint.diffusion.denoiser import (
    EDM,
    LEVELS,
    PREDICTIONS,
    Clipped,
    Level,
    LogSigma,
    Preconditioned,
    Prediction,
    per_row,
)
from mezzotint.diffusion.schedules import SCHEDULES, Karras, LogNormal, Schedule
from mezzotint.diffusion.weighting import WEIGHTINGS, Output, Weighting
from mezzotint.errors import BadInput
from mezzotint.networks import Network
from mezzotint.options import Choice
from mezzotint.options import Options as OptionGroup
from mezzotint.samplers import SAMPLERS, Move, Sampler, integrate
from mezzotint.samplers.heun import Heun
from mezzotint.seeds import AmbientNoise

NORMS = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}


class DiffusionOptions(FamilyOptions):
    """What a diffusion model learns: prediction, noise levels, loss."""

    prediction: Annotated[Prediction, Choice(PREDICTIONS)] = Field(
        default=EDM(), description="what the network predicts"
    )
    level: Annotated[Level, Choice(LEVELS)] = Field(default=LogSigma(), description="what the network is told of sigma")
    schedule: Annotated[Schedule, Choice(SCHEDULES)] = Field(
        default=LogNormal(), description="range and distribution of sigma in training"
    )
    weighting: Annotated[Weighting, Choice(WEIGHTINGS)] = Field(
        default=Output(), description="weight of each sigma in the loss, stated for the squared error of x0"
    )
    norm: Literal["mse", "l1", "huber"] = Field(
        default="mse", description="how the raw output's error is measured, before the weight"
    )

    augmentation_conditional: bool = Field(
        default=False,
        description="whether the network is told what augmentation did to an image, and that nothing was when it draws",
    )

    def measured(self, deviation: float) -> Self:
        """Return these options with the prediction's open numbers filled in."""
        return self.but(prediction=self.prediction.measured(deviation))

    @field_validator("schedule")
    @classmethod
    def _has_a_range(cls, value: Schedule) -> Schedule:
        value.bounds()  # one end may be wrong only beside the other's default: told here, before training
        return value


class DiffusionSampling(OptionGroup):
    """How a trained diffusion model draws."""

    sampler: Annotated[Sampler, Choice(SAMPLERS)] = Field(default=Heun(), description="rule for one move in sigma")
    schedule: Annotated[Schedule, Choice(SCHEDULES)] | None = Field(
        default=Karras(), description="where the moves end; null: the training schedule's own grid"
    )
    steps: int = Field(default=18, ge=1, le=10_000, description="number of moves, the last one to sigma = 0")
    clip_x0: bool = Field(default=False, description="clip every estimate of x0 to images in [-1, 1]")


class Diffusion(Family):
    """A denoiser learnt at all noise levels at once (Ho et al. 2020; Karras et al. 2022, eq. 2)."""

    architecture = Network
    Options = DiffusionOptions
    Sampling = DiffusionSampling

    def __init__(
        self,
        network: nn.Module,
        options: DiffusionOptions,
        codec: Codec,
        shape: tuple[int, int, int],
        num_classes: int,
    ) -> None:
        """Compose a network with codes of `shape` (C, H, W); `num_classes` is the data's, 0 without labels."""
        super().__init__()
        if options.class_conditional and num_classes < 1:
            raise BadInput("class_conditional: the data have no labels; set it to false")
        self.network, self.options, self.codec, self.shape = network, options, codec, shape
        self.num_classes = num_classes if options.class_conditional else 0

    def phases(self) -> list[Phase]:
        """One phase: the denoiser."""
        return [Phase("denoiser", self.network, self.loss, draw=self.draw)]

    def denoiser(self, condition: Condition) -> Preconditioned:
        """Return D of the present weights under a condition."""
        chosen = self.options
        return Preconditioned(self.network, chosen.prediction, chosen.level, chosen.schedule, condition)

    def condition(self, labels: Tensor | None, augmentation: Tensor | None = None) -> Condition:
        """Return what the network is told of a batch; labels only if the model is class conditional."""
        if not self.num_classes:
            return Condition(augmentation=augmentation)
        if labels is None:
            raise BadInput(f"labels: this model is class conditional and needs a class below {self.num_classes}")
        return Condition(labels=labels, augmentation=augmentation)

    @torch.no_grad()
    def draw(self, batch: Batch) -> Batch:
        """Put codes x0, sigma and noise n of every image into `batch.drawn`."""
        x0 = self.codec.encode(batch.images, AmbientNoise(batch.images.device)).float()
        sigma = self.options.schedule.draw(len(x0), x0.device)
        return replace(batch, drawn={"x0": x0, "sigma": sigma, "n": torch.randn_like(x0)})

    def loss(self, batch: Batch) -> Loss:
        """Mean over a batch of w(sigma) c_out^2 |F - target|, the stable form of w |D - x0|; mse is |D - x0|^2."""
        drawn = batch.drawn or self.draw(batch).drawn
        x0, sigma, n = drawn["x0"], drawn["sigma"], drawn["n"]
        x = x0 + per_row(sigma, x0) * n

        prediction = self.options.prediction
        raw = self.denoiser(self.condition(batch.labels, batch.augmentation)).raw(x, sigma)
        target = prediction.target(x0, n, sigma)
        scale = prediction.c_out(sigma) ** 2
        weight = self.options.weighting.weight(sigma, prediction) * scale
        error = NORMS[self.options.norm](raw, target, reduction="none").flatten(1).mean(1)
        value = (weight * error).mean()

        mse = (scale * (raw.detach() - target).square().flatten(1).mean(1)).mean()
        return Loss(value, {"mse": mse})

    def generator(self, options: OptionGroup) -> "DiffusionGenerator":
        """Return what draws from the present weights; BadInput for a grid the schedule doesn't have."""
        if not isinstance(options, DiffusionSampling):
            raise TypeError(f"diffusion draws under DiffusionSampling, not {type(options).__name__}")
        trained = self.options.schedule
        schedule = trained if options.schedule is None else options.schedule.within(trained)
        sigmas = schedule.grid(options.steps)
        scale = schedule.start_scale(float(sigmas[0]))
        return DiffusionGenerator(self, options, sigmas, scale, self.shape, self.num_classes)


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
    """A standard normal latent carried down a grid of noise levels [steps + 1], then decoded."""

    family: Diffusion
    options: DiffusionSampling
    sigmas: Tensor
    start_scale: float
    latent_shape: tuple[int, ...]
    num_classes: int

    def denoiser(self, labels: Tensor | None) -> Denoiser:
        """Return the D that sampling follows."""
        trained = self.family.denoiser(self.family.condition(labels))
        return Clipped(trained, self.family.codec) if self.options.clip_x0 else trained

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
