"""Self-conditioning (Chen et al. 2023, "Analog bits", section 3): a denoiser sees its previous estimate of x0.

The network reads both side by side as channels, so none needs to know; the estimate travels in `Condition.previous`.
"""

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from mezzotint.contracts import Condition, Denoiser
from mezzotint.diffusion.denoiser import Preconditioned, VariancePreconditioned, per_row

_D = TypeVar("_D", bound=Preconditioned)


@dataclass(frozen=True)
class Concatenating:
    """A network of 2C channels called like one of C: what it reads besides is the previous estimate, zeros if none."""

    network: nn.Module

    def __call__(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Scaled noisy codes [N, C, *], level [N], the estimate in `condition.previous` -> what the network returns."""
        previous = torch.zeros_like(x) if condition.previous is None else condition.previous.to(x.dtype)
        return self.network(torch.cat([x, previous], 1), level, replace(condition, previous=None))


def told(trained: _D, previous: Tensor | None) -> _D:
    """Return a denoiser that is told a previous estimate [N, C, *]."""
    return replace(trained, condition=replace(trained.condition, previous=previous))


def tried(trained: Preconditioned, x: Tensor, sigma: Tensor, chosen: Tensor) -> Preconditioned:
    """Return a denoiser told its own first estimate at x, without gradient, where `chosen` bool [N] says so.

    All rows are tried: a part of them would have another shape each time, and other dropout in slices.
    """
    with torch.no_grad():
        first = trained(x, sigma)
    torch.clear_autocast_cache()  # weights cast where no gradient was wanted would pass none on later
    return told(trained, per_row(chosen, first) * first)


@dataclass
class Remembering(Generic[_D]):
    """A denoiser that is told its own last output: made anew for each path from noise to image.

    An image asked for again where it already is (one that waits for others, with adaptive steps) is told nothing new:
    what becomes of it is not to depend on how long others take.
    """

    trained: _D
    last: Tensor | None = None
    _at: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Noisy codes [N, C, *], sigma [N] -> denoised codes, remembered for the next call."""
        now = told(self.trained, self.last)(x, sigma)
        if self.last is not None and self._at is not None:
            now = torch.where(_unmoved(x, sigma, *self._at), self.last, now)
        self.last, self._at = now, (x, sigma)
        return now


def _unmoved(x: Tensor, sigma: Tensor, x_before: Tensor, sigma_before: Tensor) -> Tensor:
    """Which rows of codes [N, *] at sigma [N] are where they were before: bool [N, 1, ...]."""
    same = (x == x_before).flatten(1).all(1) & (sigma == sigma_before)
    return same.reshape(-1, *[1] * (x.ndim - 1))


@dataclass
class VarianceRemembering(Remembering[VariancePreconditioned]):
    """The same of a denoiser that learnt a variance."""

    def with_variance(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return denoised codes, remembered, and v."""
        self.last, v = told(self.trained, self.last).with_variance(x, sigma)
        return self.last, v


def remembering(trained: Preconditioned) -> Denoiser:
    """Return a denoiser for one path from noise to image; one that learnt a variance stays one."""
    learnt = isinstance(trained, VariancePreconditioned)
    return VarianceRemembering(trained) if learnt else Remembering(trained)
