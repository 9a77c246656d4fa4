"""Steps that each image chooses for itself: tolerances kept, calls counted, broken images let through."""

import pytest
import torch
from torch import Tensor

from mezzotint.diffusion.schedules.karras import Karras
from mezzotint.options import parse
from mezzotint.samplers import Move, integrate
from mezzotint.samplers.adaptive import PAIRS, Adaptive
from mezzotint.seeds import SeededNoise
from oracle import Mixture

D = Mixture()
FREE = Karras().grid(2)
pairs = pytest.mark.parametrize("pair", PAIRS)


def start(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return 80 * torch.randn(count, 2, dtype=dtype, generator=torch.Generator().manual_seed(0))


def moves(x: Tensor, tolerance: float, pair: str = "bogacki-shampine", grid: Tensor = FREE) -> list[Move]:
    sampler = parse(Adaptive, {"pair": pair, "relative": tolerance, "absolute": tolerance})
    return list(integrate(D, x, grid, sampler, SeededNoise(range(len(x)))))


def calls(move: Move) -> Tensor:
    assert move.calls is not None
    return move.calls


@pytest.fixture(scope="module")
def exact() -> Tensor:
    return moves(start(64), 1e-9, "dormand-prince")[0].x


@pairs
def test_a_smaller_tolerance_costs_calls_and_lowers_the_error(pair: str, exact: Tensor) -> None:
    errors, costs = [], []
    for tolerance in (1e-2, 1e-4, 1e-6):
        last = moves(start(64), tolerance, pair)
        errors.append(float((last[0].x - exact).norm(dim=1).mean()))
        costs.append(float(calls(last[-1]).double().mean()))
    assert errors[0] < 0.1
    assert errors[1] < errors[0] / 10
    assert errors[2] < errors[1] / 10
    assert 10 < costs[0] < costs[1] < costs[2] < 600


@pairs
def test_formulas_are_consistent(pair: str) -> None:
    """The last slope is the next step's first, b sums to 1 and b - b_hat to 0; order conditions up to the second."""
    order, rows, error = PAIRS[pair]
    assert sum(rows[-1]) == pytest.approx(1)
    assert sum(error) == pytest.approx(0, abs=1e-15)
    nodes = [sum(row) for row in rows]
    weights = [*rows[-1], 0]
    for k in range(1, order + 1):
        assert sum(b * c ** (k - 1) for b, c in zip(weights, nodes, strict=True)) == pytest.approx(1 / k)
        lower = sum((b - e) * c ** (k - 1) for b, e, c in zip(weights, error, nodes, strict=True))
        assert (lower == pytest.approx(1 / k)) == (k < order)


def test_images_differ_in_calls_and_keep_their_own_beside_others() -> None:
    x = start(32)
    together = moves(x, 1e-3)
    assert len(set(calls(together[-1]).tolist())) > 1
    for index in (3, 17):
        alone = moves(x[index : index + 1], 1e-3)
        assert torch.equal(alone[-1].x, together[-1].x[index : index + 1])
        assert int(calls(alone[-1])) == int(calls(together[-1])[index])


def test_the_batch_pays_for_its_slowest_image() -> None:
    made = []

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        made.append(len(x))
        return D(x, sigma)

    last = list(integrate(counted, start(32), FREE, Adaptive(), SeededNoise(range(32))))[-1]
    assert set(made) == {32}
    assert len(made) == int(calls(last).max()) > int(calls(last).min())


def test_every_level_of_the_grid_is_arrived_at() -> None:
    grid = Karras().grid(5)
    found = moves(start(8), 1e-6, grid=grid)
    assert [move.sigma for move in found] == grid[1:].tolist()
    free = moves(start(8), 1e-6)
    torch.testing.assert_close(found[-1].x, free[-1].x, atol=1e-4, rtol=0)
    assert [int(calls(move)[0]) for move in found] == sorted(int(calls(move)[0]) for move in found)
    assert torch.equal(calls(found[-1]), calls(found[-2]))  # the move to 0 costs nothing


def test_in_float32_a_tolerance_below_rounding_ends() -> None:
    last = moves(start(4, torch.float32), 1e-9)
    assert last[-1].x.dtype == torch.float32
    assert bool(last[-1].x.isfinite().all())
    torch.testing.assert_close(
        last[-1].x.double(), moves(start(4, torch.float32).double(), 1e-9)[-1].x, atol=1e-3, rtol=0
    )


def test_a_broken_image_neither_hangs_nor_spoils_the_others() -> None:
    x = start(4)
    broken = x.clone()
    broken[1] = float("nan")
    out = moves(broken, 1e-3)[-1].x
    assert bool(out[1].isnan().all())
    rest = [0, 2, 3]
    assert torch.equal(out[rest], moves(x, 1e-3)[-1].x[rest])
