"""Halving and doubling of features without weights, plain or anti-aliased, and as part of a residual block."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.networks.blocks import Upsample, conv3x3, glorot

_BINOMIAL = (1.0, 3.0, 3.0, 1.0)  # the low-pass filter of Karras et al. 2019, as Song et al. 2021 (appendix H.1) use it


class Halve(nn.Module):
    """Features [N, C, H, W] -> [N, C, H/2, W/2]: means of 2 x 2."""

    def forward(self, x: Tensor) -> Tensor:
        """Average squares of four."""
        return F.avg_pool2d(x, 2)


class Double(nn.Module):
    """Features [N, C, H, W] -> [N, C, 2 H, 2 W]: every pixel four times."""

    def forward(self, x: Tensor) -> Tensor:
        """Repeat pixels."""
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


class _Smooth(nn.Module):
    """The low-pass filter, an outer product that sums to `total`; beyond the border there are zeros."""

    kernel: Tensor

    def __init__(self, total: float) -> None:
        super().__init__()
        taps = torch.tensor(_BINOMIAL) / sum(_BINOMIAL)
        self.register_buffer("kernel", total * taps.outer(taps)[None, None], persistent=False)

    def _per_channel(self, x: Tensor) -> Tensor:
        return self.kernel.to(x.dtype).expand(x.shape[1], 1, 4, 4)


class SmoothHalve(_Smooth):
    """Features [N, C, H, W] -> [N, C, H/2, W/2]: low-pass filter, then every second pixel (Zhang 2019, sec. 3.2)."""

    def __init__(self) -> None:
        super().__init__(1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Filter at every second pixel."""
        return F.conv2d(x, self._per_channel(x), stride=2, padding=1, groups=x.shape[1])


class SmoothDouble(_Smooth):
    """Features [N, C, H, W] -> [N, C, 2 H, 2 W]: zeros in between, then the low-pass filter (Karras et al. 2019)."""

    def __init__(self) -> None:
        super().__init__(4.0)

    def forward(self, x: Tensor) -> Tensor:
        """Filter between zeros: within the image this is bilinear interpolation."""
        return F.conv_transpose2d(x, self._per_channel(x), stride=2, padding=1, groups=x.shape[1])


@dataclass(frozen=True)
class Move:
    """A residual block's way to another resolution (Brock et al. 2019, fig. 15): by itself, and before a convolution.

    `convolved` takes the channels, which stay.
    """

    alone: Callable[[], nn.Module]
    convolved: Callable[[int], nn.Module]


def _then_convolution(move: Callable[[], nn.Module]) -> Callable[[int], nn.Module]:
    return lambda channels: nn.Sequential(move(), glorot(conv3x3(channels, channels)))


HALVE = Move(Halve, _then_convolution(Halve))
DOUBLE = Move(Double, Upsample)  # which does both at once
SMOOTH_HALVE = Move(SmoothHalve, _then_convolution(SmoothHalve))
SMOOTH_DOUBLE = Move(SmoothDouble, _then_convolution(SmoothDouble))
