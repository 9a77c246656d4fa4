import pytest
import torch

from mezzotint.evaluation import neighbours
from mezzotint.evaluation.neighbours import near_pairs, nearest, nearest_others, products


def draw(count, seed, dimension=12, centre=0.0):
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed)) + centre


@pytest.fixture(autouse=True, params=[torch.float32, torch.bfloat16])
def _small_tiles(monkeypatch, request):
    """Several tiles, and either type in which products are taken: whatever it is, what is found is exact."""
    monkeypatch.setattr(neighbours, "TILE", 50)
    monkeypatch.setattr(neighbours, "_rough_type", lambda: request.param)


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


def test_rows_for_which_a_first_look_is_too_rough_are_searched_again():
    # A tight cluster far from the centre: in bfloat16 all of its distances look alike.
    x = torch.cat([draw(120, 1) * 0.05 + 5, draw(120, 2)])
    expected = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist").topk(4, largest=False)
    found = nearest(x, x, 4)
    torch.testing.assert_close(found.distances, expected.values, rtol=1e-5, atol=1e-9)


def test_near_pairs_of_a_tight_cluster():
    x, y = draw(130, 1) * 0.05 + 5, torch.cat([draw(100, 3) * 0.05 + 5, draw(70, 2)])
    squared = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    left, right = squared.quantile(0.3, dim=1), squared.quantile(0.2, dim=0)
    expected = (squared <= left[:, None] * 0.9999) | (squared <= right * 0.9999)
    surely_not = (squared > left[:, None] * 1.0001) & (squared > right * 1.0001)
    found = torch.zeros_like(expected)
    for rows, columns, distances in near_pairs(x, y, left, [right]):
        within = (distances <= left[rows]) | (distances <= right[columns])
        found[rows[within], columns[within]] = True
    assert found[expected].all()
    assert not found[surely_not].any()


def test_sets_that_are_one_point_are_all_ties():
    x = torch.ones(110, 12) * 0.1 + 7
    assert nearest(x, x, 4).distances.abs().max() == 0
    pairs = list(near_pairs(x, x, torch.zeros(110).double(), [torch.zeros(110).double()]))
    assert sum(int((squared <= 0).sum()) for _, _, squared in pairs) == 110 * 110


def test_of_the_features_no_second_copy_is_held():
    x = draw(400, 1, dimension=64)
    dtype = neighbours._rough_type()
    rows = neighbours._Rows.around(x.mean(0), x, dtype)
    beside = [held for kind in (rows, rows.sharp()) for held in kind if isinstance(held, torch.Tensor)]
    assert rows.given.data_ptr() == rows.sharp().given.data_ptr() == x.data_ptr()
    own = {held.data_ptr(): held.nbytes for held in beside if held.data_ptr() != x.data_ptr()}
    assert sum(own.values()) < 1.1 * len(x) * 64 * torch.empty(0, dtype=dtype).element_size()


def test_more_rows_than_a_tile_searched_again_are_searched_in_parts(monkeypatch):
    widest, search = [], neighbours._search
    monkeypatch.setattr(neighbours, "_search", lambda *given: widest.append(len(given[0].given)) or search(*given))
    x = torch.cat([draw(160, 1) * 0.05 + 5, draw(40, 2)])  # bfloat16 tells nothing within the cluster
    expected = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist").topk(4, largest=False)
    torch.testing.assert_close(nearest(x, x, 4).distances, expected.values, rtol=1e-5, atol=1e-9)
    assert max(widest[1:]) <= neighbours.TILE
    assert (sum(widest[1:]) > 100) == (neighbours._rough_type() == torch.bfloat16)


def test_products():
    torch.testing.assert_close(products(draw(9, 1), draw(5, 2)), draw(9, 1) @ draw(5, 2).T)


def test_more_neighbours_than_rows():
    with pytest.raises(ValueError, match="4 neighbours"):
        nearest(draw(9, 1), draw(3, 2), 4)
