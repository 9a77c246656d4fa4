"""Nearest neighbours and all near pairs of feature sets: exact, in tiles, never an N x M matrix."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

TILE = 2048
"""Rows and columns of the largest block of distances that is held: 16 MiB in float32."""

SLACK = 2e-6
"""Rounding of a float32 squared distance as a share of |x|^2 + |y|^2, some ten times what it is at 2048 features."""

SPARE = 4
"""Neighbours kept beyond those asked for until distances are recomputed, since rounding may swap the last ones."""


def products(x: Tensor, y: Tensor) -> Tensor:
    """Inner products of float32 rows [m, D], [n, D] -> float32 [m, n].

    Through oneDNN where torch has it: the same float32 numbers as `x @ y.T`, twice as fast where the default
    library was made for another maker's processors.
    """
    if not torch.backends.mkldnn.is_available():
        return x @ y.T
    return torch.nn.functional.linear(x.to_mkldnn(), y.to_mkldnn()).to_dense()


class Neighbours(NamedTuple):
    """The nearest rows of a base for every query, nearest first."""

    distances: Tensor  # float64 [N, k]
    indices: Tensor  # int64 [N, k]


class Pairs(NamedTuple):
    """Some pairs of rows and their squared distances."""

    rows: Tensor  # int64 [P]
    columns: Tensor  # int64 [P]
    squared: Tensor  # float64 [P]


class _Rows(NamedTuple):
    """Features around a common centre, so that little cancels in |x|^2 + |y|^2 - 2 x'y, and their squared norms."""

    given: Tensor  # float32 [N, D]
    centred: Tensor  # float32 [N, D]
    norms: Tensor  # float32 [N]

    @classmethod
    def around(cls, centre: Tensor, features: Tensor) -> "_Rows":
        centred = features - centre
        return cls(features, centred, torch.linalg.vector_norm(centred, dim=1).square_())

    def part(self, start: int) -> "_Rows":
        return _Rows(*(tensor[start : start + TILE] for tensor in self))


def _centred(x: Tensor, y: Tensor) -> tuple[_Rows, _Rows]:
    centre = y.mean(0)
    base = _Rows.around(centre, y)
    return (base if x is y else _Rows.around(centre, x)), base


def _tile(x: _Rows, y: _Rows) -> Tensor:
    """|x|^2 + |y|^2 - 2 x'y, float32 [m, n], off by at most SLACK of the first two."""
    return products(x.centred, y.centred).mul_(-2).add_(x.norms[:, None]).add_(y.norms)


def _exact(x: Tensor, y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Squared distances of pairs from their differences: float64 [P]."""
    parts = zip(rows.split(512), columns.split(512), strict=True)
    return torch.cat([(x[i] - y[j]).square_().sum(1).double() for i, j in parts] or [torch.zeros(0).double()])


# --- Nearest -----------------------------------------------------------------------------------------------------


class _Best:
    """The smallest values seen so far in each row, and the columns they stood in."""

    def __init__(self, count: int, width: int) -> None:
        self.squared = torch.full((count, width), torch.inf)
        self.columns = torch.zeros(count, width, dtype=torch.int64)

    def merge(self, start: int, tile: Tensor, first_column: int) -> None:
        """Take in a tile whose rows begin at `start` and whose columns begin at `first_column`."""
        width = self.squared.shape[1]
        found, columns = tile.topk(min(width, tile.shape[1]), dim=1, largest=False)
        rows = slice(start, start + len(tile))
        squared = torch.cat([self.squared[rows], found], 1)
        columns = torch.cat([self.columns[rows], columns + first_column], 1)
        self.squared[rows], order = squared.topk(width, dim=1, largest=False)
        self.columns[rows] = columns.gather(1, order)


def _search(queries: _Rows, base: _Rows, width: int) -> Tensor:
    best, same = _Best(len(queries.given), width), queries is base
    for i in range(0, len(queries.given), TILE):
        for j in range(i if same else 0, len(base.given), TILE):
            tile = _tile(queries.part(i), base.part(j))
            best.merge(i, tile, j)
            if same and j > i:
                best.merge(j, tile.T.contiguous(), i)  # distances are symmetric: half the tiles serve both sides
    return best.columns


def nearest(queries: Tensor, base: Tensor, k: int) -> Neighbours:
    """Find the k nearest rows of base [M, D] for every query [N, D], both float32: Euclidean, exact.

    `nearest(x, x, k)` counts every row as its own first neighbour. Raises `ValueError` for k > M.
    """
    if k > len(base):
        raise ValueError(f"{k} neighbours wanted of {len(base)} rows")
    columns = _search(*_centred(queries, base), min(k + SPARE, len(base)))
    rows = torch.arange(len(queries)).repeat_interleave(columns.shape[1])
    squared = _exact(queries, base, rows, columns.flatten()).view(columns.shape)
    ordered, order = squared.sort(dim=1, stable=True)
    return Neighbours(ordered[:, :k].sqrt(), columns.gather(1, order)[:, :k])


def nearest_others(features: Tensor, k: int = 1) -> Tensor:
    """Distances from every row [N, D] to the k nearest other rows: float64 [N, k]."""
    return nearest(features, features, k + 1).distances[:, 1:]


# --- Near pairs ---------------------------------------------------------------------------------------------------


def _sharpened(x: _Rows, y: _Rows, found: Pairs, limits: Sequence[Tensor]) -> Tensor:
    """Recompute the distances that rounding leaves on either side of one of the pairs' limits [P]."""
    slack = SLACK * (x.norms[found.rows] + y.norms[found.columns])
    unsure = torch.zeros(len(slack), dtype=torch.bool)
    for limit in limits:
        unsure |= (found.squared - limit).abs() <= slack
    rows, columns = found.rows[unsure], found.columns[unsure]
    if len(rows) > TILE * TILE // 32:  # so many ties that the whole tile in float64 is cheaper
        exactly = "donot_use_mm_for_euclid_dist"  # so that equal rows are at distance 0
        tile = torch.cdist(x.centred.double(), y.centred.double(), compute_mode=exactly).square_()
        return tile[found.rows, found.columns]
    return found.squared.masked_scatter(unsure, _exact(x.given, y.given, rows, columns))


def near_pairs(x: Tensor, y: Tensor, x_limits: Tensor, y_limits: Sequence[Tensor]) -> Iterator[Pairs]:
    """Yield tile by tile all pairs with |x_i - y_j|^2 at most x_limits[i] or one of y_limits[..][j]; a few more come.

    x float32 [N, D], y float32 [M, D]; limits are squared distances, float64 [N], [M]. What is near one of a pair's
    limits is recomputed from differences, so that comparing with them is exact.
    """
    left, right = _centred(x, y)
    widest = torch.stack([*y_limits]).amax(0)
    for i in range(0, len(x), TILE):
        for j in range(0, len(y), TILE):
            a, b = left.part(i), right.part(j)
            tile = _tile(a, b)
            reach = SLACK * (a.norms.max() + b.norms.max())
            close = tile <= (widest[j : j + TILE] + reach).float()
            close |= tile <= (x_limits[i : i + TILE] + reach).float()[:, None]
            rows, columns = close.nonzero(as_tuple=True)
            found = Pairs(rows, columns, tile[rows, columns].double())
            limits = [x_limits[rows + i], *(limit[columns + j] for limit in y_limits)]
            yield Pairs(rows + i, columns + j, _sharpened(a, b, found, limits))
