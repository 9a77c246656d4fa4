"""Frechet distance between Gaussians fitted to two sets of features (Heusel et al. 2017): FID on Inception's."""

from math import sqrt
from typing import ClassVar

import torch
from torch import Tensor

from mezzotint.evaluation.metrics import Metric, Value
from mezzotint.evaluation.statistics import FeatureSet, Moments


class Frechet(Metric):
    """d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), in float64 on the CPU; squared, as FID is."""

    prefix: ClassVar[str] = "fd"
    with_inception: ClassVar[str] = "fid"

    def __call__(self, generated: FeatureSet, reference: FeatureSet, held_out: FeatureSet | None) -> dict[str, Value]:
        """Return `frechet`, its error the standard error over draws of the generated images."""
        distance, influence = frechet_distance(generated.moments, reference.moments)
        return {"frechet": Value(distance, influence.standard_error(generated.features))}

    def caution(self, generated: FeatureSet) -> str | None:
        """Fewer than two images per feature: the fitted covariance is mostly noise, and the distance too high."""
        count, dimension = generated.features.shape
        if count >= 2 * dimension:
            return None
        return f"{count} images are few for {dimension} features: the distance is biased upwards, compare the floor"


def _spectral(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of a positive semidefinite matrix, rounding noise set to exactly 0."""
    values, vectors = torch.linalg.eigh(matrix)
    noise = values[-1].clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
    return values.where(values > noise, 0.0), vectors


def frechet_distance(first: Moments, second: Moments) -> tuple[float, "Influence"]:
    """Distance (Dowson & Landau 1982, eq. 4) and how each image of the first set pulls at it."""
    step = first.mean - second.mean
    S1, S2 = first.covariance, second.covariance

    # (S1 S2)^(1/2) and the symmetric (S1^(1/2) S2 S1^(1/2))^(1/2) have the same trace, the sum of roots below.
    values, vectors = _spectral(S1)
    root = (vectors * values.sqrt()) @ vectors.T
    squares, axes = _spectral(root @ S2 @ root)
    distance = step.square().sum() + S1.trace() + S2.trace() - 2 * squares.sqrt().sum()

    # T maps the first Gaussian onto the second: T S1 T = S2. Where S1 is singular, on its range only.
    inverse_root = (vectors * values.sqrt().reciprocal().where(values > 0, 0.0)) @ vectors.T
    T = inverse_root @ ((axes * squares.sqrt()) @ axes.T) @ inverse_root
    identity = torch.eye(len(T), dtype=T.dtype)
    return max(0.0, float(distance)), Influence(first.mean, 2 * step, identity - T)


class Influence:
    """First-order change of the distance for each image's weight: g'(x - m1) + (x - m1)' Q (x - m1), centred.

    g = 2 (m1 - m2) and Q = I - T are the derivatives of d^2 by m1 and S1.
    """

    def __init__(self, mean: Tensor, gradient: Tensor, curvature: Tensor) -> None:
        self.mean, self.gradient, self.curvature = mean, gradient, curvature

    def standard_error(self, features: Tensor) -> float:
        """Infinitesimal jackknife (Jaeckel 1972; Efron 1982, ch. 6): deviation of the influences over sqrt(N).

        Covers the draw of these images only. The bias of few images is another matter: the floor shows it.
        """
        return float(torch.cat([self._of(block) for block in features.split(4096)]).std()) / sqrt(len(features))

    def _of(self, block: Tensor) -> Tensor:
        x = block.to(torch.float64) - self.mean
        return x @ self.gradient + ((x @ self.curvature) * x).sum(1)
