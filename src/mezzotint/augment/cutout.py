"""Cover a square with mid-grey (DeVries & Taylor 2017)."""

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.augment import Augmentation, sometimes


class Cutout(Augmentation):
    """One square per image, centred anywhere, so that part of it may lie outside.

    The numbers told are its side as a fraction of the image's, and its centre from the image's, down and right.
    """

    fraction: float = Field(default=0.5, ge=0.0, le=1.0, description="side of the square, as a fraction of the image's")
    probability: float = Field(default=0.5, ge=0.0, le=1.0, description="probability that an image is covered")

    def width(self) -> int:
        """Three numbers: side, down, right."""
        return 3

    def draw(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] -> float32 [N, 3]: the side, and a centre uniform in [-1/2, 1/2] x [-1/2, 1/2]."""
        centre = torch.rand(len(images), 2, device=images.device) - 0.5
        side = torch.full_like(centre[:, :1], self.fraction)
        return sometimes(torch.cat([side, centre], dim=1), self.probability)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images [N, C, H, W] -> the same images, a square of each set to 0."""
        side, down, right = drawn.unbind(1)
        covered = _between(down, side, images.shape[2])[:, :, None] & _between(right, side, images.shape[3])[:, None]
        return images.masked_fill(covered[:, None], 0)


def _between(centre: Tensor, side: Tensor, size: int) -> Tensor:
    """Centre and side [N] as fractions -> bool [N, size], which pixels a span of whole pixels covers."""
    length = (side * size).round()
    first = ((centre + 0.5) * size - length / 2).round()
    places = torch.arange(size, device=centre.device) - first[:, None]
    return (places >= 0) & (places < length[:, None])
