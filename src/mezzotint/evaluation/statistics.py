"""Feature sets: what an extractor saw in a set of images, in an order that depends on the images alone."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mezzotint.disk import home
from mezzotint.errors import BadInput
from mezzotint.evaluation.cache import recall, store
from mezzotint.evaluation.extractors import Batches, Extractor
from mezzotint.evaluation.identity import ImageSet, Keys, colour_batches, fingerprint


@dataclass(frozen=True)
class Progress:
    """How far a pass over images is."""

    what: str
    done: int
    total: int | None = None


# --- Moments ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moments:
    """Count, mean [D] and scatter [D, D] (sum of outer products around the mean) of vectors, float64."""

    count: int
    mean: Tensor
    scatter: Tensor

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


def _joined(parts: Sequence[Tensor | None], rows: Tensor) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known)[rows] if known and len(known) == len(parts) else None


def accumulate(
    batches: Batches,
    extractors: Sequence[Extractor],
    what: str,
    count: int | None = None,
    size: tuple[int, ...] | None = None,
) -> Generator[Progress, None, list[FeatureSet]]:
    """Pass images (at most `count`) through all extractors in one reading; return one feature set for each."""
    numbering, keys, labels, done = Keys(), [], [], 0
    chosen = batches.chosen_keys if isinstance(batches, ImageSet) else None
    seen = [([], []) for _ in extractors]
    for pixels, classes in colour_batches(batches, what, size):
        rest = len(pixels) if count is None else min(len(pixels), count - done)
        keys.append(numbering.of(pixels[:rest]))
        labels.append(None if classes is None else classes[:rest])
        for extractor, (features, probabilities) in zip(extractors, seen, strict=True):
            found = extractor.features(pixels[:rest])
            features.append(found.features)
            probabilities.append(found.probabilities)
        done += rest
        yield Progress(what, done, count)
        if done == count:
            break
    if not done:
        raise BadInput(f"{what}: there are no images")
    return _sorted(np.concatenate(keys) if chosen is None else chosen, labels, seen, what)


def _sorted(
    keys: np.ndarray, labels: list[Tensor | None], seen: list[tuple[list[Tensor], list[Tensor]]], what: str
) -> list[FeatureSet]:
    order = np.argsort(keys)
    rows, sets = torch.from_numpy(order), []
    for features, probabilities in seen:
        matrix = torch.cat(features)[rows]
        if not matrix.isfinite().all():
            raise BadInput(f"{what}: features that are not finite, the extractor's weights can't be right")
        sets.append(FeatureSet(matrix, _joined(probabilities, rows), _joined(labels, rows), keys[order]))
    return sets


# --- Remembered features ----------------------------------------------------------------------------------------


def _path(images: ImageSet, extractor: Extractor) -> Path:
    return home() / "features" / f"{extractor.name}-{extractor.hash}-{images.fingerprint}.safetensors"


def _remembered(path: Path, images: ImageSet) -> FeatureSet | None:
    tensors = recall(path)
    if tensors is None or {"features", "keys"} - set(tensors):
        return None
    keys = tensors["keys"].numpy().view(np.uint64)
    whole = np.array_equal(keys, np.sort(images.chosen_keys))
    return FeatureSet(tensors["features"], tensors.get("probabilities"), None, keys) if whole else None


def reference_features(images: ImageSet, extractor: Extractor) -> Generator[Progress, None, FeatureSet]:
    """Return the features of images that will be needed again: read from the cache, else computed and kept there."""
    path = _path(images, extractor)
    known = _remembered(path, images)
    if known is not None:
        yield Progress(images.what, len(known), len(known))
        return known
    (found,) = yield from accumulate(images, [extractor], images.what, len(images))
    tensors = {"features": found.features, "keys": torch.from_numpy(found.keys.view(np.int64))}
    if found.probabilities is not None:
        tensors["probabilities"] = found.probabilities
    store(path, tensors)
    return found
