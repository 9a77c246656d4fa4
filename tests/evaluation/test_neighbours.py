import pytest
import torch

from mezzotint.evaluation import neighbours
from mezzotint.evaluation.neighbours import near_pairs, nearest, nearest_others, products


def draw(count, seed, dimension=12, centre=0.0):
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed)) + centre


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    monkeypatch.setattr(neighbours, "TILE", 50)


@pytest.mark.parametrize("centre", [0.0, 1000.0])  # far from the origin, |x|^2 + |y|^2 - 2 x'y alone cancels
def test_nearest_are_those_of_all_distances(centre):
    x, y = draw(130, 1, centre=centre), draw(170, 2, centre=centre)
    expected = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").topk(3, largest=False)
    found = nearest(x, y, 3)
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.distances, expected.values, rtol=1e-6, atol=0)


def test_a_set_searched_in_itself():
    x = torch.cat([draw(120, 1), draw(120, 1)[:7]])  # seven copies
    everything = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    torch.testing.assert_close(nearest(x, x, 5).distances, everything.sort(1).values[:, :5], rtol=1e-6, atol=0)
    assert int((nearest_others(x)[:, 0] == 0).sum()) == 14


def test_near_pairs_are_all_pairs_within_a_limit():
    x, y = draw(130, 1), draw(170, 2)
    squared = torch.cdist(x.double(), y.double()).square()
    left, right = squared.quantile(0.02, dim=1), squared.quantile(0.03, dim=0)
    expected = (squared <= left[:, None]) | (squared <= right)
    found = torch.zeros_like(expected)
    for rows, columns, distances in near_pairs(x, y, left, [right, right / 2]):
        within = (distances <= left[rows]) | (distances <= right[columns])
        found[rows[within], columns[within]] = True
    assert torch.equal(found, expected)


def test_sets_that_are_one_point_are_all_ties():
    x = torch.ones(110, 12) * 0.1 + 7
    assert nearest(x, x, 4).distances.abs().max() == 0
    pairs = list(near_pairs(x, x, torch.zeros(110).double(), [torch.zeros(110).double()]))
    assert sum(int((squared <= 0).sum()) for _, _, squared in pairs) == 110 * 110


def test_products():
    torch.testing.assert_close(products(draw(9, 1), draw(5, 2)), draw(9, 1) @ draw(5, 2).T)


def test_more_neighbours_than_rows():
    with pytest.raises(ValueError, match="4 neighbours"):
        nearest(draw(9, 1), draw(3, 2), 4)
