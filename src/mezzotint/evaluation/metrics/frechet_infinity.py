"""Frechet distance extrapolated to infinitely many images (Chong & Forsyth 2020): FID-infinity on Inception's."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.evaluation.metrics import Metric, Value
from mezzotint.evaluation.metrics.frechet import fitted_distance
from mezzotint.evaluation.statistics import FeatureSet


class FrechetInfinity(Metric):
    """The line through distances at several N, against 1/N, read at 0: without the bias of few generated images."""

    prefix: ClassVar[str] = "fd-infinity"
    with_inception: ClassVar[str] = "fid-infinity"
    moments_suffice: ClassVar[bool] = True
    is_distance: ClassVar[bool] = True
    least: ClassVar[int] = 20

    points: int = Field(
        default=6, ge=2, description="numbers of images, from N/`span` to N, that the line is fitted to"
    )
    span: int = Field(default=4, ge=2, description="the smallest number of images is N over this")

    def __call__(self, generated: FeatureSet, reference: FeatureSet, held_out: FeatureSet | None) -> dict[str, Value]:
        """Return `frechet_infinity`; its error is the jackknife's over draws of the generated images."""
        count = len(generated)
        counts = torch.linspace(count / self.span, count, self.points).round().long()
        weights = intercept_weights(1 / counts.double())
        value, pulls = 0.0, torch.zeros(count, dtype=torch.float64)
        for size, weight in zip(counts.tolist(), weights.tolist(), strict=True):
            fit = fitted_distance(generated[:size], reference.moments)  # rows are in random order
            value += weight * fit.distance
            pulls[:size] += weight / size * (fit.influences - fit.influences.mean())
        return {"frechet_infinity": Value(value, float(pulls.square().sum().sqrt()))}

    def caution(self, generated: FeatureSet) -> str | None:
        """The bias is a line in 1/N only where images are many for the features."""
        count, dimension = generated.features.shape
        if count >= 2 * self.span * dimension:
            return None
        return f"{count} images: the line is straight from about {2 * self.span * dimension} on, kid needs fewer"


def intercept_weights(x: Tensor) -> Tensor:
    """Weights w with w'y the value at 0 of the least-squares line through (x, y): float64 [P]."""
    return torch.linalg.pinv(torch.stack([torch.ones_like(x), x], 1))[0]
