"""Variance exploding: sigma geometric in u (Song et al. 2021, appendix C), from 0.02 to 100 for images in [-1, 1]."""

from typing import ClassVar

from torch import Tensor

from mezzotint.diffusion.schedules import Timed


class VE(Timed):
    """sigma = sigma_min (sigma_max / sigma_min)^t (Song et al. 2021, appendix C); theirs is 0.01 to 50 for [0, 1]."""

    RANGE: ClassVar[tuple[float, float]] = (0.02, 100.0)

    def time(self, sigma: Tensor) -> Tensor:
        """Its logarithm."""
        return sigma.log()

    def at(self, time: Tensor) -> Tensor:
        """exp(time)."""
        return time.exp()
