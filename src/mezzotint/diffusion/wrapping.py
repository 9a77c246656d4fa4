"""Denoisers around a denoiser: what becomes of its estimate of x0 before a sampler sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mezzotint.contracts import Codec, Denoiser, VarianceDenoiser
from mezzotint.diffusion.denoiser import per_row


@dataclass(frozen=True)
class Still:
    """No noise: what an encoder that draws is given where its mean is wanted."""

    device: torch.device

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Return zeros of the shape."""
        return torch.zeros(*shape, device=self.device)


class Change(Protocol):
    """What becomes of an estimate."""

    def __call__(self, denoised: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoised codes [N, *] of noisy codes x at sigma [N] -> what the sampler sees instead."""
        ...


@dataclass(frozen=True)
class Wrapped:
    """A denoiser whose estimate is changed."""

    inner: Denoiser
    change: Change

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Noisy codes [N, *], sigma [N] -> denoised codes [N, *], changed."""
        return self.change(self.inner(x, sigma), x, sigma)


@dataclass(frozen=True)
class VarianceWrapped(Wrapped):
    """The same around a denoiser that learnt a variance, which is handed on as it is."""

    inner: VarianceDenoiser

    def with_variance(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return denoised codes [N, *], changed, and v as the denoiser inside gives it."""
        denoised, v = self.inner.with_variance(x, sigma)
        return self.change(denoised, x, sigma), v


def wrapped(inner: Denoiser, change: Change) -> Denoiser:
    """Return a denoiser whose estimate is changed; one that learnt a variance stays one."""
    return VarianceWrapped(inner, change) if isinstance(inner, VarianceDenoiser) else Wrapped(inner, change)


@dataclass(frozen=True)
class Clipped:
    """The estimate clipped to codes of images in [-1, 1] (Ho et al. 2020, section 3.3)."""

    codec: Codec

    def __call__(self, denoised: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoised codes [N, *] -> the nearest ones of images in [-1, 1]."""
        return self.codec.clip(denoised)


@dataclass(frozen=True)
class Thresholded:
    """Dynamic thresholding (Saharia et al. 2022, section 2.3): each image clipped to [-s, s] and divided by s.

    s is a quantile of the image's absolute values, at least 1: a saturated image keeps its contrasts.
    """

    codec: Codec
    quantile: float

    def __call__(self, denoised: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoised codes [N, *] -> codes of images brought into [-1, 1]."""
        images = self.codec.decode(denoised)
        limit = per_row(self._limits(images), images)
        return self.codec.encode(images.clamp(-limit, limit) / limit, Still(images.device))

    def _limits(self, images: Tensor) -> Tensor:
        """Images [N, *] -> s [N]; by sorting, as `torch.quantile` refuses large tensors."""
        ordered = images.abs().flatten(1).sort(1).values
        position = self.quantile * (ordered.shape[1] - 1)
        below = int(position)
        above = min(below + 1, ordered.shape[1] - 1)
        return ordered[:, below].lerp(ordered[:, above], position - below).clamp_min(1)
