"""Colours changed by one number per image; zero changes nothing. Shared by the augmentations that change them.

`lerp` gives its end bit for bit at weight 1, and makes no copies besides its result.
"""

import math

import torch
from torch import Tensor

from mezzotint.augment import per_image


def brighter(images: Tensor, added: Tensor) -> Tensor:
    """Add one number per image [N], in units of images (black is -1, white 1), to images [N, C, H, W]."""
    return images + per_image(added, images)


def contrasted(images: Tensor, change: Tensor) -> Tensor:
    """Multiply the distance from an image's own mean by 1 + change [N]."""
    return torch.lerp(images.mean((1, 2, 3), keepdim=True), images, 1 + per_image(change, images))


def saturated(images: Tensor, change: Tensor) -> Tensor:
    """Multiply the distance from every pixel's own grey, the mean of its channels, by 1 + change [N]."""
    return torch.lerp(images.mean(1, keepdim=True), images, 1 + per_image(change, images))


def hued(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the colours of images [N, 3, H, W] about the grey axis by so many full turns [N] (Rodrigues' rotation)."""
    angle = per_image(turns, images) * math.tau
    along = torch.lerp(images.mean(1, keepdim=True), images, angle.cos())
    across = images.roll(1, dims=1) - images.roll(-1, dims=1)  # the axis (1, 1, 1) x pixel
    return torch.addcmul(along, angle.sin() / math.sqrt(3), across)
