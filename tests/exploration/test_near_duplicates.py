"""Near-duplicates against a comparison of every pair, one by one."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from mezzotint.exploration import duplicates
from mezzotint.exploration.duplicates import NEAR, near_duplicates
from packing import levels, pack_of, smooth


def brute(pixels: np.ndarray) -> dict[tuple[int, int], float]:
    """Difference over contrast of all near pairs of uint8 [N, H, W, C]."""
    images = pixels / 127.5 - 1
    contrast = np.sqrt(images.var((1, 2)).mean(1))
    shares = {}
    for i, j in combinations(range(len(images)), 2):
        difference = np.sqrt(np.square(images[i] - images[j]).mean())
        shares[i, j] = difference / max(contrast[i], contrast[j], 1e-12)
    return {pair: share for pair, share in shares.items() if share <= NEAR}


@pytest.mark.parametrize(("size", "channels"), [(16, 3), (28, 1)])
def test_every_near_pair_is_found_and_no_other(tmp_path: Path, size: int, channels: int) -> None:
    random = np.random.default_rng(0)
    pixels = smooth(random, 150, size, channels)
    for place, strength in enumerate((0, 2, 4, 8, 16, 24, 32, 48)):  # copies, the first exact, ever less alike
        noise = strength * random.normal(size=pixels.shape[1:])
        pixels[100 + place] = np.clip(pixels[place] + noise, 0, 255).astype(np.uint8)
    found, wanted = near_duplicates(pack_of(pixels, tmp_path)), brute(pixels)
    assert {(pair.first, pair.second) for pair in found.pairs} == set(wanted)
    assert (0, 100) in wanted
    assert (7, 107) not in wanted
    assert found.whole
    assert found.count == len(wanted)
    for pair in found.pairs:
        assert pair.difference == pytest.approx(wanted[pair.first, pair.second], abs=1e-5)
    assert [pair.difference for pair in found.pairs] == sorted(pair.difference for pair in found.pairs)


def test_plain_pictures_are_near_only_where_they_are_equal(tmp_path: Path) -> None:
    flat = np.broadcast_to(np.linspace(-1, 1, 40)[:, None, None, None], (40, 8, 8, 1))
    pixels = levels(flat).copy()
    pixels[5] = pixels[4]
    found = near_duplicates(pack_of(pixels, tmp_path))
    assert [(pair.first, pair.second, pair.difference) for pair in found.pairs] == [(4, 5, 0.0)]


def test_a_pack_full_of_copies_ends_and_says_that_it_did_not_count_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_MOST_CANDIDATES", 3000)
    pixels = np.repeat(smooth(np.random.default_rng(0), 1, 8, 1), 200, 0)
    found = near_duplicates(pack_of(pixels, tmp_path))
    assert not found.whole
    assert 3000 <= found.count < 200 * 199 / 2
    assert len(found.pairs) == duplicates.MOST_KEPT


def test_of_a_large_pack_some_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MOST_COMPARED", 30)
    found = near_duplicates(pack_of(smooth(np.random.default_rng(0), 60, 8, 1), tmp_path))
    assert found.compared == 30
