"""What a network is told besides its input: the noise level, the class, what was done to the image; one embedding."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.errors import BadInput
from mezzotint.networks import NetworkShape
from mezzotint.networks.blocks import LevelEmbedding, glorot


class Told(nn.Module):
    """Level [N] and condition -> embedding [N, width]: the sum of what embeds each of them.

    Labels join where the shape has classes, else they are ignored. What was done to an image joins by a linear map
    without bias: being told nothing and being told zeros are the same (Karras et al. 2022, appendix F.2).
    """

    def __init__(self, shape: NetworkShape, level: nn.Module, level_scale: float, width: int) -> None:
        super().__init__()
        self.shape, self.level_scale = shape, level_scale
        self.level = level
        if shape.num_classes:
            self.labels = nn.Embedding(shape.num_classes, width)
        if shape.augmentation:
            self.augmentation = glorot(nn.Linear(shape.augmentation, width, bias=False))

    def forward(self, level: Tensor, condition: Condition) -> Tensor:
        """Level [N]; labels int64 [N] if there are classes -> [N, width], not activated."""
        embedding = self.level(level * self.level_scale)
        if self.shape.augmentation and condition.augmentation is not None:
            embedding = embedding + self.augmentation(condition.augmentation.to(embedding.dtype))
        if not self.shape.num_classes:
            return embedding
        if condition.labels is None:
            raise BadInput(f"a network of {self.shape.num_classes} classes needs labels")
        return embedding + self.labels(condition.labels)


def waves(level: Tensor, frequencies: Tensor) -> Tensor:
    """Level [N], frequencies [W] in periods -> [N, 2 W]: sines, then cosines, of 2 pi level f; at least float32."""
    angles = 2 * math.pi * level.to(frequencies.dtype)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class FourierEmbedding(LevelEmbedding):
    """Random Fourier features of the level, linear, SiLU, linear (Tancik et al. 2020; Song et al. 2021, appendix H.1).

    The frequencies are drawn once, normal with standard deviation `scale`, and kept.
    """

    frequencies: Tensor

    def __init__(self, width: int, width_out: int, scale: float) -> None:
        super().__init__(width, width_out)
        self.register_buffer("frequencies", scale * torch.randn(width // 2))

    def forward(self, level: Tensor) -> Tensor:
        """Level [N] -> [N, width_out]."""
        features = waves(level, self.frequencies).to(self.linear1.weight.dtype)
        return self.linear2(F.silu(self.linear1(features)))
