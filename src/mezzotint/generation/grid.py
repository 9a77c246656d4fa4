"""One sheet from many pictures, small ones enlarged by whole factors so that they can be seen."""

import math

import torch
from torch import Tensor

_VISIBLE = 48  # a cell this wide is readable at a glance
_LARGEST_SCALE = 8
_WHITE = 255


def visible_scale(height: int, width: int) -> int:
    """Return the whole factor that makes the shorter side at least 48 pixels, at most 8."""
    return min(_LARGEST_SCALE, math.ceil(_VISIBLE / min(height, width)))


def grid(pixels: Tensor, columns: int | None = None, gap: int = 2, scale: int | None = None) -> Tensor:
    """Pixels uint8 [N, C, H, W] -> one sheet uint8 [C, H', W'], row by row, on white.

    `columns` defaults to a square sheet; each picture is enlarged `scale` times (nearest) and set `gap` pixels apart.
    """
    count, channels, height, width = pixels.shape
    if count == 0:
        raise ValueError("a sheet needs at least one picture")
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    scale = scale or visible_scale(height, width)
    large = pixels.cpu().repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    # Each cell carries a gap above and to its left; one more closes the sheet at the bottom and the right.
    cells = large.new_full((rows * columns, channels, gap + height * scale, gap + width * scale), _WHITE)
    cells[:count, :, gap:, gap:] = large
    table = cells.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4)  # [C, rows, H, columns, W]
    sheet = table.flatten(3, 4).flatten(1, 2)
    return torch.nn.functional.pad(sheet, (0, gap, 0, gap), value=_WHITE)


def class_columns(num_classes: int, count: int) -> int | None:
    """Return a sheet's columns: one per class where a row holds them all, else None (as square as it gets)."""
    return num_classes if 2 <= num_classes <= min(count, 16) else None
