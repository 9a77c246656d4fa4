"""Enlarge or reduce images about their centre, bilinear, mirrored at the borders."""

import math

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.augment import Augmentation, sometimes, uniform
from mezzotint.augment.moving import warped


class Scale(Augmentation):
    """Factors that are uniform in their logarithm; the number told is the base-2 logarithm."""

    factor: float = Field(default=1.2, ge=1.0, le=4.0, description="largest enlargement; the reduction is its inverse")
    probability: float = Field(default=0.5, ge=0.0, le=1.0, description="probability that an image is scaled")

    def width(self) -> int:
        """One number: log2 of the factor."""
        return 1

    def draw(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] -> float32 [N, 1]: log2 of the factor."""
        return sometimes(uniform(images, math.log2(self.factor)), self.probability)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images [N, C, H, W] -> the same images, larger or smaller within their frame."""
        still = torch.eye(2, device=images.device)
        return warped(images, torch.exp2(-drawn)[:, :, None] * still)
