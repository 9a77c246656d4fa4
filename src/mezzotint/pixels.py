"""The only bridge between uint8 pixels and float images in [-1, 1], and between pixels and PNG files."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mezzotint.disk import write_bytes


def to_images(pixels: Tensor) -> Tensor:
    """Pixels uint8 [N, C, H, W] -> images float32 in [-1, 1]."""
    return pixels.to(torch.float32).div_(127.5).sub_(1.0)


def to_pixels(images: Tensor) -> Tensor:
    """Images float [N, C, H, W] in [-1, 1] -> pixels uint8: round, then saturate; not-a-number becomes 0."""
    grey_levels = (images.to(torch.float32) + 1.0) * 127.5
    return grey_levels.nan_to_num(nan=0.0).round_().clamp_(0, 255).to(torch.uint8)


def to_pillow(pixels: Tensor) -> Image.Image:
    """One picture uint8 [C, H, W], C = 1 or 3, as a Pillow image."""
    array = pixels.permute(1, 2, 0).contiguous().cpu().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def from_pillow(picture: Image.Image) -> Tensor:
    """A Pillow image in mode L or RGB as pixels uint8 [C, H, W]."""
    array = np.asarray(picture)
    return torch.from_numpy(np.atleast_3d(array).copy()).permute(2, 0, 1)


def write_png(path: Path, pixels: Tensor) -> None:
    """Write one picture uint8 [C, H, W] as PNG, appearing whole or not at all; `RunFailed` where the disk refuses."""
    buffer = io.BytesIO()
    to_pillow(pixels).save(buffer, format="PNG")
    # Waiting for the disk would take longer than drawing, and what a power failure loses can be drawn again.
    write_bytes(path, buffer.getvalue(), durable=False)


def read_png(path: Path) -> Tensor:
    """Read a PNG written by `write_png` back as pixels uint8 [C, H, W]."""
    with Image.open(path) as picture:
        return from_pillow(picture if picture.mode in ("L", "RGB") else picture.convert("RGB"))
