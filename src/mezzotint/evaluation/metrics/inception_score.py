"""Inception Score (Salimans et al. 2016): sure of every image's class, and of all classes over many images."""

from math import sqrt
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.errors import BadInput
from mezzotint.evaluation.metrics import Metric, Value, enough
from mezzotint.evaluation.statistics import FeatureSet


class InceptionScore(Metric):
    """exp E KL(p(y|x) | p(y)), the mean over splits; higher is better, the reference isn't looked at."""

    prefix: ClassVar[str] = "is"
    with_inception: ClassVar[str] = "is"
    least: ClassVar[int] = 20
    larger_is_better: ClassVar[frozenset[str]] = frozenset({"inception_score"})

    splits: int = Field(default=10, ge=2, description="parts, each scored by itself with its own p(y)")

    def __call__(self, generated: FeatureSet, reference: FeatureSet, held_out: FeatureSet | None) -> dict[str, Value]:
        """Return `inception_score`; its error is the deviation over splits (papers' +-) over sqrt(splits)."""
        if generated.probabilities is None:
            raise BadInput("inception-score: this extractor knows no classes, take inception or classifier")
        enough(self.splits, generated)
        scores = torch.stack([_score(part) for part in generated.probabilities.tensor_split(self.splits)])
        return {"inception_score": Value(float(scores.mean()), float(scores.std()) / sqrt(self.splits))}

    def caution(self, generated: FeatureSet) -> str | None:
        """Small splits underestimate how many classes there are."""
        classes = 0 if generated.probabilities is None else generated.probabilities.shape[1]
        split = len(generated) // self.splits
        if split >= 5 * classes:
            return None
        return f"splits of {split} images for {classes} classes bias the score downwards, better {5 * classes} or more"


def _score(probabilities: Tensor) -> Tensor:
    p = probabilities.double()
    q = p.mean(0)
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum(1).mean().exp()
