"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020): how real, how varied."""

from math import sqrt
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.evaluation.metrics import Metric, Value, enough
from mezzotint.evaluation.neighbours import near_pairs, nearest_others
from mezzotint.evaluation.statistics import FeatureSet


class PRDC(Metric):
    """Who lies in whose balls: an image's ball reaches to its k-th nearest neighbour in its own set."""

    prefix: ClassVar[str] = "prdc"
    with_inception: ClassVar[str] = "prdc"
    least: ClassVar[int] = 6
    larger_is_better: ClassVar[frozenset[str]] = frozenset({"precision", "recall", "density", "coverage"})

    k: int = Field(default=3, ge=1, description="neighbour at the edge of a ball, for precision and recall")
    k_density: int = Field(default=5, ge=1, description="neighbour at the edge of a ball, for density and coverage")

    def __call__(self, generated: FeatureSet, reference: FeatureSet, held_out: FeatureSet | None) -> dict[str, Value]:
        """Return `precision`, `recall`, `density` and `coverage`.

        Precision is the share of generated images in any reference ball, recall of reference images in any generated
        ball; density counts the reference balls around a generated image in units of k (1 for the reference's own
        distribution), coverage is the share of reference balls that aren't empty. Recall has no error: each of its
        balls changes with the draw of the generated images.
        """
        enough(max(self.k, self.k_density) + 1, generated, reference)
        x, y = generated.features, reference.features
        x_radii = _squared(nearest_others(x, self.k)[:, -1])
        y_distances = _squared(nearest_others(y, max(self.k, self.k_density)))
        y_radii, y_wide = y_distances[:, self.k - 1], y_distances[:, self.k_density - 1]
        inside, reached = torch.zeros(len(x), dtype=torch.bool), torch.zeros(len(y), dtype=torch.bool)
        balls = _Balls(len(x), len(y))
        for rows, columns, squared in near_pairs(x, y, x_radii, [y_radii, y_wide]):
            inside[rows[squared <= y_radii[columns]]] = True
            reached[columns[squared <= x_radii[rows]]] = True
            within = squared < y_wide[columns]
            balls.count(rows[within], columns[within])
        recall = Value(float(reached.double().mean()))
        return {"precision": share(inside), "recall": recall} | balls.values(self.k_density)

    def caution(self, generated: FeatureSet) -> str | None:
        """All but density move with N, because balls shrink as images are added."""
        if len(generated) >= 5000:
            return None
        return f"{len(generated)} images: balls shrink as images are added, compare only equal N, better 10k or more"


def _squared(distances: Tensor) -> Tensor:
    """Undo the root to the last bit, float64: what lies on a ball's edge has the same float32 square as its radius."""
    return distances.square().float().double()


def share(hits: Tensor) -> Value:
    """Return the share of true entries, bool [N], and its binomial standard error."""
    p = float(hits.double().mean())
    return Value(p, sqrt(p * (1 - p) / len(hits)))


class _Balls:
    """Which generated images lie in which reference images' balls, counted both ways."""

    def __init__(self, images: int, balls: int) -> None:
        self.around, self.held = torch.zeros(images), torch.zeros(balls)
        self.holder = torch.zeros(balls, dtype=torch.int64)  # the last image seen in each ball

    def count(self, rows: Tensor, columns: Tensor) -> None:
        self.around += rows.bincount(minlength=len(self.around))
        self.held += columns.bincount(minlength=len(self.held))
        self.holder[columns] = rows

    def values(self, k: int) -> dict[str, Value]:
        density = self.around.double() / k
        coverage = float((self.held > 0).double().mean())
        return {
            "density": Value(float(density.mean()), float(density.std()) / sqrt(len(density))),
            "coverage": Value(coverage, self._spread_of_coverage()),
        }

    def _spread_of_coverage(self) -> float:
        """Jackknife (Efron 1982, eq. 3.5): without image i, coverage loses the balls that it alone is in."""
        count = len(self.around)
        lost = self.holder[self.held == 1].bincount(minlength=count).double() / len(self.held)
        return float((lost - lost.mean()).square().sum().sqrt()) * sqrt((count - 1) / count)
