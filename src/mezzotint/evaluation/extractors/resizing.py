"""How extractors resize, each exactly as the network that it feeds was trained and is used elsewhere."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from mezzotint.pixels import from_pillow, to_pillow

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _neighbours(length: int, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each of `size` places the entry before it, the one after it, and how far it is between them."""
    place = torch.arange(size, dtype=torch.float32, device=device) * torch.tensor(length / size, dtype=torch.float32)
    before = place.long()
    return before, (before + 1).clamp_max(length - 1), place - before


def tensorflow_bilinear(pixels: Tensor, size: int) -> Tensor:
    """Pixels uint8 [N, 3, H, W] -> float32 [N, 3, size, size] in 0..255, channels last: TensorFlow 1's resize.

    Output pixel i lies at i H / size, corners not aligned and no half-pixel shift; no antialiasing.
    """
    x = pixels.permute(0, 2, 3, 1).to(torch.float32)
    for dim, shape in ((2, (-1, 1)), (1, (-1, 1, 1))):
        before, after, share = _neighbours(x.shape[dim], size, x.device)
        low = x.index_select(dim, before)
        x = x.index_select(dim, after).sub_(low).mul_(share.view(shape)).add_(low)
    return x.permute(0, 3, 1, 2)


def pillow_bicubic(pixels: Tensor, height: int, width: int) -> Tensor:
    """Pixels uint8 [N, 3, H, W] -> [N, 3, height, width] on the same device: Pillow's bicubic, antialiased."""
    resized = [
        from_pillow(to_pillow(picture).resize((width, height), Image.Resampling.BICUBIC)) for picture in pixels.cpu()
    ]
    return torch.stack(resized).to(pixels.device)


def standardised(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Float [N, 3, H, W] in 0..1 -> `(images - mean) / std` in each channel, channels last; the input is reused."""
    shift, scale = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (mean, std))
    return images.sub_(shift).div_(scale).contiguous(memory_format=torch.channels_last)
