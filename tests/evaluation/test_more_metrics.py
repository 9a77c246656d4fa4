import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from mezzotint.errors import BadInput
from mezzotint.evaluation.metrics import METRICS
from mezzotint.evaluation.metrics.class_frechet import ClassFrechet
from mezzotint.evaluation.metrics.cmmd import CMMD, gaussian_mmd
from mezzotint.evaluation.metrics.frechet import Frechet, frechet_distance, standard_error
from mezzotint.evaluation.metrics.frechet_infinity import FrechetInfinity, intercept_weights
from mezzotint.evaluation.metrics.inception_score import InceptionScore
from mezzotint.evaluation.metrics.sliced_wasserstein import SlicedWasserstein, transport
from mezzotint.evaluation.statistics import FeatureSet, Moments


def draw(count, seed, dimension=8):
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))


def feature_set(features, probabilities=None, labels=None):
    return FeatureSet(features, probabilities, labels, np.arange(len(features), dtype=np.uint64))


def spread_and_error(metric, name, seeds=40, count=300):
    reference = feature_set(draw(800, 10_000))
    found = [metric(feature_set(draw(count, seed) * 1.2 + 0.3), reference, None)[name] for seed in range(seeds)]
    return np.std([v.value for v in found]), np.mean([v.error or 0 for v in found])


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_scores_a_copy_best(name):
    labels = torch.arange(60) % 3
    probabilities = torch.softmax(draw(60, 3, 5), 1)
    real, copy = (feature_set(draw(60, 1), probabilities, labels) for _ in range(2))
    other = feature_set(draw(60, 2) * 3 + 1, torch.full((60, 5), 0.2), labels.flip(0))
    metric = METRICS[name]()
    best, worse = metric(copy, real, None), metric(other, real, None)
    first = next(iter(best))
    if name == "memorisation":
        assert best["authentic"].value == 0
    elif first in metric.larger_is_better:
        assert best[first].value > worse[first].value
    else:
        assert best[first].value < worse[first].value


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_cautions_about_four_images(name):
    few = feature_set(draw(4, 1), torch.softmax(draw(4, 2), 1), torch.zeros(4, dtype=torch.int64))
    assert "\n" not in str(METRICS[name]().caution(few))
    assert METRICS[name]().caution(few)


# --- Frechet ------------------------------------------------------------------------------------------------------


def test_fewer_images_than_features_agree_with_the_covariances_and_their_error():
    x, y = feature_set(draw(30, 1, 50) + 0.2), feature_set(draw(200, 2, 50))
    few = Frechet()(x, y, None)["frechet"]
    value, influence = frechet_distance(x.moments, y.moments)
    assert few.value == pytest.approx(value, rel=1e-9)
    assert few.error == pytest.approx(standard_error(influence.of(x.features)), rel=1e-6)


def test_extrapolation_takes_off_the_bias():
    reference = feature_set(draw(20_000, 0, 16))
    plain, extrapolated = [], []
    for seed in range(1, 21):
        images = feature_set(draw(200, seed, 16) * 1.1)
        plain.append(Frechet()(images, reference, None)["frechet"].value)
        extrapolated.append(FrechetInfinity()(images, reference, None)["frechet_infinity"].value)
    truth = 16 * 0.1**2
    assert abs(np.mean(extrapolated) - truth) < 0.25 * abs(np.mean(plain) - truth)


def test_extrapolation_error():
    spread, error = spread_and_error(FrechetInfinity(), "frechet_infinity")
    assert error == pytest.approx(spread, rel=0.4)


def test_intercept_of_a_line():
    x = torch.tensor([1.0, 2.0, 5.0]).double()
    assert float(intercept_weights(x) @ (3 - 2 * x)) == pytest.approx(3)


# --- Inception Score ----------------------------------------------------------------------------------------------


def test_inception_score_agrees_with_torch_fidelity_on_synthetic_logits():
    logits = draw(1003, 1, 30) * 2
    theirs = isc_features_to_metric(logits, splits=10, shuffle=False)
    ours = InceptionScore()(feature_set(logits, logits.softmax(1)), feature_set(logits), None)["inception_score"]
    # Both cut 1003 into splits of 100 or 101, in another order.
    assert ours.value == pytest.approx(theirs["inception_score_mean"], rel=3e-3)
    whole = logits[:1000]
    theirs = isc_features_to_metric(whole, splits=10, shuffle=False)
    ours = InceptionScore()(feature_set(whole, whole.softmax(1)), feature_set(whole), None)["inception_score"]
    assert ours.value == pytest.approx(theirs["inception_score_mean"], rel=1e-5)
    assert (ours.error or 0) * 3 == pytest.approx(theirs["inception_score_std"], rel=1e-4)  # sqrt(10 - 1)


