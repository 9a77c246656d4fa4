"""CMMD (Jayasumana et al. 2024): unbiased squared MMD, Gaussian kernel on unit-length features, in thousandths."""

from collections.abc import Callable
from math import sqrt
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.evaluation.metrics import Metric, Value
from mezzotint.evaluation.neighbours import TILE, products
from mezzotint.evaluation.statistics import FeatureSet


class CMMD(Metric):
    """The CMMD of the paper is `cmmd-clip-<N>`; other extractors give numbers of their own scale.

    The authors' code counts each image's kernel with itself, too: its numbers are higher, by some 1/N.
    """

    prefix: ClassVar[str] = "cmmd"
    with_inception: ClassVar[str] = "cmmd-inception"
    least: ClassVar[int] = 4
    unbiased: ClassVar[bool] = True

    sigma: float = Field(default=10.0, gt=0, description="width of the kernel, in lengths of a feature vector")
    scale: float = Field(default=1000.0, gt=0, description="factor on the squared MMD, to give readable numbers")

    def __call__(self, generated: FeatureSet, reference: FeatureSet, held_out: FeatureSet | None) -> dict[str, Value]:
        """Return `cmmd` (eq. 4) and its infinitesimal jackknife error; may fall below 0."""
        x, y = (torch.nn.functional.normalize(images.features) for images in (generated, reference))
        value, influence = gaussian_mmd(x, y, self.sigma)
        return {"cmmd": Value(self.scale * value, self.scale * float(influence.std()) / sqrt(len(x)))}

    def caution(self, generated: FeatureSet) -> str | None:
        """It is unbiased, but noisy."""
        if len(generated) >= 1000:
            return None
        return f"{len(generated)} images: unbiased, but a noisy number, better 5k or more"


def gaussian_mmd(x: Tensor, y: Tensor, sigma: float) -> tuple[float, Tensor]:
    """Unbiased squared MMD (Gretton et al. 2012, eq. 3) of unit rows [m, D], [n, D], and the pull of each x on it.

    The kernel is exp(-|x - y|^2 / 2 sigma^2) less 1, which changes nothing and keeps the digits of wide kernels.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:  # |a - b|^2 = 2 - 2 a'b
        return products(a, b).sub_(1).clamp_(max=0).div_(sigma**2).expm1_()

    # Each image's kernel with itself is 0 but for rounding, so rows are divided by one less.
    xx, yy = _row_sums(x, x, kernel) / (len(x) - 1), _row_sums(y, y, kernel) / (len(y) - 1)
    xy = _row_sums(x, y, kernel) / len(y)
    return float(xx.mean() + yy.mean() - 2 * xy.mean()), 2 * (xx - xy)


def _row_sums(x: Tensor, y: Tensor, kernel: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Sum k(x_i, y_j) over j in float64, tile by tile: [m]."""
    blocks = y.split(TILE)
    sums = [[kernel(rows, block).sum(1, dtype=torch.float64) for block in blocks] for rows in x.split(TILE)]
    return torch.cat([torch.stack(parts).sum(0) for parts in sums])
