"""Nearest neighbours and all near pairs of feature sets: exact, in tiles, never an N x M matrix."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from mezzotint.machine import Machine

TILE = 2048
"""Rows and columns of the largest block of distances that is held: 16 MiB in float32."""

SLACK = 2e-6
"""Rounding of a float32 squared distance as a share of |x|^2 + |y|^2, some ten times what it is at 2048 features."""

SPARE = 4
"""Neighbours kept beyond those asked for until distances are recomputed, since rounding may swap the last ones."""

ROUGH_SPARE = 26
"""The same where products are of bfloat16: rows for which they are too few are searched again in float32."""

_PAIRS = 128
"""Pairs of rows whose differences are taken at once: 1 MiB at 2048 features, which the cache holds."""

_ROUNDING = 2.0**-8
"""Of a result in bfloat16, as a share of it."""


def products(x: Tensor, y: Tensor) -> Tensor:
    """Inner products of float32 rows [m, D], [n, D] -> float32 [m, n].

    Through oneDNN where torch has it: the same float32 numbers as `x @ y.T`, twice as fast where the default
    library was made for another maker's processors.
    """
    if not torch.backends.mkldnn.is_available():
        return x @ y.T
    return torch.ops.mkldnn._linear_pointwise(x, y, None, "none", [], "")


@cache
def _rough_type() -> torch.dtype:
    """Number type in which this processor multiplies fastest: a first look needs no more digits."""
    return torch.bfloat16 if Machine.detect("cpu").precision == "bfloat16" else torch.float32


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
    centre: Tensor  # float32 [D]
    norms: Tensor  # float32 [N]
    kept: Tensor | None  # centred, in the type whose products are taken [N, D]; None: centred where they are needed
    lost: float  # largest distance of a centred row to its kept self, as a share of its norm

    @classmethod
    def around(cls, centre: Tensor, features: Tensor, dtype: torch.dtype) -> "_Rows":
        norms, lost = torch.empty(2, len(features))
        kept = torch.empty_like(features, dtype=dtype)
        for start in range(0, len(features), TILE):  # a centred copy of all rows would be as large as they are
            rows = slice(start, start + TILE)
            centred = features[rows] - centre
            kept[rows] = centred
            norms[rows] = torch.linalg.vector_norm(centred, dim=1).square_()
            lost[rows] = torch.linalg.vector_norm(centred - kept[rows], dim=1)
        share = (lost / norms.sqrt()).nan_to_num(0)  # a row of zeros loses nothing
        return cls(features, centre, norms, kept, float(share.max()))

    @property
    def is_rough(self) -> bool:
        """Whether products are taken in fewer digits than float32's."""
        return self.kept is not None and self.kept.dtype != torch.float32

    @property
    def factors(self) -> Tensor:
        """Centred rows, as products are taken of them."""
        return self.given - self.centre if self.kept is None else self.kept

    def sharp(self) -> "_Rows":
        """Return the same rows, their products taken in float32."""
        return self._replace(kept=None, lost=0.0) if self.is_rough else self

    def at(self, rows: Tensor | slice) -> "_Rows":
        """Return the rows chosen, as slice or int64 [n]."""
        kept = None if self.kept is None else self.kept[rows]
        return self._replace(given=self.given[rows], norms=self.norms[rows], kept=kept)

    def part(self, start: int) -> "_Rows":
        return self.at(slice(start, start + TILE))


def _centred(x: Tensor, y: Tensor) -> tuple[_Rows, _Rows]:
    centre, dtype = y.mean(0), _rough_type()
    base = _Rows.around(centre, y, dtype)
    return (base if x is y else _Rows.around(centre, x, dtype)), base


def _slack(x: _Rows, y: _Rows) -> float:
    """How far a tile's distances may be off, as a share of |x|^2 + |y|^2.

    With x = x^ + dx, y = y^ + dy of rounded rows, |x'y - x^'y^| is at most |dx||y| + |x||dy| + |dx||dy| (Cauchy,
    Schwarz), the result is rounded once more, and 2|x||y| is at most |x|^2 + |y|^2.
    """
    if not x.is_rough:
        return SLACK
    a, b = x.lost, y.lost
    return SLACK + a + b + a * b + _ROUNDING * (1 + a) * (1 + b)


def _tile(x: _Rows, y: _Rows) -> Tensor:
    """|x|^2 + |y|^2 - 2 x'y, float32 [m, n], off by at most `_slack` of the first two."""
    multiply = torch.nn.functional.linear if x.is_rough else products
    found = multiply(x.factors, y.factors).float()
    return found.mul_(-2).add_(x.norms[:, None]).add_(y.norms)


