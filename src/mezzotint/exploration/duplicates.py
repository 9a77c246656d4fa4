"""Near-duplicates in a pack: every pair of pictures is compared, exactly, in tiles."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mezzotint.data.pack import Pack
from mezzotint.evaluation.neighbours import TILE, near_pairs
from mezzotint.exploration.coarse import coarse
from mezzotint.exploration.contents import chunks, some_rows
from mezzotint.pixels import to_images

MOST_COMPARED = 50_000
"""Pictures compared with each other: of a larger pack, so many at random."""

NEAR = 0.35
"""Two pictures are near where their difference, root mean square, is at most this share of one's contrast."""

MOST_KEPT = 200
_AT_ONCE = 1024  # pairs compared in full at a time
_MOST_CANDIDATES = 2_000_000  # compared in full: a pack full of copies has more pairs than anyone looks at


@dataclass(frozen=True)
class NearPair:
    """Two pictures, by their places in the pack, and their root-mean-square difference as a share of their contrast.

    Contrast is the standard deviation around the mean colour, of the one that has more of it.
    """

    first: int
    second: int
    difference: float


@dataclass(frozen=True)
class NearDuplicates:
    """The near pairs among `compared` pictures: how many (at least, unless `whole`), and the nearest of them."""

    compared: int
    count: int
    pairs: tuple[NearPair, ...]
    whole: bool

    @property
    def equal(self) -> int:
        """Of the pairs kept, how many hold the same picture twice."""
        return sum(pair.difference == 0 for pair in self.pairs)


def near_duplicates(pack: Pack, seed: int = 0) -> NearDuplicates:
    """Find all pairs whose difference is at most NEAR of one picture's standard deviation around its mean colour.

    Low frequencies bound the distance from below, so what they rule out needs no second look and nothing is missed.
    """
    rows = some_rows(pack, MOST_COMPARED, seed)
    waves, limits, places = coarse(pack, rows).flatten(1), _limits(pack, rows), torch.from_numpy(rows)
    found: list[NearPair] = []
    count, looked_at = 0, 0
    for left, right in _candidates(waves, limits):
        limit = torch.maximum(limits[left], limits[right])
        squared = _squared(pack, places[left], places[right])
        near = squared <= limit
        count, looked_at = count + int(near.sum()), looked_at + len(near)
        shares = NEAR * (squared[near] / limit[near].clamp_min(1e-12)).sqrt()
        pairs = zip(places[left[near]].tolist(), places[right[near]].tolist(), shares.tolist(), strict=True)
        found = sorted([*found, *(NearPair(*pair) for pair in pairs)], key=lambda pair: pair.difference)[:MOST_KEPT]
        if looked_at >= _MOST_CANDIDATES:
            break
    return NearDuplicates(len(rows), count, tuple(found), looked_at < _MOST_CANDIDATES)


def _limits(pack: Pack, rows: np.ndarray) -> Tensor:
    """The largest squared distance at which another picture is near each: float64 [n]."""
    spreads = [to_images(pixels).flatten(2).var(2, correction=0).sum(1) for _, pixels in chunks(pack, rows)]
    return NEAR**2 * pack.image_size**2 * torch.cat(spreads).double()


def _candidates(waves: Tensor, limits: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pairs i < j, int64 [p], that the low frequencies don't rule out."""
    for start in range(0, len(waves), TILE):
        part = slice(start, start + TILE)
        for pairs in near_pairs(waves[part], waves[start:], limits[part], [limits[start:]]):
            upper = pairs.rows < pairs.columns
            left, right = pairs.rows[upper] + start, pairs.columns[upper] + start
            yield from zip(left.split(_AT_ONCE), right.split(_AT_ONCE), strict=True)


def _squared(pack: Pack, left: Tensor, right: Tensor) -> Tensor:
    """Squared distances of images at int64 [p] places, float64 [p]."""
    difference = to_images(pack.pixels(left.numpy())) - to_images(pack.pixels(right.numpy()))
    return difference.flatten(1).double().square().sum(1)
