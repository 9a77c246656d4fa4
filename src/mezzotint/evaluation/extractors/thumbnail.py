"""Mean and deviation of the levels in 8 x 8 squares: nothing to fetch, nothing to learn, for monitoring short runs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.evaluation.extractors import Batches, Extractor, ExtractorOptions, Features

SIDE = 8
"""Squares per side."""


class _Squares(nn.Module):
    def forward(self, pixels: Tensor) -> Features:
        levels = pixels.to(torch.float32).div_(255)
        mean, square = (F.adaptive_avg_pool2d(power, SIDE) for power in (levels, levels.square()))
        deviation = (square - mean.square()).clamp_min(0).sqrt()  # of what is finer than a square: blur lowers it
        return Features(torch.cat([mean, deviation], dim=1).flatten(1), None)


class Thumbnail(ExtractorOptions):
    """384 features: of each of 8 x 8 squares and 3 channels, the mean of its levels in 0..1 and their deviation.

    It tells collapse, blur and wrong colours; what is shown it doesn't know.
    """

    def load(self, labelled: Batches | None, device: torch.device) -> Extractor:
        """Return the extractor; `labelled` isn't used."""
        return Extractor("thumbnail", 2 * 3 * SIDE**2, _Squares(), f"means and deviations of {SIDE} x {SIDE}", device)
