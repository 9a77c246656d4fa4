"""The straight path (1 - t) x0 + t n (Lipman et al. 2023; Liu et al. 2023): sigma = t / (1 - t), t regular in u."""

from typing import ClassVar

from torch import Tensor

from mezzotint.diffusion.schedules import Timed


class Flow(Timed):
    """Sigma = t / (1 - t), cut at the range's ends. Its logit-normal density of t (Esser et al. 2024) is `log-normal`.

    Because ln sigma = logit t: with location m and scale s, `log-normal` with mean m and std s draws the same noise.
    """

    RANGE: ClassVar[tuple[float, float]] = (0.001, 1000.0)

    def alpha(self, sigma: Tensor) -> Tensor:
        """1 - t."""
        return 1 / (1 + sigma)

    def time(self, sigma: Tensor) -> Tensor:
        """T of the path."""
        return sigma / (1 + sigma)

    def at(self, time: Tensor) -> Tensor:
        """T / (1 - t)."""
        return time / (1 - time)
