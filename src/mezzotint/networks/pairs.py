"""What generators and critics of several kinds share: sizes, activations, class labels, spectral norm."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from mezzotint.errors import BadInput

SMALLEST, LARGEST_BASE = 4, 7
Activation = Literal["relu", "leaky-relu", "relu6", "elu"]
ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": partial(nn.LeakyReLU, 0.2),
    "relu6": nn.ReLU6,
    "elu": nn.ELU,
}


def sides(image_size: int) -> list[int]:
    """Return features per side from the smallest level (4 to 7) to the image's own, each twice the last.

    `BadInput` where an image can't be halved down to that, with the nearest sizes that can.
    """
    found = [image_size]
    while found[0] > LARGEST_BASE and found[0] % 2 == 0:
        found.insert(0, found[0] // 2)
    if not SMALLEST <= found[0] <= LARGEST_BASE or len(found) == 1:
        known = sorted(base * 2**k for base in range(SMALLEST, LARGEST_BASE + 1) for k in range(1, 8))
        near = [max((n for n in known if n < image_size), default=known[0]), min(n for n in known if n > image_size)]
        raise BadInput(
            f"image_size={image_size} can't be halved down to 4 to 7 features per side; nearest that can: "
            f"data.image_size={near[0]} or {near[1]}"
        )
    return found


def widths(features: int, levels: int, most: int) -> list[int]:
    """Return features of each level, smallest side first: doubled at every halving, at most `most` times."""
    return [features * min(2**i, most) for i in reversed(range(levels))]


def constraint(spectral: bool) -> Callable[[nn.Module], nn.Module]:
    """Return what divides a layer's weight by its largest singular value (Miyato et al. 2018, eq. 8), or nothing."""
    return spectral_norm if spectral else lambda layer: layer


def needed(labels: Tensor | None, num_classes: int) -> Tensor:
    """Return the labels; `BadInput` where a network with classes is given none."""
    if labels is None:
        raise BadInput(f"labels: a network of {num_classes} classes needs one for every image")
    return labels


class LabelledLatent(nn.Module):
    """Latent [N, D] -> [N, D], or [N, 2 D] with an embedding of the class behind it."""

    def __init__(self, latent: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.width = 2 * latent if num_classes else latent
        if num_classes:
            self.embedding = nn.Embedding(num_classes, latent)

    def forward(self, latent: Tensor, labels: Tensor | None) -> Tensor:
        """Latent [N, D], labels int64 [N] if there are classes -> [N, width]."""
        if not self.num_classes:
            return latent
        return torch.cat([latent, self.embedding(needed(labels, self.num_classes))], dim=1)


class Verdict(nn.Module):
    """Features h [N, C, B, B] to one number: linear(h), plus <embedding(y), sum of h> where there are classes.

    The projection critic (Miyato & Koyama 2018, eq. 3). `linear` and `embedding` make a layer from width in and out.
    """

    def __init__(
        self,
        channels: int,
        side: int,
        num_classes: int,
        spectral: bool = False,
        linear: Callable[[int, int], nn.Module] = nn.Linear,
        embedding: Callable[[int, int], nn.Module] = nn.Embedding,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.linear = constraint(spectral)(linear(channels * side**2, 1))
        if num_classes:
            self.embedding = constraint(spectral)(embedding(num_classes, channels))

    def forward(self, h: Tensor, labels: Tensor | None) -> Tensor:
        """Features [N, C, B, B], labels int64 [N] if there are classes -> [N]."""
        value = self.linear(h.flatten(1)).squeeze(1)
        if not self.num_classes:
            return value
        return value + (self.embedding(needed(labels, self.num_classes)) * h.sum((2, 3))).sum(1)
