"""Where a Gaussian likelihood's standard deviation comes from: given, learnt by gradients, or the best there is."""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from mezzotint.options import Options
from mezzotint.registry import Table

HALF_LEVEL = 1 / 255
"""Half the distance of two grey levels of images in [-1, 1]."""


class Scale(nn.Module):
    """One standard deviation for all pixels, in units of images in [-1, 1]."""

    sigma: Tensor

    def forward(self) -> Tensor:
        """Return the standard deviation, a scalar."""
        return self.sigma

    def adapt(self, squared_error: Tensor, update: int) -> None:
        """Take in the mean squared error of an update."""


class FixedScale(Scale):
    """A standard deviation that stays."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.register_buffer("sigma", torch.tensor(sigma), persistent=False)


class LearnedScale(Scale):
    """A standard deviation learnt by gradients, never below half a grey level."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma)))

    def forward(self) -> Tensor:
        """Return the standard deviation, a scalar."""
        return HALF_LEVEL + self.log_sigma.exp()


class OptimalScale(Scale):
    """The root of the mean squared error, which no other scale beats (optimal sigma, Rybkin et al. 2021)."""

    MEMORY = 100  # updates that the running mean goes back, all of them before

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sigma", torch.tensor(1.0))

    def adapt(self, squared_error: Tensor, update: int) -> None:
        """Move the running mean of squared errors towards this one."""
        rate = max(1 / update, 1 / self.MEMORY)
        square = self.sigma.square().lerp(squared_error.to(self.sigma), rate)
        self.sigma.copy_(square.sqrt().clamp(min=HALF_LEVEL))


class ScaleOptions(Options):
    """What every scale is asked."""

    def build(self) -> Scale:
        """Return the scale, with what it learns."""
        raise NotImplementedError


class Fixed(ScaleOptions):
    """One number, given."""

    sigma: float = Field(default=1.0, gt=0, le=100, description="standard deviation in units of images in [-1, 1]")

    def build(self) -> Scale:
        """Return the scale."""
        return FixedScale(self.sigma)


class Learned(ScaleOptions):
    """One number, learnt by gradients beside the weights."""

    sigma: float = Field(default=0.5, gt=0, le=100, description="where it begins, in units of images in [-1, 1]")

    def build(self) -> Scale:
        """Return the scale."""
        return LearnedScale(self.sigma)


class Optimal(ScaleOptions):
    """One number, the root of the mean squared error of about the last hundred updates."""

    def build(self) -> Scale:
        """Return the scale."""
        return OptimalScale()


SCALES = Table("scale", {"fixed": Fixed, "learned": Learned, "optimal": Optimal})
