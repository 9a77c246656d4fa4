import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from mezzotint.errors import BadInput
from mezzotint.evaluation.metrics.prdc import PRDC
from mezzotint.evaluation.statistics import FeatureSet


def draw(count, seed, scale=1.0):
    noise = torch.randn(count, 64, generator=torch.Generator().manual_seed(seed))
    return noise * torch.linspace(2, 0.1, 64) * scale


def feature_set(features):
    return FeatureSet(features, None, None, np.arange(len(features), dtype=np.uint64))


def values(x, y, **options):
    return {name: v.value for name, v in PRDC(**options)(feature_set(x), feature_set(y), None).items()}


@pytest.mark.parametrize(("count", "scale"), [(900, 1.0), (700, 1.1), (800, 0.8)])
def test_precision_and_recall_agree_with_torch_fidelity(count, scale):
    x, y = draw(count, 1, scale), draw(800, 2)
    theirs, ours = prc_features_to_metric(x, y, save_cpu_ram=False, verbose=False), values(x, y)
    assert abs(ours["precision"] - theirs["precision"]) * len(x) <= 2
    assert abs(ours["recall"] - theirs["recall"]) * len(y) <= 2


@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_all_four_agree_with_prdc(scale, capsys):
    compute_prdc = pytest.importorskip("prdc").compute_prdc
    x, y = draw(700, 1, scale), draw(800, 2)
    theirs, ours = compute_prdc(y.numpy(), x.numpy(), 5), values(x, y, k=5)
    for name, size in (("precision", 700), ("recall", 800), ("coverage", 800)):
        assert abs(ours[name] - theirs[name]) * size <= 2
    assert ours["density"] == pytest.approx(theirs["density"], rel=1e-3)


def test_a_collapsed_set_is_precise_and_covers_little():
    real = draw(400, 2)
    found = values(draw(1, 5).expand(300, -1) * 0.3, real)
    assert found["precision"] == 1
    assert found["recall"] == 0
    assert found["coverage"] < values(draw(300, 1), real)["coverage"] - 0.1


def test_a_narrow_set_is_precise_a_noisy_one_is_not():
    narrow, noisy, real = values(draw(400, 1, 0.6), draw(400, 2)), values(draw(400, 1, 1.5), draw(400, 2)), draw(400, 2)
    same = values(draw(400, 1), real)
    assert narrow["precision"] > same["precision"] > noisy["precision"]
    assert narrow["recall"] < same["recall"] < noisy["recall"]
    assert narrow["density"] > same["density"] > noisy["density"]


def test_a_copy_of_the_data_is_perfect():
    found = values(draw(300, 2), draw(300, 2))
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    # Each ball holds its own image and four others; the fifth lies on its edge, which is outside.
    assert found["density"] == pytest.approx(1)


def test_errors_are_the_spread_over_draws():
    real = feature_set(draw(400, 10_000))
    found = [PRDC()(feature_set(draw(400, seed, 0.9)), real, None) for seed in range(40)]
    for name in ("precision", "density", "coverage"):
        errors, spread = [f[name].error or 0 for f in found], np.std([f[name].value for f in found])
        assert 0.6 < np.mean(errors) / spread < 1.6, name
    assert found[0]["recall"].error is None


def test_order_does_not_matter():
    x, y = draw(200, 1), draw(250, 2)
    assert values(x.flip(0), y.roll(7, 0)) == pytest.approx(values(x, y), abs=1e-12)


def test_too_few_images_for_k():
    with pytest.raises(BadInput, match="5 images are too few"):
        values(draw(5, 1), draw(40, 2))
