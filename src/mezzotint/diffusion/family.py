"""The diffusion family: one phase that trains a denoiser, and the generator that samples with it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from mezzotint.contracts import Batch, Codec, Condition, Denoiser, Family, FamilyOptions, Loss, Phase
from mezzotint.diffusion.denoiser import (
    EDM,
    LEVELS,
    PREDICTIONS,
    Level,
    LogSigma,
    NetworkCall,
    Noise,
    Preconditioned,
    Prediction,
    per_row,
)
from mezzotint.diffusion.generator import DiffusionGenerator, DiffusionSampling
from mezzotint.diffusion.importance import IMPORTANCES, Importance, Unweighted
from mezzotint.diffusion.schedules import SCHEDULES, Schedule
from mezzotint.diffusion.schedules.log_normal import LogNormal
from mezzotint.diffusion.self_conditioning import Concatenating, remembering, tried
from mezzotint.diffusion.variance import VARIANCES, Fixed, Learned, Seen, Variance
from mezzotint.diffusion.weighting import WEIGHTINGS, Output, Weighting
from mezzotint.errors import BadInput
from mezzotint.networks import Network
from mezzotint.options import Choice
from mezzotint.options import Options as OptionGroup
from mezzotint.samplers import SAMPLERS
from mezzotint.seeds import AmbientNoise

NORMS = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}
PHASE = "denoiser"


class DiffusionOptions(FamilyOptions):
    """What a diffusion model learns: prediction, noise levels, loss, what it is told."""

    prediction: Annotated[Prediction, Choice(PREDICTIONS)] = Field(
        default=EDM(), description="what the network predicts"
    )
    level: Annotated[Level, Choice(LEVELS)] = Field(default=LogSigma(), description="what the network is told of sigma")
    schedule: Annotated[Schedule, Choice(SCHEDULES)] = Field(
        default=LogNormal(), description="range and distribution of sigma in training"
    )
    importance: Annotated[Importance, Choice(IMPORTANCES)] = Field(
        default=Unweighted(), description="which levels of the schedule are drawn more often, and count less each"
    )
    weighting: Annotated[Weighting, Choice(WEIGHTINGS)] = Field(
        default=Output(), description="weight of each sigma in the loss, stated for the squared error of x0"
    )
    norm: Literal["mse", "l1", "huber"] = Field(
        default="mse", description="how the raw output's error is measured, before the weight"
    )
    variance: Annotated[Variance, Choice(VARIANCES)] = Field(
        default=Fixed(), description="whether the variance of ancestral moves is learnt, too"
    )
    label_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="probability of telling no class in training; guidance needs about 0.1"
    )
    self_conditioning: bool = Field(
        default=False, description="whether the network also reads its previous estimate of x0; an update takes longer"
    )
    augmentation_conditional: bool = Field(
        default=False,
        description="whether the network is told what augmentation did to an image, and that nothing was when it draws",
    )

    def measured(self, deviation: float) -> Self:
        """Return these options with the prediction's open numbers filled in."""
        return self.but(prediction=self.prediction.measured(deviation))

    def classes(self, num_classes: int) -> int:
        """The data's and, where labels are dropped, the null class after them; 0 where it isn't told."""
        return super().classes(num_classes) + (self.label_dropout > 0)

    def channels_in(self, channels: int) -> int:
        """Those of the codes and, self-conditioned, of an estimate."""
        return 2 * channels if self.self_conditioning else channels

    def channels_out(self, channels: int) -> int:
        """Those of the codes and, where it is learnt, of the variance."""
        return self.variance.channels(channels)

    def cautions(self, sampling: OptionGroup) -> list[str]:
        """Name noise levels beyond those trained on, predicted noise left unclipped, and a variance learnt for nothing.

        An error of predicted noise is sigma times as large in x0 (benchmarks/design_space-mnist.md).
        """
        chosen = _sampling(sampling)
        found = chosen.cautions(self.schedule)
        if type(self.prediction) is Noise and not (chosen.clip_x0 or chosen.dynamic_threshold):
            found.append(
                "family.prediction=noise: an error of the network is sigma times as large in x0; sampling.clip_x0=true "
                "keeps estimates within images, and sampling.sampler=ddpm mends more than the others do"
            )
        return [*found, *self._unused(chosen)]

    def check_use(self, sampling: OptionGroup) -> None:
        """Refuse to learn a variance that the recipe's own sampler draws nothing from."""
        for clash in self._unused(_sampling(sampling)):
            raise BadInput(clash)

    def _unused(self, chosen: DiffusionSampling) -> list[str]:
        if not isinstance(self.variance, Learned) or chosen.sampler.draws_variance:
            return []
        name = Choice(SAMPLERS).name_of(chosen.sampler)
        return [
            f"family.variance=learned: sampling.sampler={name} as it is chosen makes no use of it; "
            "sampling.sampler={kind: ddpm, variances: learned} does"
        ]

    @field_validator("schedule")
    @classmethod
    def _has_a_range(cls, value: Schedule) -> Schedule:
        value.bounds()  # one end may be wrong only beside the other's default: told here, before training
        return value

    @model_validator(mode="after")
    def _has_labels_to_drop(self) -> Self:
        if self.label_dropout and not self.class_conditional:
            raise BadInput(
                f"label_dropout={self.label_dropout:g} drops classes, but class_conditional=false tells none; "
                "set one of the two"
            )
        return self


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
        self.options, self.codec, self.shape = options, codec, shape
        self.network = options.weighting.joined(network)
        self.importance = options.importance.drawing()
        self.num_classes = num_classes if options.class_conditional else 0

    def phases(self) -> list[Phase]:
        """One phase: the denoiser."""
        return [Phase(PHASE, self.network, self.loss, draw=self.draw)]

    def finish(self, update: int, sums: Mapping[str, Tensor]) -> None:
        """Tell the drawing of noise levels what the losses were."""
        self.importance.finish({name.removeprefix(f"{PHASE}/"): value for name, value in sums.items()})

    # --- What the network is told, and the denoiser it makes ---

    def condition(self, labels: Tensor | None, augmentation: Tensor | None = None) -> Condition:
        """Return what the network is told of a batch; labels only if the model is class conditional."""
        if not self.num_classes:
            return Condition(augmentation=augmentation)
        if labels is None:
            raise BadInput(f"labels: this model is class conditional and needs a class below {self.num_classes}")
        return Condition(labels=labels, augmentation=augmentation)

    def unconditional(self, labels: Tensor | None) -> Condition:
        """Return what the network is told in place of labels [N]: the null class; only where labels were dropped."""
        told = self.condition(labels).labels
        return Condition(labels=None if told is None else torch.full_like(told, self.num_classes))

    def denoiser(self, condition: Condition) -> Preconditioned:
        """Return D of the present weights under a condition."""
        chosen, network = self.options, self.network
        called: NetworkCall = Concatenating(network) if chosen.self_conditioning else network
        return chosen.variance.denoiser(called, chosen.prediction, chosen.level, chosen.schedule, condition)

    def drawing(self, condition: Condition) -> Denoiser:
        """Return D for one path from noise to image: self-conditioned, it remembers what it said."""
        denoise = self.denoiser(condition)
        return remembering(denoise) if self.options.self_conditioning else denoise

    # --- Learning ---

    @torch.no_grad()
    def draw(self, batch: Batch) -> Batch:
        """Put codes x0, sigma and noise n of every image into `batch.drawn`, and what it isn't told."""
        x0 = self.codec.encode(batch.images, AmbientNoise(batch.images.device)).float()
        drawn = {"x0": x0, **self.importance.draw(len(x0), self.options.schedule, x0.device), "n": torch.randn_like(x0)}
        if self.options.label_dropout:
            drawn["unlabelled"] = torch.rand(len(x0), device=x0.device) < self.options.label_dropout
        if self.options.self_conditioning:
            drawn["tried"] = torch.rand(len(x0), device=x0.device) < 0.5
        return replace(batch, drawn=drawn)

    def loss(self, batch: Batch) -> Loss:
        """Mean over a batch of w(sigma) c_out^2 |F - target|, the stable form of w |D - x0|; mse is |D - x0|^2."""
        batch = batch if batch.drawn else self.draw(batch)
        chosen, drawn = self.options, batch.drawn
        x0, sigma, n = drawn["x0"], drawn["sigma"], drawn["n"]
        x = x0 + per_row(sigma, x0) * n

        denoise = self._learning(batch, x)
        outputs = denoise.outputs(x, sigma)
        raw, share = outputs[:, : x0.shape[1]], outputs[:, x0.shape[1] :]
        target = chosen.prediction.target(x0, n, sigma)
        scale = chosen.prediction.c_out(sigma) ** 2
        weight = chosen.weighting.weight(sigma, chosen.prediction) * scale
        error = NORMS[chosen.norm](raw, target, reduction="none").flatten(1).mean(1)

        seen = Seen(batch.images, x0, sigma, denoise.denoised(raw.detach(), x, sigma), share)
        penalty, terms = chosen.variance.penalty(seen, chosen.schedule, self.codec)
        rows = chosen.weighting.balanced(weight * error, sigma, self.network) + penalty

        mse = scale * (raw.detach() - target).square().flatten(1).mean(1)
        parts = {"mse": mse, f"raw_{chosen.norm}": error.detach(), **terms}
        means = {name: self.importance.mean(part, drawn) for name, part in parts.items()}
        return Loss(self.importance.mean(rows, drawn), means, self.importance.sums(rows.detach(), drawn))

    def _learning(self, batch: Batch, x: Tensor) -> Preconditioned:
        """Return D told of each row what was drawn that it is to be told."""
        denoise = self.denoiser(self.condition(self._labels(batch), batch.augmentation))
        chosen = batch.drawn.get("tried")
        return denoise if chosen is None else tried(denoise, x, batch.drawn["sigma"], chosen)

    def _labels(self, batch: Batch) -> Tensor | None:
        """Labels int64 [N], some of them dropped."""
        unlabelled = batch.drawn.get("unlabelled")
        if batch.labels is None or unlabelled is None:
            return batch.labels
        return batch.labels.masked_fill(unlabelled, self.num_classes)

    # --- Drawing ---

    def generator(self, options: OptionGroup) -> DiffusionGenerator:
        """Return what draws from the present weights; BadInput for a grid, variance or guidance it doesn't have."""
        chosen, trained = _sampling(options), self.options.schedule
        chosen.guidance.check(self.num_classes, self.options.label_dropout)
        sigmas = chosen.levels(trained)
        chosen.sampler.check(len(sigmas) - 1, isinstance(self.options.variance, Learned))
        chosen.guidance.meet(sigmas)
        scale = trained.start_scale(float(sigmas[0]))
        return DiffusionGenerator(self, chosen, sigmas, scale, self.shape, self.num_classes)


def _sampling(options: OptionGroup) -> DiffusionSampling:
    if not isinstance(options, DiffusionSampling):
        raise TypeError(f"diffusion draws under DiffusionSampling, not {type(options).__name__}")
    return options
