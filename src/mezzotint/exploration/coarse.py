"""Pictures as a few numbers that keep distances from below: their lowest frequencies in an orthonormal basis."""

from dataclasses import dataclass
from math import inf, log1p, pi, sqrt

import numpy as np
import torch
from torch import Tensor

from mezzotint.data.pack import Pack
from mezzotint.exploration.contents import chunks
from mezzotint.pixels import to_images

WAVES = 8
"""Cosines kept along each side."""

_FARTHEST = 64  # pairs whose full distance is looked at


def basis(size: int) -> Tensor:
    """The first WAVES orthonormal cosines (DCT-II) over `size` points, float32 [WAVES, size]."""
    places, waves = torch.arange(size, dtype=torch.float64) + 0.5, torch.arange(min(WAVES, size), dtype=torch.float64)
    cosines = torch.cos(pi / size * waves[:, None] * places)
    return (cosines / cosines.norm(dim=1, keepdim=True)).float()


def coarse(pack: Pack, rows: np.ndarray) -> Tensor:
    """Images in [-1, 1] at int64 [n] rows -> float32 [n, C, 8, 8], how much of each low frequency they hold.

    A projection: two pictures are at least as far apart as these numbers are. Mirroring a picture changes the sign of
    every second column.
    """
    cosines = basis(pack.image_size)
    return torch.cat([cosines @ to_images(pixels) @ cosines.T for _, pixels in chunks(pack, rows)])


# --- What is left at high noise ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extent:
    """How far the pictures reach in the space of codes: what noise must exceed before sampling can start from it."""

    pictures: int
    mean_power: float  # |mean image|^2
    variances: tuple[float, ...]  # along principal components, descending; low frequencies alone
    distance: float  # largest found between two pictures

    def mismatch(self, sigma: float) -> float:
        """Nats by which noised pictures differ from pure noise, were they Gaussian: KL(N(m, C + s^2) || N(0, s^2))."""
        ratios = [variance / sigma**2 for variance in self.variances]
        return (self.mean_power / sigma**2 + sum(ratio - log1p(ratio) for ratio in ratios)) / 2

    def sigma_for(self, nats: float) -> float:
        """Return the sigma from which on the mismatch is at most so many nats; 0 where it always is."""
        low, high = 1e-3, 1e6
        if self.mismatch(low) <= nats:
            return 0.0
        for _ in range(60):  # bisection in ln sigma
            middle = sqrt(low * high)
            low, high = (low, middle) if self.mismatch(middle) <= nats else (middle, high)
        return high

    def snr(self, sigma: float) -> tuple[float, float]:
        """Return the power of mean image and first principal component over the noise's along each."""
        return self.mean_power / sigma**2, self.variances[0] / sigma**2


def extent(pack: Pack, rows: np.ndarray, mean_image: np.ndarray) -> Extent:
    """Measure how far some pictures of a pack reach; `mean_image` [C, H, W] in grey levels."""
    waves = coarse(pack, rows).flatten(1)
    covariance = torch.cov(waves.T.double(), correction=0).reshape(waves.shape[1], -1)
    variances = torch.linalg.eigvalsh(covariance).flip(0).clamp_min(0)
    mean_power = float(np.square(mean_image / 127.5 - 1).sum())
    return Extent(len(rows), mean_power, tuple(variances.tolist()), _largest_distance(pack, rows, waves))


def _largest_distance(pack: Pack, rows: np.ndarray, waves: Tensor) -> float:
    """Compare all pairs by their low frequencies, and those that are farthest apart in full."""
    best = torch.full((1,), -inf)
    pairs = torch.zeros(1, 2, dtype=torch.long)
    for start in range(0, len(waves), 1024):
        tile = torch.cdist(waves[start : start + 1024], waves).flatten()
        top = tile.topk(min(_FARTHEST, len(tile)))
        found = torch.stack([top.indices // len(waves) + start, top.indices % len(waves)], 1)
        best, pairs = torch.cat([best, top.values]), torch.cat([pairs, found])
        kept = best.topk(min(_FARTHEST, len(best))).indices
        best, pairs = best[kept], pairs[kept]
    left, right = (to_images(pack.pixels(rows[side.numpy()])) for side in pairs.T)
    return float((left - right).flatten(1).norm(dim=1).max())
