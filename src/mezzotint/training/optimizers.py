"""Optimizers, their learning rates over a run, and their state as named tensors."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from inspect import unwrap
from typing import Annotated

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from mezzotint.options import Choice, Count, Options
from mezzotint.registry import Table

OPTIMIZERS = Table("optimizer", {"adam": Adam, "adamw": AdamW})


class Decay(Options):
    """How the learning rate falls over a run, as a factor of its peak."""

    def factor(self, images_seen: int, images: int) -> float:
        """Return the factor in [0, 1] after `images_seen` of `images`."""
        raise NotImplementedError


class Constant(Decay):
    """The peak rate throughout."""

    def factor(self, images_seen: int, images: int) -> float:
        """Return 1."""
        return 1.0


class Cosine(Decay):
    """Half a cosine from the peak rate down to a floor at the end of the run (Loshchilov & Hutter 2017, eq. 5)."""

    floor: float = Field(default=0.0, ge=0, le=1, description="final rate as a fraction of the peak")

    def factor(self, images_seen: int, images: int) -> float:
        """Return the cosine's height at this point of the run."""
        progress = min(images_seen / images, 1.0)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))


class Linear(Decay):
    """The peak rate, then a straight line down to 0 over the last part of the run."""

    fraction: float = Field(
        default=0.3, gt=0, le=1, description="part of the run, at its end, over which the rate falls"
    )

    def factor(self, images_seen: int, images: int) -> float:
        """Return the height of the line at this point of the run."""
        return min(1.0, max(0.0, (1 - images_seen / images) / self.fraction))


class Step(Decay):
    """Times a factor every so many images (StepLR)."""

    gamma: float = Field(default=0.85, gt=0, le=1, description="factor applied at each step")
    every_images: Count = Field(default=25_000, ge=1, description="images between steps")

    def factor(self, images_seen: int, images: int) -> float:
        """Return gamma to the number of steps passed."""
        return self.gamma ** (images_seen // self.every_images)


DECAYS = Table("decay", {"constant": Constant, "cosine": Cosine, "linear": Linear, "step": Step})


class OptimizerOptions(Options):
    """Adam's numbers and the learning rate over the run."""

    optimizer: str = Field(default="adamw", description="adam or adamw")
    learning_rate: float = Field(default=3e-4, gt=0, le=1, description="peak learning rate")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Adam's decay of the gradient's mean")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="Adam's decay of the gradient's square")
    epsilon: float = Field(default=1e-8, gt=0, description="Adam's epsilon")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled for adamw, added to the gradient for adam")
    warmup_images: Count = Field(default=5_000, ge=0, description="images over which the rate rises linearly from 0")
    decay: Annotated[Decay, Choice(DECAYS)] = Field(default=Constant(), description="how the rate falls after that")

    @field_validator("optimizer")
    @classmethod
    def _known(cls, value: str) -> str:
        OPTIMIZERS[value]  # an unknown one is refused at once
        return value

    def rate(self, images_seen: int, images: int) -> float:
        """Return the learning rate of the update that starts at `images_seen` of `images`.

        The warm-up takes at most a tenth of a short run.
        """
        warmup_images = min(self.warmup_images, images // 10)
        warm = min(1.0, (images_seen + 1) / warmup_images) if warmup_images else 1.0
        return self.learning_rate * warm * self.decay.factor(images_seen, images)


@cache
def _undecorated(kind: type[Optimizer]) -> Callable[..., Optimizer]:
    """Return the same optimizer without the decorators that import torch's compiler: a second of every start."""
    plain = {name: unwrap(getattr(kind, name)) for name in ("add_param_group", "zero_grad", "step")}
    return type(kind.__name__, (kind,), plain | {"step": torch.no_grad()(plain["step"])})


def build(options: OptimizerOptions, module: nn.Module) -> Optimizer:
    """Return the optimizer of one phase's module, with fused kernels."""
    return _undecorated(OPTIMIZERS[options.optimizer])(
        module.parameters(),
        lr=options.learning_rate,
        betas=(options.beta1, options.beta2),
        eps=options.epsilon,
        weight_decay=options.weight_decay,
        fused=True,
    )


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def state_tensors(optimizer: Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """Return the optimizer's state as `<parameter>/<slot>`, e.g. `conv_in.weight/exp_avg`."""
    named = module.named_parameters()
    return {f"{name}/{slot}": value for name, p in named for slot, value in optimizer.state[p].items()}


def load_state_tensors(optimizer: Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `state_tensors` gave, bit for bit and in the parameters' own memory layout."""
    parameters = dict(module.named_parameters())
    for key, value in tensors.items():
        name, _, slot = key.rpartition("/")
        parameter = parameters[name]
        like = torch.zeros_like(parameter) if value.shape == parameter.shape and value.ndim else torch.zeros_like(value)
        optimizer.state[parameter][slot] = like.copy_(value)
