"""Codecs: what the network sees instead of images. Built by a run, handed to its family."""

import math
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field
from torch import Tensor

from mezzotint.contracts import Noise
from mezzotint.errors import BadInput
from mezzotint.options import Options
from mezzotint.registry import Table


class Moments(Options):
    """Mean and standard deviation of each channel of images in [-1, 1], over all of them."""

    mean: tuple[float, ...] = Field(description="mean of each channel")
    std: tuple[float, ...] = Field(description="standard deviation of each channel")

    @classmethod
    def of_levels(cls, mean: Sequence[float], std: Sequence[float]) -> Self:
        """Return the moments of images from those of levels in 0..1, as packs keep them."""
        return cls(mean=tuple(2 * level - 1 for level in mean), std=tuple(2 * level for level in std))


def unseen(channels: int) -> Moments:
    """Return what is assumed of images before there are any: mid-grey on average, half of the range deviation."""
    return Moments(mean=(0.0,) * channels, std=(0.5,) * channels)


class CodecOptions(Options):
    """What every codec is asked when a run begins."""

    def measured(self, images: Moments) -> Self:
        """Return this codec with what it leaves to the images filled in."""
        return self

    def deviation(self, images: Moments) -> float:
        """Return the standard deviation of the codes: the root of the mean of the channels' variances."""
        return _pooled(images.std)


def _pooled(std: Sequence[float]) -> float:
    return math.sqrt(sum(value**2 for value in std) / len(std))


class Identity(CodecOptions):
    """The images themselves."""

    def encode(self, images: Tensor, noise: Noise) -> Tensor:
        """Images [N, C, H, W] -> the same."""
        return images

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [N, C, H, W] -> the same."""
        return codes

    def clip(self, codes: Tensor) -> Tensor:
        """Codes [N, C, H, W] -> the same in [-1, 1]."""
        return codes.clamp(-1, 1)


class Standardize(CodecOptions):
    """Images less their mean, over their standard deviation, channel by channel: codes of mean 0 and deviation 1."""

    mean: tuple[Annotated[float, Field(ge=-1, le=1)], ...] | None = Field(
        default=None, description="mean of each channel of images in [-1, 1]; null: measured when a run begins"
    )
    std: tuple[Annotated[float, Field(gt=0, le=1)], ...] | None = Field(
        default=None, description="standard deviation of each channel; null: measured when a run begins"
    )

    def measured(self, images: Moments) -> Self:
        """Return this codec with open moments taken from the images; `BadInput` where these don't do."""
        if self.std is None and min(images.std) <= 0:
            raise BadInput("codec.std: a channel of the images has one level alone and can't be divided by 0")
        for name, given in (("mean", self.mean), ("std", self.std)):
            if given is not None and len(given) != len(images.std):
                raise BadInput(f"codec.{name}: {len(given)} numbers for {len(images.std)} channels; null measures them")
        return self.but(
            mean=images.mean if self.mean is None else self.mean, std=images.std if self.std is None else self.std
        )

    def deviation(self, images: Moments) -> float:
        """Return the standard deviation of the codes: 1 where the moments are the images' own."""
        _, std = self._known()
        return _pooled([found / divisor for found, divisor in zip(images.std, std, strict=True)])

    def encode(self, images: Tensor, noise: Noise) -> Tensor:
        """Images [N, C, H, W] -> (images - mean) / std."""
        mean, std = self._moments(images)
        return (images - mean) / std

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [N, C, H, W] -> codes std + mean."""
        mean, std = self._moments(codes)
        return codes * std + mean

    def clip(self, codes: Tensor) -> Tensor:
        """Codes [N, C, H, W] -> the codes of their images' clipping to [-1, 1]."""
        mean, std = self._moments(codes)
        return codes.clamp((-1 - mean) / std, (1 - mean) / std)

    def _known(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if self.mean is None or self.std is None:
            raise BadInput("codec: standardize is measured when a run begins; elsewhere mean and std must be given")
        return self.mean, self.std

    def _moments(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (like.new_tensor(values)[:, None, None] for values in self._known())
        return mean, std


CODECS = Table("codec", {"identity": Identity, "standardize": Standardize})
