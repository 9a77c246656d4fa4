"""Samplers: one move down in sigma each, and `integrate`, the only sampling loop."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from mezzotint.contracts import Denoiser, Noise, VarianceDenoiser
from mezzotint.errors import BadInput
from mezzotint.options import Options
from mezzotint.registry import Folder

Memory = Any
"""What a sampler carries from one move to the next: whatever it likes; None for the memoryless."""


class Sampler(Options):
    """A rule for one move from noise level sigma to a lower one, in variance-exploding coordinates."""

    @property
    def order(self) -> int:
        """Order of convergence to the probability-flow ODE; 0 = stochastic, right in distribution only."""
        raise NotImplementedError(f"{type(self).__name__} must say its order")

    @property
    def least_steps(self) -> int:
        """Fewest moves of a grid it can do anything with, the one to 0 included."""
        return 1

    @property
    def draws_variance(self) -> bool:
        """Whether it moves with the variance that a denoiser learnt."""
        return False

    def check(self, steps: int, learned_variance: bool) -> None:
        """Refuse, before anything is drawn, a grid of too few moves, and a denoiser that lacks what is asked."""
        if steps < self.least_steps:
            name = type(self).__name__.lower()
            raise BadInput(f"steps: sampler {name} needs at least {self.least_steps}, got {steps}")

    def begin(self, steps: int) -> Memory:
        """Return the memory before the first of `steps` moves."""
        return None

    def step(
        self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, memory: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Move noisy codes x [N, *] from sigma to sigma_next < sigma; return them and the new memory."""
        raise NotImplementedError(f"{type(self).__name__} must say how it moves")

    def calls(self, memory: Memory) -> Tensor | None:
        """Return how many calls of the denoiser each image needed so far, int64 [N]; None: all that were made."""
        return None


SAMPLERS = Folder("mezzotint.samplers", "sampler")


@dataclass(frozen=True, slots=True)
class Move:
    """One finished move: its index from 0, the noise level it arrived at, the noisy codes [N, *] there.

    `calls` of the denoiser that each image needed so far, int64 [N], where they differ; None: all the batch's.
    """

    index: int
    sigma: float
    x: Tensor
    calls: Tensor | None = None


def levels(x: Tensor, sigma: float) -> Tensor:
    """One noise level for the whole batch, as [N] in x's dtype."""
    return x.new_full((x.shape[0],), sigma)


def denoised(denoise: Denoiser, x: Tensor, sigma: float) -> Tensor:
    """D(x; sigma) with one noise level for the whole batch."""
    return denoise(x, levels(x, sigma))


def slope(denoise: Denoiser, x: Tensor, sigma: float) -> Tensor:
    """dx/dsigma = (x - D(x; sigma)) / sigma on the probability-flow ODE (Karras et al. 2022, eq. 1 and 3)."""
    return (x - denoised(denoise, x, sigma)) / sigma


def integrate(denoise: Denoiser, x: Tensor, sigmas: Tensor, sampler: Sampler, noise: Noise) -> Iterator[Move]:
    """Carry noisy codes x [N, *] at sigmas[0] down a grid [steps + 1] that ends in 0, yielding every move.

    Levels are Python floats, so coefficients are exact to float64 whatever the dtype and device of x.
    Before the first move: ValueError for a grid that is not strictly decreasing, BadInput from `sampler.check`.
    """
    downward = [float(sigma) for sigma in sigmas.cpu()]
    if len(downward) < 2 or not all(high > low for high, low in pairwise(downward)) or downward[-1] < 0:
        raise ValueError(f"a sampling grid must decrease strictly to 0 or above, got {downward}")
    sampler.check(len(downward) - 1, isinstance(denoise, VarianceDenoiser))
    return _moves(denoise, x, downward, sampler, noise)


def _moves(denoise: Denoiser, x: Tensor, downward: Sequence[float], sampler: Sampler, noise: Noise) -> Iterator[Move]:
    memory = sampler.begin(len(downward) - 1)
    for index, (sigma, sigma_next) in enumerate(pairwise(downward)):
        x, memory = sampler.step(denoise, x, sigma, sigma_next, memory, noise)
        yield Move(index, sigma_next, x, sampler.calls(memory))
