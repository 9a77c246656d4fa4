"""What is added to a side's loss to keep the game stable: penalties on slopes, each on its turns alone if asked.

Slopes are taken with respect to what the critic sees, after augmentation.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.options import Options
from mezzotint.registry import Table

Judge = Callable[[Tensor], Tensor]
"""Images [N, C, H, W] -> the critic's values [N], under the batch's labels."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a critic has just seen, float32 [N, C, H, W] that gradients reach, and its values [N]."""

    real: Tensor
    drawn: Tensor
    on_real: Tensor
    on_drawn: Tensor
    judge: Judge


class Regularizer(Options):
    """A penalty on every k-th of a side's turns, k times as strong (Karras et al. 2020, sec. 3.1).

    It is part of that turn's loss. Where it takes a step of its own, k + 1 steps stand for k and Adam's rate and betas
    are corrected for it (appendix B there); here the steps stay k, and so do they.
    """

    every: int = Field(default=1, ge=1, description="turns of its side from one to the next; each counts so many times")

    def due(self, turn: int) -> bool:
        """Whether this turn of its side has it."""
        return turn % self.every == 0


class CriticPenalty(Regularizer):
    """A penalty on the critic's slope."""

    target: ClassVar[float] = 0.0
    """The slope it pulls to."""

    def penalty(self, seen: Seen) -> Tensor:
        """Return the mean penalty, before its weight."""
        raise NotImplementedError(f"{type(self).__name__} must say what it penalises")

    def weight(self) -> float:
        """Return the factor on the penalty."""
        raise NotImplementedError(f"{type(self).__name__} must say how much it counts")


def exactly(device: torch.device, wanted: bool) -> AbstractContextManager[object]:
    """Return the context for a loss that holds slopes, where one is wanted: float32 in place of float16.

    Slopes are taken before the loss is scaled: in float16 small ones would be 0 on their way, and their penalty too.
    """
    kind = device.type
    halved = wanted and kind != "meta" and torch.is_autocast_enabled(kind)
    if halved and torch.get_autocast_dtype(kind) == torch.float16:
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def slopes(values: Tensor, inputs: Tensor) -> Tensor:
    """Gradients of values [N], each by its own row of inputs [N, *], as rows [N, D] to be differentiated again."""
    (gradient,) = torch.autograd.grad(values.sum(), inputs, create_graph=True)
    return gradient.flatten(1)


class GradientPenalty(CriticPenalty):
    """(|slope| - 1)^2 at random points between real and drawn images (Gulrajani et al. 2017, eq. 3)."""

    target: ClassVar[float] = 1.0
    strength: float = Field(default=10.0, gt=0.0, description="lambda, the factor on the penalty")

    def penalty(self, seen: Seen) -> Tensor:
        """Mean of (|gradient of D at u real + (1 - u) drawn| - 1)^2, u uniform for each pair."""
        u = torch.rand(len(seen.real), 1, 1, 1, device=seen.real.device)
        between = torch.lerp(seen.drawn, seen.real, u).detach().requires_grad_()
        return (slopes(seen.judge(between), between).norm(dim=1) - 1).square().mean()

    def weight(self) -> float:
        """Lambda."""
        return self.strength


class _ZeroCentred(CriticPenalty):
    gamma: float = Field(default=10.0, gt=0.0, description="gamma, twice the factor on the mean squared slope")

    def weight(self) -> float:
        """Gamma / 2."""
        return self.gamma / 2


class R1(_ZeroCentred):
    """Squared slope at real images (Mescheder et al. 2018, eq. 9)."""

    def penalty(self, seen: Seen) -> Tensor:
        """Mean of |gradient of D at real images|^2."""
        return slopes(seen.on_real, seen.real).square().sum(1).mean()


class R2(_ZeroCentred):
    """Squared slope at drawn images (Mescheder et al. 2018, eq. 10)."""

    def penalty(self, seen: Seen) -> Tensor:
        """Mean of |gradient of D at drawn images|^2."""
        return slopes(seen.on_drawn, seen.drawn).square().sum(1).mean()


class PathLength(Regularizer):
    """Deviation of the generator's slope in w from its running mean (Karras et al. 2020, eq. 4); needs a mapping."""

    every: int = Field(default=4, ge=1, description="turns of the generator from one to the next; each counts so many")
    strength: float = Field(default=2.0, gt=0.0, description="factor on the penalty")
    decay: float = Field(default=0.01, gt=0.0, le=1.0, description="share of a new mean in the running mean")

    def lengths(self, images: Tensor, w: Tensor) -> Tensor:
        """Images [N, C, H, W] drawn from w [N, layers, D] -> |J^T y| [N] for y normal, over the pixels' root number."""
        y = torch.randn_like(images) / (images.shape[2] * images.shape[3]) ** 0.5
        (gradient,) = torch.autograd.grad((images * y).sum(), w, create_graph=True)
        return gradient.square().sum(2).mean(1).sqrt()


REGULARIZERS = Table(
    "regularizer", {"gradient-penalty": GradientPenalty, "r1": R1, "r2": R2, "path-length": PathLength}
)
