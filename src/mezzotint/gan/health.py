"""Whether a generator has collapsed, told from a batch of its images: cheap, and comparable along a run."""

import torch
import torch.nn.functional as F
from torch import Tensor

_SIDE = 8
_NEAR = 0.5
_TINY = 1e-12


def thumbnails(images: Tensor) -> Tensor:
    """Images [N, C, H, W] -> float32 [N, C * 64]: means of 8 x 8 squares."""
    return F.adaptive_avg_pool2d(images.float(), _SIDE).flatten(1)


def variance_ratio(drawn: Tensor, real: Tensor) -> Tensor:
    """Variance over a batch of drawn thumbnails [N, D] over that of real ones: 1 as varied, 0 all the same."""
    ours, theirs = (features.var(0, unbiased=False).mean() for features in (drawn, real))
    return ours / theirs.clamp_min(_TINY)


def near_duplicates(drawn: Tensor, real: Tensor) -> Tensor:
    """Share of drawn thumbnails [N, D] with another nearer than half of what is usual (the median) among real ones."""
    usual = _nearest(real).median()
    return (_nearest(drawn) < _NEAR * usual).float().mean()


def _nearest(features: Tensor) -> Tensor:
    """Distance of every row [N, D] to the nearest other row [N]; infinite for a single one."""
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.fill_diagonal_(torch.inf).min(1).values
