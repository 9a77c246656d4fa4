"""Pixels moved: by whole pixels, or along an affine map; shared by the augmentations that move them."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Padding = Literal["reflect", "zero"]


def moved(images: Tensor, steps: Tensor, padding: Padding) -> Tensor:
    """Move images [N, C, H, W] down and right by whole pixels [N, 2]; what comes in is mirrored or 0 (mid-grey)."""
    count, channels, height, width = images.shape
    steps = steps.round().long()
    rows = torch.arange(height, device=images.device) - steps[:, :1]  # [N, H]: where each row comes from
    columns = torch.arange(width, device=images.device) - steps[:, 1:]
    row, column = (_reflected(rows, height), _reflected(columns, width))
    n = torch.arange(count, device=images.device)[:, None, None, None]
    c = torch.arange(channels, device=images.device)[:, None, None]
    taken = images[n, c, row[:, None, :, None], column[:, None, None, :]]
    if padding == "reflect":
        return taken
    inside = ((rows == row)[:, :, None] & (columns == column)[:, None, :])[:, None]
    return torch.where(inside, taken, torch.zeros((), dtype=images.dtype, device=images.device))


def _reflected(places: Tensor, size: int) -> Tensor:
    """Mirror places at the centres of the outermost pixels: -1 is 1, and `size` is `size` - 2."""
    period = max(2 * (size - 1), 1)
    places = places.remainder(period)
    return torch.minimum(places, period - places) if size > 1 else torch.zeros_like(places)


def warped(images: Tensor, matrix: Tensor) -> Tensor:
    """Look images [N, C, H, W] up at matrix [N, 2, 2] times (x, y), from the centre; bilinear, mirrored at the borders.

    Images whose matrix is exactly the identity come out bit for bit. Distances are in halves of a side, so a map that
    keeps angles keeps them on square images alone. Nothing is averaged: an image made much smaller aliases.
    """
    matrix = matrix.to(images.dtype)
    grid = F.affine_grid(F.pad(matrix, (0, 1)), list(images.shape), align_corners=False)
    looked_up = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    still = (matrix == torch.eye(2, dtype=matrix.dtype, device=matrix.device)).flatten(1).all(1)
    return torch.where(still[:, None, None, None], images, looked_up)
