"""Sliced Wasserstein distance (Bonneel et al. 2015): transport along random directions, where sorting solves it."""

from math import sqrt
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.evaluation.metrics import Metric, Value
from mezzotint.evaluation.statistics import FeatureSet
from mezzotint.seeds import mix


class SlicedWasserstein(Metric):
    """SW_2 in units of the features, which sees any difference of shape, not of two moments only."""

    prefix: ClassVar[str] = "sw"
    with_inception: ClassVar[str] = "sw-inception"
    is_distance: ClassVar[bool] = True

    projections: int = Field(default=256, ge=2, description="random directions, the same for all images")

    def __call__(self, generated: FeatureSet, reference: FeatureSet, held_out: FeatureSet | None) -> dict[str, Value]:
        """Return `sliced_wasserstein` and its infinitesimal jackknife error, the directions taken as given."""
        axes = _directions(generated.features.shape[1], self.projections)
        x, y = generated.features @ axes, reference.features @ axes
        distance = float(transport(x, y).mean().sqrt())
        error = float(pulls(x, y).mean(1).std()) / sqrt(len(x)) / (2 * distance) if distance else 0.0
        return {"sliced_wasserstein": Value(distance, error)}

    def caution(self, generated: FeatureSet) -> str | None:
        """Two draws of one distribution are about 1/sqrt(N) apart."""
        if len(generated) >= 5000:
            return None
        return f"{len(generated)} images: biased upwards, compare the floor, better 10k or more"


def _directions(dimension: int, count: int) -> Tensor:
    draw = torch.Generator().manual_seed(mix("sliced-wasserstein", dimension))
    return torch.nn.functional.normalize(torch.randn(count, dimension, generator=draw)).T


def transport(x: Tensor, y: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance of each column of [m, L] and [n, L]: float64 [L] (Villani 2003, th. 2.18)."""
    m, n = len(x), len(y)
    # Both quantile functions are constant between these steps, counted in units of 1 / (m n).
    steps = torch.cat([torch.arange(1, m + 1) * n, torch.arange(1, n + 1) * m]).unique()
    widths = steps.diff(prepend=steps.new_zeros(1)).double() / (m * n)
    first, second = x.sort(dim=0).values[(steps - 1) // n], y.sort(dim=0).values[(steps - 1) // m]
    return widths @ (first - second).double().square_()


def pulls(x: Tensor, y: Tensor) -> Tensor:
    """How each entry of [m, L] pulls at its column's transport cost to [n, L], but for a constant: float64 [m, L].

    Kantorovich's potential (Villani 2003, th. 1.3): two neighbours share the entry of y at the step between them.
    """
    m, n = len(x), len(y)
    ascending, order = x.double().sort(dim=0)
    shared = y.double().sort(dim=0).values[(torch.arange(1, m) * n - 1) // m]
    rises = (ascending[1:] - shared).square() - (ascending[:-1] - shared).square()
    potentials = torch.cat([rises.new_zeros(1, x.shape[1]), rises.cumsum(0)])
    return torch.empty_like(potentials).scatter_(0, order, potentials)