def test_inception_score_counts_classes():
    sure = torch.eye(7)[torch.arange(70) % 7]
    score = InceptionScore(splits=2)(feature_set(draw(70, 1), sure), feature_set(draw(70, 2)), None)
    assert score["inception_score"].value == pytest.approx(7)


def test_inception_score_needs_classes():
    with pytest.raises(BadInput, match="knows no classes"):
        InceptionScore()(feature_set(draw(30, 1)), feature_set(draw(30, 2)), None)


# --- CMMD, sliced Wasserstein -------------------------------------------------------------------------------------


def test_gaussian_mmd_is_the_plain_double_sum():
    x, y = (torch.nn.functional.normalize(draw(n, n)) for n in (37, 51))
    kernel = [(-torch.cdist(a.double(), b.double()).square() / (2 * 0.25)).exp() for a, b in ((x, x), (y, y), (x, y))]
    xx, yy = ((k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in kernel[:2])
    assert gaussian_mmd(x, y, 0.5)[0] == pytest.approx(float(xx + yy - 2 * kernel[2].mean()), rel=1e-4)


def test_cmmd_error():
    spread, error = spread_and_error(CMMD(), "cmmd")
    assert error == pytest.approx(spread, rel=0.4)


def test_transport_between_unequal_numbers_is_that_of_repeated_ones():
    x, y = draw(6, 1, 3), draw(4, 2, 3)
    same = (x.repeat_interleave(2, 0), y.repeat_interleave(3, 0))
    assert torch.allclose(transport(x, y), transport(*same))
    expected = (same[0].sort(0).values - same[1].sort(0).values).double().square().mean(0)
    assert torch.allclose(transport(x, y), expected)


def test_sliced_wasserstein_of_a_shift():
    # Along a random direction a shift s costs (s'a)^2, on average |s|^2 / D.
    x = draw(500, 1)
    found = SlicedWasserstein(projections=2000)(feature_set(x + 2.0), feature_set(x), None)["sliced_wasserstein"]
    assert found.value == pytest.approx(2.0, abs=0.1)


def test_sliced_wasserstein_error():
    spread, error = spread_and_error(SlicedWasserstein(), "sliced_wasserstein")
    assert error == pytest.approx(spread, rel=0.4)


# --- Classes ------------------------------------------------------------------------------------------------------


def test_swapped_classes_are_seen_though_the_whole_is_right():
    labels = torch.arange(200) % 2
    centres = torch.tensor([[0.0], [6.0]])
    real = feature_set(draw(200, 1) + centres[labels], labels=labels)
    right = feature_set(draw(200, 2) + centres[labels], labels=labels)
    swapped = feature_set(right.features, labels=1 - labels)
    good, bad = (ClassFrechet()(images, real, None) for images in (right, swapped))
    assert good["accuracy"].value > 0.99
    assert bad["accuracy"].value < 0.01
    assert bad["class_frechet"].value > 100 * good["class_frechet"].value
    x, y = ([feature_set(images.features[labels == c]) for c in (0, 1)] for images in (right, real))
    parts = [Frechet()(a, b, None)["frechet"].value for a, b in zip(x, y, strict=True)]
    assert good["class_frechet"].value == pytest.approx(np.mean(parts))


def test_classes_that_have_no_distance_are_named():
    metric = ClassFrechet()
    real = feature_set(draw(9, 1), labels=torch.tensor([0, 0, 0, 1, 1, 1, 2, 3, 3]))
    some = feature_set(draw(7, 2), labels=torch.tensor([0, 0, 0, 1, 2, 2, 2]))
    said = str(metric.remark(some, real))
    assert "classes left out of the distance, never generated: 3 (1 in all)" in said
    assert "classes left out of the distance, fewer than 2 images on a side: 1, 2 (2 in all)" in said
    assert metric.remark(real[:6], real[:6]) is None


@pytest.mark.parametrize("side", ["generated", "reference"])
def test_classes_need_labels(side):
    labelled, plain = feature_set(draw(20, 1), labels=torch.zeros(20).long()), feature_set(draw(20, 1))
    sets = (plain, labelled) if side == "generated" else (labelled, plain)
    with pytest.raises(BadInput, match=f"{side} images have no labels"):
        ClassFrechet()(*sets, None)


def test_moments_know_their_root():
    root = Moments.of(draw(50, 1)).root
    torch.testing.assert_close(root @ root, Moments.of(draw(50, 1)).covariance)
