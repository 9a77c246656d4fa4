"""Memorisation: are generated images nearer to the training images (the reference) than new real ones are?"""

from collections.abc import Mapping
from math import sqrt
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.evaluation.metrics import Metric, Value, enough
from mezzotint.evaluation.metrics.frechet import fitted_distance, standard_error
from mezzotint.evaluation.metrics.prdc import share
from mezzotint.evaluation.neighbours import nearest, nearest_others
from mezzotint.evaluation.statistics import FeatureSet


class Memorisation(Metric):
    """Distances to the nearest training images, held against those of held-out images where there are any."""

    prefix: ClassVar[str] = "memorisation"
    with_inception: ClassVar[str] = "memorisation"
    least: ClassVar[int] = 4
    unranked: ClassVar[frozenset[str]] = frozenset({"authentic", "c_t", "frechet_gap"})
    reference_is_training: ClassVar[bool] = True

    quantile: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="a copy is nearer to a training image than this share of held-out images are (no unit)",
    )

    def __call__(self, generated: FeatureSet, reference: FeatureSet, held_out: FeatureSet | None) -> dict[str, Value]:
        """Return `authentic`, `duplicates` and, with held-out images, `copies`, `c_t`, `frechet_gap`.

        `c_t` is a z-score and has no error: its own is 1 by construction. `duplicates` has none: its images
        count in pairs.
        """
        enough(2, generated, reference)
        found = nearest(generated.features, reference.features, 1)
        distances, closest = found.distances[:, 0], found.indices[:, 0]
        values = {
            "authentic": share(distances > _own_distances(reference.features, closest)),
            "duplicates": Value(self._duplicates(generated.features, reference.features)),
        }
        if held_out is None:
            return values
        fresh = nearest(held_out.features, reference.features, 1).distances[:, 0]
        return values | {
            "copies": share(distances < fresh.quantile(self.quantile)),
            "c_t": Value(rank_sum_z(distances, fresh)),
            "frechet_gap": _gap(generated, reference, held_out),
        }

    def _duplicates(self, generated: Tensor, train: Tensor) -> float:
        """Share of generated images nearer to another one than nearly all of equally many training images are."""
        count = min(len(generated), len(train))
        usual = nearest_others(train[:count])[:, 0].quantile(self.quantile)
        return float((nearest_others(generated[:count])[:, 0] < usual).double().mean())

    def caution(self, generated: FeatureSet) -> str | None:
        """Shares of a few images are coarse."""
        if len(generated) >= 500:
            return None
        return f"{len(generated)} images are few to find copies among, better 1k or more"

    def finding(self, values: Mapping[str, Value]) -> str | None:
        """Flag more copies than chance explains; without held-out images, next to no authentic ones."""
        copies, authentic = values.get("copies"), values["authentic"].value
        if copies is None:
            return f"memorised: only {authentic:.0%} of the images are authentic" if authentic < 0.2 else None
        if copies.value - 3 * (copies.error or 0) <= 2 * self.quantile:
            return None
        return f"memorised: {copies.value:.0%} of the images are copies, where {self.quantile:.0%} would be chance"


def _own_distances(train: Tensor, chosen: Tensor) -> Tensor:
    """Distance of the chosen training images to their nearest other one: authenticity (Alaa et al. 2022, eq. 10)."""
    which, back = chosen.unique(return_inverse=True)
    return nearest(train[which], train, 2).distances[:, 1][back]


def rank_sum_z(first: Tensor, second: Tensor) -> float:
    """Mann-Whitney z-score of [m] against [n]: below -3, the first are surely smaller.

    This is C_T (Meehan et al. 2020) with the whole space as its one cell. Ties count half, and their share is taken
    off the variance (Lehmann 1975, eq. 1.36).
    """
    m, n = len(first), len(second)
    both, groups, ties = torch.cat([first, second]).unique(return_inverse=True, return_counts=True)
    middle = ties.double().cumsum(0) - (ties.double() - 1) / 2  # mean rank of each group of equals
    U = float(middle[groups[:m]].sum()) - m * (m + 1) / 2
    total = m + n
    tied = float((ties.double().pow(3) - ties).sum()) / (total * (total - 1))
    variance = m * n / 12 * (total + 1 - tied)
    return (U - m * n / 2) / sqrt(variance) if len(both) > 1 else 0.0


def _gap(generated: FeatureSet, train: FeatureSet, test: FeatureSet) -> Value:
    """Frechet distance to test less that to equally many training images: above 0, nearer to what was seen."""
    count = min(len(train), len(test))
    seen, unseen = (fitted_distance(generated, real[:count].moments) for real in (train, test))
    return Value(unseen.distance - seen.distance, standard_error(unseen.influences - seen.influences))
