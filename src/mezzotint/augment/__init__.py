"""Augmentation of whole batches on the device: what may change about an image without changing what it shows.

An augmentation draws numbers for every image, then changes the images by them. All numbers zero: nothing is changed.
So the numbers say what was done, and a network may be told them (Karras et al. 2022, appendix F.2).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mezzotint.options import Options
from mezzotint.registry import Folder

AUGMENTATIONS = Folder("mezzotint.augment", "augmentation")


class Augmentation(Options):
    """A random change of images, drawn from torch's default generator on their device, differentiable in the images."""

    def width(self) -> int:
        """Return how many numbers tell what was done to one image."""
        raise NotImplementedError(f"{type(self).__name__} must say how many numbers it draws")

    def draw(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] -> float32 [N, width]: what to do to each; a row of zeros leaves its image alone."""
        raise NotImplementedError(f"{type(self).__name__} must say what it draws")

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images float [N, C, H, W] in [-1, 1], what to do [N, width] -> images, where zero bit for bit the same."""
        raise NotImplementedError(f"{type(self).__name__} must say how it changes images")

    def __call__(self, images: Tensor) -> Tensor:
        """Images float [N, C, H, W] in [-1, 1] -> images of the same shape, changed at random."""
        return self.apply(images, self.draw(images))


def augmented(steps: Sequence[Augmentation], images: Tensor) -> tuple[Tensor, Tensor]:
    """Apply augmentations in turn: images [N, C, H, W] -> images, and float32 [N, sum of widths] that tells all."""
    told = [torch.zeros(len(images), 0, device=images.device)]
    for step in steps:
        told.append(step.draw(images))
        images = step.apply(images, told[-1])
    return images, torch.cat(told, dim=1)


def sometimes(drawn: Tensor, probability: float) -> Tensor:
    """Set rows of [N, P] to zero, each with probability 1 - `probability`, by a draw of its own."""
    kept = torch.rand(len(drawn), 1, device=drawn.device) < probability
    return torch.where(kept, drawn, torch.zeros_like(drawn))


def uniform(images: Tensor, *largest: float) -> Tensor:
    """Draw float32 [N, P], column p uniform between plus and minus the p-th of `largest`."""
    scale = torch.tensor(largest, device=images.device)
    return (2 * torch.rand(len(images), len(largest), device=images.device) - 1) * scale


def per_image(column: Tensor, images: Tensor) -> Tensor:
    """One number per image [N] -> [N, 1, 1, 1] in the images' dtype."""
    return column.to(images.dtype)[:, None, None, None]
