"""Rotate images about their centre, bilinear, mirrored at the borders."""

import math

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.augment import Augmentation, sometimes, uniform
from mezzotint.augment.moving import warped


class Rotation(Augmentation):
    """Turns by a uniform angle; the numbers told are cos - 1 and sin (Karras et al. 2022, appendix F.2)."""

    degrees: float = Field(default=10.0, ge=0.0, le=180.0, description="largest angle either way, in degrees")
    probability: float = Field(default=0.5, ge=0.0, le=1.0, description="probability that an image is rotated")

    def width(self) -> int:
        """Two numbers: cos - 1, sin."""
        return 2

    def draw(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] -> float32 [N, 2]: cos - 1 and sin of the angle, counterclockwise."""
        angle = sometimes(uniform(images, math.radians(self.degrees)), self.probability)
        return torch.cat([angle.cos() - 1, angle.sin()], dim=1)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images [N, C, S, S] -> the same images, rotated."""
        cos, sin = 1 + drawn[:, 0], drawn[:, 1]
        return warped(images, torch.stack([cos, -sin, sin, cos], dim=1).unflatten(1, (2, 2)))
