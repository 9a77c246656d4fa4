"""Kernel distance (Binkowski et al. 2018): unbiased squared MMD with a cubic polynomial kernel, over subsets."""

from collections.abc import Sequence
from math import sqrt
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.evaluation.metrics import Metric, Value
from mezzotint.evaluation.neighbours import products
from mezzotint.evaluation.statistics import FeatureSet


class KID(Metric):
    """Unbiased at any size, so that scores with different N agree but for noise.

    The sets are cut into disjoint subsets, and each subset is compared with the `reach` next ones of its own set and
    twice as many and one of the other: every image counts equally often. Where both sets are smaller than two subsets,
    all pairs are compared (Gretton et al. 2012, eq. 3).
    """

    prefix: ClassVar[str] = "kid"
    with_inception: ClassVar[str] = "kid"
    least: ClassVar[int] = 4
    unbiased: ClassVar[bool] = True

    subset_size: int = Field(default=1000, ge=2, description="images in a subset")
    reach: int = Field(default=2, ge=0, description="following subsets that a subset is compared with")

    def __call__(self, generated: FeatureSet, reference: FeatureSet, held_out: FeatureSet | None) -> dict[str, Value]:
        """Return `kid`, which may fall below 0, and its infinitesimal jackknife error."""
        xs, ys = _subsets(generated.features, self.subset_size), _subsets(reference.features, self.subset_size)
        within, across = _within(xs, self.reach), _across(xs, ys, 2 * self.reach + 1)
        value = within.mean() + _within(ys, self.reach).mean() - 2 * across.mean()
        return {"kid": Value(float(value), 2 * float((within - across).std()) / sqrt(len(generated)))}

    def caution(self, generated: FeatureSet) -> str | None:
        """Few images are unbiased but noisy."""
        if len(generated) >= 2 * self.subset_size:
            return None
        return f"{len(generated)} images: unbiased, but a noisy number, better 5k or more"


def _subsets(features: Tensor, size: int) -> Sequence[Tensor]:
    return features.tensor_split(max(1, len(features) // size))  # rows are in random order


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """k(x, y) = (x'y / D + 1)^3 (Binkowski et al. 2018, sec. 4): float32 [m, D], [n, D] -> [m, n]."""
    k = products(x, y).div_(x.shape[1]).add_(1)
    return k.square().mul_(k)


def _within(subsets: Sequence[Tensor], reach: int) -> Tensor:
    """Mean kernel of every image with others of its set: float64 [N]."""
    count, sums = len(subsets), [torch.zeros(len(x), dtype=torch.float64) for x in subsets]
    seen = [len(x) - 1 for x in subsets]
    for i, x in enumerate(subsets):
        sums[i] += _kernel(x, x).fill_diagonal_(0).sum(1, dtype=torch.float64)
    for i, j in sorted({(min(pair), max(pair)) for pair in _ring(count, count, reach + 1) if pair[0] != pair[1]}):
        k = _kernel(subsets[i], subsets[j])
        sums[i] += k.sum(1, dtype=torch.float64)
        sums[j] += k.sum(0, dtype=torch.float64)
        seen[i], seen[j] = seen[i] + len(subsets[j]), seen[j] + len(subsets[i])
    return torch.cat([total / n for total, n in zip(sums, seen, strict=True)])


def _across(xs: Sequence[Tensor], ys: Sequence[Tensor], partners: int) -> Tensor:
    """Mean kernel of every image of xs with images of ys: float64 [N]."""
    sums, seen = [torch.zeros(len(x), dtype=torch.float64) for x in xs], [0] * len(xs)
    for i, j in _ring(len(xs), len(ys), partners):
        sums[i] += _kernel(xs[i], ys[j]).sum(1, dtype=torch.float64)
        seen[i] += len(ys[j])
    return torch.cat([total / n for total, n in zip(sums, seen, strict=True)])


def _ring(first: int, second: int, partners: int) -> list[tuple[int, int]]:
    """Pairs of subsets, each of one set with `partners` successive ones of the other, both counted around."""
    pairs = {(t % first, (t + s) % second) for t in range(max(first, second)) for s in range(partners)}
    return sorted(pairs)
