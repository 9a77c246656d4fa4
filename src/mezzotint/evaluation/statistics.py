"""Feature sets: what an extractor saw in a set of images, in an order that depends on the images alone."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mezzotint.evaluation.cache import recall, store
from mezzotint.evaluation.identity import fingerprint

# --- Moments ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moments:
    """Count, mean [D] and scatter [D, D] (sum of outer products around the mean) of vectors, float64."""

    count: int
    mean: Tensor
    scatter: Tensor
    known_root: Tensor | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, features: Tensor) -> "Moments":
        """Features [N, D] of any float type, summed in blocks so that no float64 copy of all is held."""
        return sum((cls._of_block(block) for block in features.split(4096)), start=cls.none(features.shape[1]))

    @classmethod
    def none(cls, dimension: int) -> "Moments":
        """Moments of no vectors at all, the start of a sum."""
        zeros = torch.zeros(dimension, dtype=torch.float64)
        return cls(0, zeros, zeros.outer(zeros))

    @classmethod
    def _of_block(cls, block: Tensor) -> "Moments":
        x = block.to(torch.float64)
        mean = x.mean(0)
        centred = x - mean
        return cls(len(x), mean, centred.T @ centred)

    def __add__(self, other: "Moments") -> "Moments":
        """Moments of both sets together (Chan, Golub, LeVeque 1983, eq. 1.5)."""
        count = self.count + other.count
        if count == 0:
            return self
        step = other.mean - self.mean
        scatter = self.scatter + other.scatter + step.outer(step) * (self.count * other.count / count)
        return Moments(count, self.mean + step * (other.count / count), scatter)

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance [D, D]."""
        return self.scatter / (self.count - 1)

    @cached_property
    def root(self) -> Tensor:
        """Symmetric square root [D, D] of the covariance; rounding noise below its range is set to exactly 0."""
        if self.known_root is not None:
            return self.known_root
        values, vectors = spectrum(self.covariance)
        return (vectors * values.sqrt()) @ vectors.T


def spectrum(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of a positive semidefinite matrix; noise set to exactly 0."""
    values, vectors = torch.linalg.eigh(matrix)
    noise = values[-1].clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
    return values.where(values > noise, 0.0), vectors


# --- Features ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FeatureSet:
    """Features of a set of images, rows sorted by image key: metrics that draw subsets don't depend on order."""

    features: Tensor  # float32 [N, D]
    probabilities: Tensor | None  # float32 [N, K]
    labels: Tensor | None  # int64 [N]
    keys: np.ndarray  # uint64 [N], increasing

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: slice) -> "FeatureSet":
        """Return some rows; any slice is a fair draw, because keys are hashes."""
        probabilities = None if self.probabilities is None else self.probabilities[rows]
        labels = None if self.labels is None else self.labels[rows]
        return FeatureSet(self.features[rows], probabilities, labels, self.keys[rows])

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of the images."""
        return fingerprint(self.keys)

    @cached_property
    def moments(self) -> Moments:
        """Mean and covariance of the features, float64."""
        return Moments.of(self.features)


@dataclass(frozen=True)
class RememberedSet(FeatureSet):
    """Features that will be needed again: their moments and the covariance's root are kept in a file once computed."""

    file: Path

    @cached_property
    def moments(self) -> Moments:
        """Mean and covariance of the features, float64, with the root known."""
        known = recall(self.file)
        if known is not None and known.keys() == {"mean", "scatter", "root"}:
            return Moments(len(self), known["mean"], known["scatter"], known["root"])
        found = Moments.of(self.features)
        store(self.file, {"mean": found.mean, "scatter": found.scatter, "root": found.root})
        return found


@dataclass(frozen=True)
class KnownMoments(FeatureSet):
    """A reference of which only mean and covariance are known: no features, no keys, and nobody knows N."""

    given: Moments
    content: str  # hash of the statistics

    @property
    def moments(self) -> Moments:  # type: ignore[override]
        """Mean and covariance as they were given."""
        return self.given

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """Content hash of the statistics."""
        return self.content

    @classmethod
    def of(cls, mean: Tensor, covariance: Tensor, content: str) -> "KnownMoments":
        """Mean [D] and unbiased covariance [D, D], float64."""
        nothing = torch.empty((0, len(mean)))
        # As if of two images: the covariance is the scatter over N - 1.
        return cls(nothing, None, None, np.empty(0, np.uint64), Moments(2, mean, covariance), content)
