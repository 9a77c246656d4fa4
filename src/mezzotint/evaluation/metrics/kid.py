"""Kernel distance (Binkowski et al. 2018): unbiased squared MMD with a cubic polynomial kernel, over subsets."""

from math import sqrt
from typing import ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from mezzotint.evaluation.metrics import Metric, Value
from mezzotint.evaluation.statistics import FeatureSet
from mezzotint.seeds import mix


class KID(Metric):
    """Mean over random subsets; unbiased at any size, so that scores with different N agree but for noise."""

    prefix: ClassVar[str] = "kid"
    with_inception: ClassVar[str] = "kid"
    least: ClassVar[int] = 4

    subsets: int = Field(default=100, ge=2, description="random subsets whose distances are averaged")
    subset_size: int = Field(
        default=1000,
        ge=2,
        description="images in a subset; at most half of the smaller set is taken, for the error's sake",
    )

    def __call__(self, generated: FeatureSet, reference: FeatureSet, held_out: FeatureSet | None) -> dict[str, Value]:
        """Return `kid` and its delete-d jackknife error (Shao & Wu 1989), too large if the reference is larger."""
        smaller = min(len(generated), len(reference))
        size = min(self.subset_size, smaller // 2)
        draws = [np.random.Generator(np.random.Philox(mix("kid", i))) for i in range(self.subsets)]
        distances = [squared_mmd(_draw(generated, size, draw), _draw(reference, size, draw)) for draw in draws]
        error = float(np.std(distances)) * sqrt(size / (smaller - size))
        return {"kid": Value(float(np.mean(distances)), error)}

    def caution(self, generated: FeatureSet) -> str | None:
        """Small subsets are unbiased but noisy."""
        if len(generated) >= 2 * self.subset_size:
            return None
        return f"{len(generated)} images give subsets of {len(generated) // 2}: unbiased, but a noisy number"


def _draw(images: FeatureSet, size: int, draw: np.random.Generator) -> Tensor:
    return images.features[draw.choice(len(images), size, replace=False)]


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """k(x, y) = (x'y / D + 1)^3 (Binkowski et al. 2018, sec. 4): features [m, D], [n, D] -> float64 [m, n]."""
    return (x @ y.T).double().div_(x.shape[1]).add_(1).pow_(3)


def squared_mmd(x: Tensor, y: Tensor) -> float:
    """Unbiased squared MMD of features [m, D] and [n, D] (Gretton et al. 2012, eq. 3); may fall below 0."""
    m, n = len(x), len(y)
    xx, yy = _kernel(x, x), _kernel(y, y)
    within = (xx.sum() - xx.trace()) / (m * (m - 1)) + (yy.sum() - yy.trace()) / (n * (n - 1))
    return float(within - 2 * _kernel(x, y).mean())
