"""Frechet distance between Gaussians fitted to two sets of features (Heusel et al. 2017): FID on Inception's."""

from math import sqrt
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from mezzotint.evaluation.metrics import Metric, Value
from mezzotint.evaluation.statistics import FeatureSet, Moments, spectrum


class Frechet(Metric):
    """d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), in float64 on the CPU; squared, as FID is."""

    prefix: ClassVar[str] = "fd"
    with_inception: ClassVar[str] = "fid"
    moments_suffice: ClassVar[bool] = True
    is_distance: ClassVar[bool] = True

    def __call__(self, generated: FeatureSet, reference: FeatureSet, held_out: FeatureSet | None) -> dict[str, Value]:
        """Return `frechet`, its error the standard error over draws of the generated images."""
        fit = fitted_distance(generated, reference.moments)
        return {"frechet": Value(fit.distance, standard_error(fit.influences))}

    def caution(self, generated: FeatureSet) -> str | None:
        """Fewer than two images per feature: the fitted covariance is mostly noise, and the distance too high."""
        count, dimension = generated.features.shape
        if count >= 2 * dimension:
            return None
        return f"{count} images are few for {dimension} features: the distance is biased upwards, compare the floor"


class Fit(NamedTuple):
    """A distance and how each of the generated images pulls at it, to first order in its weight."""

    distance: float
    influences: Tensor  # float64 [N], mean near 0


def standard_error(influences: Tensor) -> float:
    """Infinitesimal jackknife (Jaeckel 1972; Efron 1982, ch. 6): deviation of the influences over sqrt(N).

    Covers the draw of these images only. The bias of few images is another matter: the floor shows it.
    """
    return float(influences.std()) / sqrt(len(influences))


def fitted_distance(images: FeatureSet, reference: Moments) -> Fit:
    """Distance of images from a reference and their influences, by whichever is the smaller eigenproblem."""
    if len(images) < images.features.shape[1]:
        return _distance_of_few(images.features.double(), reference)
    distance, influence = frechet_distance(images.moments, reference)
    return Fit(distance, influence.of(images.features))


# --- By covariances, D x D --------------------------------------------------------------------------------------


def frechet_distance(first: Moments, second: Moments) -> tuple[float, "Influence"]:
    """Distance (Dowson & Landau 1982, eq. 4) and how each image of the first set pulls at it.

    Of the second Gaussian only its root is needed, which is computed once however many sets are measured against it.
    """
    step = first.mean - second.mean
    S1, S2 = first.covariance, second.covariance
    R = second.root

    # (S1 S2)^(1/2) and the symmetric (R S1 R)^(1/2), R = S2^(1/2), have the same trace, the sum of roots below.
    squares, axes = spectrum(R @ S1 @ R)
    distance = step.square().sum() + S1.trace() + S2.trace() - 2 * squares.sqrt().sum()

    # T maps the first Gaussian onto the second: T S1 T = S2. Where S1 is singular, on its range only.
    arm = R @ (axes * squares.pow(-0.25).where(squares > 0, 0.0))
    return max(0.0, float(distance)), Influence(first.mean, 2 * step, torch.eye(len(R), dtype=R.dtype) - arm @ arm.T)


class Influence:
    """First-order change of the distance for each image's weight: g'(x - m1) + (x - m1)' Q (x - m1), centred.

    g = 2 (m1 - m2) and Q = I - T are the derivatives of d^2 by m1 and S1.
    """

    def __init__(self, mean: Tensor, gradient: Tensor, curvature: Tensor) -> None:
        self.mean, self.gradient, self.curvature = mean, gradient, curvature

    def of(self, features: Tensor) -> Tensor:
        """Features [N, D] -> influences float64 [N], before their mean is taken off."""
        return torch.cat([self._of(block) for block in features.split(4096)])

    def _of(self, block: Tensor) -> Tensor:
        x = block.to(torch.float64) - self.mean
        return x @ self.gradient + ((x @ self.curvature) * x).sum(1)


# --- Fewer images than features: by their inner products, N x N ---------------------------------------------------


def _distance_of_few(x: Tensor, reference: Moments) -> Fit:
    """Do the same with an eigenproblem of N x N: S1 = X'X / (N - 1), and K = X S2 X' / (N - 1) has R S1 R's spectrum.

    x float64 [N, D]. For images in the set, (x - m1)' T (x - m1) = (N - 1) K^(1/2)'s diagonal.
    """
    mean = x.mean(0)
    X, step = x - mean, mean - reference.mean
    spread = X.square().sum(1)
    squares, axes = spectrum(X @ reference.covariance @ X.T / (len(x) - 1))
    roots = squares.sqrt()
    distance = step.square().sum() + spread.sum() / (len(x) - 1) + reference.covariance.trace() - 2 * roots.sum()
    return Fit(max(0.0, float(distance)), 2 * X @ step + spread - (len(x) - 1) * axes.square() @ roots)
