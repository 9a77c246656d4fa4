"""Mirror images left to right, each with a probability of its own draw."""

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.augment import Augmentation


class Flip(Augmentation):
    """Horizontal flips, independent for each image; the number told is 1 where an image is mirrored."""

    probability: float = Field(default=0.5, ge=0.0, le=1.0, description="probability that an image is mirrored")

    def width(self) -> int:
        """One number: mirrored or not."""
        return 1

    def draw(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] -> float32 [N, 1], 1 for the images to mirror."""
        return (torch.rand(len(images), device=images.device) < self.probability).float()[:, None]

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images [N, C, H, W] -> the same images, some mirrored in W."""
        return torch.where(drawn[:, :, None, None] > 0, images.flip(3), images)