def _exact(x: Tensor, y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Squared distances of pairs from their differences: float64 [P]."""
    found = torch.empty(len(rows), dtype=torch.float64)
    # Written in place: results kept from each round would lie between freed blocks, which then serve nothing else.
    for start in range(0, len(rows), _PAIRS):
        part = slice(start, start + _PAIRS)
        found[part] = x[rows[part]].sub_(y[columns[part]]).square_().sum(1)
    return found


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


def _search(queries: _Rows, base: _Rows, width: int) -> _Best:
    best, same = _Best(len(queries.given), width), queries is base
    for i in range(0, len(queries.given), TILE):
        for j in range(i if same else 0, len(base.given), TILE):
            tile = _tile(queries.part(i), base.part(j))
            best.merge(i, tile, j)
            if same and j > i:
                best.merge(j, tile.T.contiguous(), i)  # distances are symmetric: half the tiles serve both sides
    return best


def _first(queries: _Rows, base: _Rows, k: int) -> tuple[Neighbours, Tensor]:
    """Find the k nearest among a few that seem near, and for which queries no other can be nearer: bool [N]."""
    is_rough = queries.is_rough
    best = _search(queries, base, min(k + (ROUGH_SPARE if is_rough else SPARE), len(base.given)))
    whole, (seeming, order) = best.squared.shape[1] == len(base.given), best.squared.sort(dim=1)
    columns = best.columns.gather(1, order)
    off = _slack(queries, base) * (queries.norms + base.norms.max())
    near = seeming <= seeming[:, k - 1 : k] + 2 * off[:, None] if is_rough else torch.ones_like(columns).bool()
    squared = torch.full(columns.shape, torch.inf, dtype=torch.float64)
    squared[near] = _exact(queries.given, base.given, near.nonzero()[:, 0], columns[near])
    ordered, order = squared.sort(dim=1, stable=True)
    sure = ordered[:, k - 1] < seeming[:, -1] - off if is_rough and not whole else torch.ones(len(near)).bool()
    return Neighbours(ordered[:, :k].sqrt(), columns.gather(1, order)[:, :k]), sure


def nearest(queries: Tensor, base: Tensor, k: int) -> Neighbours:
    """Find the k nearest rows of base [M, D] for every query [N, D], both float32: Euclidean, exact.

    `nearest(x, x, k)` counts every row as its own first neighbour. Raises `ValueError` for k > M.
    """
    if k > len(base):
        raise ValueError(f"{k} neighbours wanted of {len(base)} rows")
    left, right = _centred(queries, base)
    found, sure = _first(left, right, k)
    for rows in (~sure).nonzero()[:, 0].split(TILE):
        again, _ = _first(left.sharp().at(rows), right.sharp(), k)
        found.distances[rows], found.indices[rows] = again
    return found


def nearest_others(features: Tensor, k: int = 1) -> Tensor:
    """Distances from every row [N, D] to the k nearest other rows: float64 [N, k]."""
    return nearest(features, features, k + 1).distances[:, 1:]


# --- Near pairs ---------------------------------------------------------------------------------------------------


def _many() -> int:
    """Of a tile's pairs: to recompute more of them one by one costs more than the whole tile in a wider type."""
    return TILE * TILE // 32


def _unsure(x: _Rows, y: _Rows, found: Pairs, limits: Sequence[Tensor], slack: float) -> Tensor:
    """Say which distances rounding leaves on either side of one of the pairs' limits [P]: bool [P]."""
    off = slack * (x.norms[found.rows] + y.norms[found.columns])
    unsure = torch.zeros(len(off), dtype=torch.bool)
    for limit in limits:
        unsure |= (found.squared - limit).abs() <= off
    return unsure


def _sharpened(x: _Rows, y: _Rows, found: Pairs, unsure: Tensor) -> Tensor:
    """Recompute what is unsure from differences."""
    rows, columns = found.rows[unsure], found.columns[unsure]
    if len(rows) > _many():  # so many ties that the whole tile in float64 is cheaper
        exactly = "donot_use_mm_for_euclid_dist"  # so that equal rows are at distance 0
        x_centred, y_centred = ((part.given - part.centre).double() for part in (x, y))
        tile = torch.cdist(x_centred, y_centred, compute_mode=exactly).square_()
        return tile[found.rows, found.columns]
    return found.squared.masked_scatter(unsure, _exact(x.given, y.given, rows, columns))


def near_pairs(x: Tensor, y: Tensor, x_limits: Tensor, y_limits: Sequence[Tensor]) -> Iterator[Pairs]:
    """Yield tile by tile all pairs with |x_i - y_j|^2 at most x_limits[i] or one of y_limits[..][j]; a few more come.

    x float32 [N, D], y float32 [M, D]; limits are squared distances, float64 [N], [M]. What is near one of a pair's
    limits is recomputed from differences, so that comparing with them is exact.
    """
    left, right = _centred(x, y)
    slack = _slack(left, right)
    for i in range(0, len(x), TILE):
        for j in range(0, len(y), TILE):
            limits = x_limits[i : i + TILE], [limit[j : j + TILE] for limit in y_limits]
            rows, columns, squared = _near(left.part(i), right.part(j), *limits, slack)
            yield Pairs(rows + i, columns + j, squared)


def _near(a: _Rows, b: _Rows, a_limits: Tensor, b_limits: Sequence[Tensor], slack: float) -> Pairs:
    tile = _tile(a, b)
    reach = slack * (a.norms.max() + b.norms.max())
    close = tile <= (torch.stack([*b_limits]).amax(0) + reach).float()
    close |= tile <= (a_limits + reach).float()[:, None]
    rows, columns = close.nonzero(as_tuple=True)
    found = Pairs(rows, columns, tile[rows, columns].double())
    unsure = _unsure(a, b, found, [a_limits[rows], *(limit[columns] for limit in b_limits)], slack)
    if a.is_rough and int(unsure.sum()) > _many():
        return _near(a.sharp(), b.sharp(), a_limits, b_limits, SLACK)
    return found._replace(squared=_sharpened(a, b, found, unsure))
