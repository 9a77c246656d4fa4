import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from mezzotint.evaluation.metrics.memorisation import Memorisation, rank_sum_z
from mezzotint.evaluation.statistics import FeatureSet


def draw(count, seed):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def feature_set(features):
    return FeatureSet(features, None, None, np.arange(len(features), dtype=np.uint64))


TRAIN, TEST = feature_set(draw(600, 1)), feature_set(draw(500, 2))


def judged(features, held_out: FeatureSet | None = TEST):
    found = Memorisation()(feature_set(features), TRAIN, held_out)
    return found, Memorisation().finding(found)


def test_fresh_images_are_not_flagged():
    found, flag = judged(draw(400, 3))
    assert abs(found["c_t"].value) < 3
    assert found["copies"].value < 0.04
    assert 0.3 < found["authentic"].value < 0.7
    assert abs(found["frechet_gap"].value) < 5 * (found["frechet_gap"].error or 0) + 0.1
    assert flag is None


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_copies_are_flagged(noise):
    found, flag = judged(TRAIN.features[:400] + noise * draw(400, 4))
    assert found["copies"].value > 0.9
    assert found["authentic"].value < 0.05
    assert found["c_t"].value < -10
    assert found["frechet_gap"].value > 0
    assert str(flag).startswith("memorised: ")


def test_a_tenth_of_copies_is_enough():
    found, flag = judged(torch.cat([TRAIN.features[:60], draw(540, 5)]))
    assert found["copies"].value == pytest.approx(0.11, abs=0.02)
    assert "memorised" in str(flag)


def test_without_held_out_images_copies_are_still_flagged():
    found, flag = judged(TRAIN.features[:300], None)
    assert set(found) == {"authentic", "duplicates"}
    assert "memorised" in str(flag)
    assert judged(draw(300, 6), None)[1] is None


def test_duplicates_among_the_images():
    fresh = draw(200, 7)
    assert judged(fresh)[0]["duplicates"].value < 0.05
    assert judged(torch.cat([fresh, fresh[:100] + 1e-4]))[0]["duplicates"].value == pytest.approx(2 / 3, abs=0.05)


def test_rank_sum_agrees_with_scipy():
    x, y = (draw(80, seed).flatten().double().mul(10).round() for seed in (1, 2))
    y = y[:300] + 1
    result = mannwhitneyu(x, y, method="asymptotic", use_continuity=False, alternative="less")
    p = 0.5 * torch.special.erfc(torch.tensor(-rank_sum_z(x, y) / 2**0.5, dtype=torch.float64))
    assert float(p) == pytest.approx(result.pvalue, rel=1e-9)
