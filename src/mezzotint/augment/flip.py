"""Mirror images left to right, each with a probability of its own draw."""

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.augment import Augmentation


class Flip(Augmentation):
    """Horizontal flips, independent for each image."""

    probability: float = Field(default=0.5, ge=0.0, le=1.0, description="probability that an image is mirrored")

    def __call__(self, images: Tensor) -> Tensor:
        """Images float32 [N, C, H, W] -> the same images, some mirrored in W."""
        mirrored = torch.rand(len(images), device=images.device) < self.probability
        return torch.where(mirrored[:, None, None, None], images.flip(3), images)
