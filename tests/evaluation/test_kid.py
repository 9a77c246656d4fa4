import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from mezzotint.evaluation.metrics.kid import KID
from mezzotint.evaluation.statistics import FeatureSet


def draw(seed, count, shift=0.0):
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)) + shift


def feature_set(features):
    return FeatureSet(features, None, None, np.arange(len(features), dtype=np.uint64))


def kid(x, y, **options):
    return KID(**options)(feature_set(x), feature_set(y), None)["kid"].value


@pytest.mark.parametrize("subset_size", [200, 1000])  # either way there is one subset: all images
def test_one_full_subset_agrees_with_torch_fidelity(subset_size):
    x, y = draw(1, 200), draw(2, 200, 0.3)
    theirs = kid_features_to_metric(x.double(), y.double(), kid_subsets=1, kid_subset_size=200, verbose=False)
    ours = kid(x, y, subset_size=subset_size)
    assert ours == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-5)


def test_subsets_agree_with_torch_fidelity_within_their_errors():
    x, y = draw(1, 1000), draw(2, 1000, 0.3)
    theirs = kid_features_to_metric(x, y, kid_subsets=100, kid_subset_size=200, verbose=False)
    ours = KID(subset_size=200)(feature_set(x), feature_set(y), None)["kid"]
    spread = theirs["kernel_inception_distance_std"]
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], abs=0.5 * spread)
    assert ours.error is not None
    assert ours.value > 10 * ours.error > 0


def test_is_unbiased():
    values = [kid(draw(2 * i, 30), draw(2 * i + 1, 30)) for i in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert min(values) < 0


def test_error_is_the_spread_over_draws():
    reference = feature_set(draw(10_000, 400))
    found = [KID(subset_size=50)(feature_set(draw(i, 400, 0.5)), reference, None)["kid"] for i in range(60)]
    assert 0.7 < np.mean([v.error or 0 for v in found]) / np.std([v.value for v in found]) < 1.4


def test_reaching_all_subsets_compares_all_pairs():
    x, y = draw(1, 500), draw(2, 300, 0.2)
    assert kid(x, y, subset_size=100, reach=9) == pytest.approx(kid(x, y), rel=1e-5)


def test_no_noisier_than_random_subsets():
    ours, theirs = [], []
    for seed in range(60):  # two draws of one distribution, where subsets are noisiest
        x, y = draw(2 * seed, 500), draw(2 * seed + 1, 500)
        ours.append(KID(subset_size=50)(feature_set(x), feature_set(y), None)["kid"].value)
        found = kid_features_to_metric(x, y, kid_subsets=100, kid_subset_size=50, verbose=False)
        theirs.append(found["kernel_inception_distance_mean"])
    assert np.std(ours) < 1.25 * np.std(theirs)
    assert abs(np.mean(ours)) < 4 * np.std(ours) / 60**0.5


def test_the_same_sets_give_the_same_number_every_time():
    sets = feature_set(draw(1, 100)), feature_set(draw(2, 90))
    assert KID()(*sets, None) == KID()(*sets, None)
