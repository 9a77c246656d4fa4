"""Frechet distance within each class, averaged (intra-FID, Miyato & Koyama 2018), and whether classes are obeyed."""

from math import sqrt
from typing import ClassVar

import torch
from torch import Tensor

from mezzotint.errors import BadInput
from mezzotint.evaluation.metrics import Metric, Value
from mezzotint.evaluation.metrics.frechet import fitted_distance, standard_error
from mezzotint.evaluation.neighbours import nearest
from mezzotint.evaluation.statistics import FeatureSet

LEAST_OF_CLASS = 2
"""A class with fewer images on a side has no covariance and isn't counted."""


class ClassFrechet(Metric):
    """Class by class, so that a model which ignores its labels can't hide behind good images."""

    prefix: ClassVar[str] = "class-fd"
    with_inception: ClassVar[str] = "class-fid"
    least: ClassVar[int] = 4
    larger_is_better: ClassVar[frozenset[str]] = frozenset({"accuracy", "worst_class_accuracy"})

    def __call__(self, generated: FeatureSet, reference: FeatureSet, held_out: FeatureSet | None) -> dict[str, Value]:
        """Return `class_frechet`, `accuracy` and `worst_class_accuracy`.

        An image is accurate if the nearest reference image has its label. The worst class has no error: it is
        chosen by its value.
        """
        images, real = _labels(generated, "generated"), _labels(reference, "reference")
        classes = images.unique()
        right = real[nearest(generated.features, reference.features, 1).indices[:, 0]] == images
        accuracies = torch.stack([right[images == c].double().mean() for c in classes])
        share = float(right.double().mean())
        return {
            "class_frechet": self._mean_distance(classes, generated, reference),
            "accuracy": Value(share, sqrt(share * (1 - share) / len(images))),
            "worst_class_accuracy": Value(float(accuracies.min())),
        }

    def _mean_distance(self, classes: Tensor, generated: FeatureSet, reference: FeatureSet) -> Value:
        pairs = [tuple(_of_class(images, label) for images in (generated, reference)) for label in classes]
        fits = [fitted_distance(x, y.moments) for x, y in pairs if min(len(x), len(y)) >= LEAST_OF_CLASS]
        if not fits:
            raise BadInput(f"class-frechet: no class has {LEAST_OF_CLASS} images on both sides")
        variance = sum(standard_error(fit.influences) ** 2 for fit in fits)
        return Value(sum(fit.distance for fit in fits) / len(fits), sqrt(variance) / len(fits))

    def remark(self, generated: FeatureSet, reference: FeatureSet) -> str | None:
        """Name the classes without a distance: fewer than two images on a side, or none generated."""
        known = [
            _counts(_labels(images, what)) for images, what in ((generated, "generated"), (reference, "reference"))
        ]
        never = sorted(known[1].keys() - known[0].keys())
        few = [c for c in sorted(known[0]) if min(counts.get(c, 0) for counts in known) < LEAST_OF_CLASS]
        told = [(never, "never generated"), (few, f"fewer than {LEAST_OF_CLASS} images on a side")]
        return "; ".join(_listed(classes, why) for classes, why in told if classes) or None

    def caution(self, generated: FeatureSet) -> str | None:
        """Each class needs as many images as a whole set does."""
        dimension, labels = generated.features.shape[1], generated.labels
        fewest = 0 if labels is None else int(labels.unique(return_counts=True)[1].min())
        if fewest >= 2 * dimension:
            return None
        return f"{fewest} images in the smallest class are few for {dimension} features: biased upwards, take more"


def _labels(images: FeatureSet, what: str) -> Tensor:
    if images.labels is None:
        raise BadInput(f"class-frechet: the {what} images have no labels, take fd or kid")
    return images.labels


def _counts(labels: Tensor) -> dict[int, int]:
    return dict(zip(*(found.tolist() for found in labels.unique(return_counts=True)), strict=True))


def _listed(classes: list[int], why: str) -> str:
    first = ", ".join(map(str, classes[:10])) + (", ..." if len(classes) > 10 else "")
    return f"classes left out of the distance, {why}: {first} ({len(classes)} in all)"


def _of_class(images: FeatureSet, label: Tensor) -> FeatureSet:
    chosen = _labels(images, "given") == label
    return FeatureSet(images.features[chosen], None, None, images.keys[chosen.numpy()])
