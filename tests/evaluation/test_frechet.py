import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from mezzotint.evaluation.metrics.frechet import Frechet, frechet_distance, standard_error
from mezzotint.evaluation.statistics import FeatureSet, Moments


def moments(mean, covariance):
    covariance = torch.as_tensor(covariance, dtype=torch.float64)
    return Moments(101, torch.as_tensor(mean, dtype=torch.float64), covariance * 100)


def feature_set(features):
    return FeatureSet(features.float(), None, None, np.arange(len(features), dtype=np.uint64))


def rotation(dimension, seed=0):
    return torch.linalg.qr(torch.randn(dimension, dimension, dtype=torch.float64, generator=seeded(seed)))[0]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def distance(first, second):
    return frechet_distance(first, second)[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([1.0, 4.0, 9.0, 0.25], [4.0, 1.0, 9.0, 2.25]),
        ([1.0, 4.0, 0.0, 0.0], [4.0, 1.0, 9.0, 2.25]),  # one rank-deficient
        ([1.0, 0.0, 0.0, 9.0], [0.0, 0.0, 4.0, 1.0]),  # both, on different ranges
        ([0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]),  # a point
    ],
)
def test_commuting_gaussians_have_the_closed_form(first, second):
    # Covariances with common eigenvectors: d^2 = |m1 - m2|^2 + sum (sqrt a - sqrt b)^2.
    axes, a, b = rotation(4), torch.tensor(first).double(), torch.tensor(second).double()
    m1, m2 = torch.tensor([1.0, -2.0, 0.5, 3.0]).double(), torch.tensor([0.0, 1.0, 0.5, -1.0]).double()
    found = distance(moments(m1, axes @ a.diag() @ axes.T), moments(m2, axes @ b.diag() @ axes.T))
    expected = (m1 - m2).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    assert found == pytest.approx(float(expected), rel=1e-9)
    assert distance(moments(m2, axes @ b.diag() @ axes.T), moments(m1, axes @ a.diag() @ axes.T)) == pytest.approx(
        found, rel=1e-9
    )


def test_two_by_two_without_common_axes():
    # tr (S1 S2)^(1/2) = sqrt(tr S1 S2 + 2 sqrt(det S1 S2)) for 2 x 2 matrices (Cayley-Hamilton).
    a = torch.tensor([[2.0, 0.7], [0.7, 1.0]]).double()
    b = torch.tensor([[1.0, -0.4], [-0.4, 3.0]]).double()
    trace = ((a @ b).trace() + 2 * (torch.det(a) * torch.det(b)).sqrt()).sqrt()
    found = distance(moments([0, 0], a), moments([1, 2], b))
    assert found == pytest.approx(float(5 + a.trace() + b.trace() - 2 * trace), rel=1e-12)


def test_fewer_images_than_features_is_the_nuclear_norm():
    # tr (S1 S2)^(1/2) is the sum of singular values of X1 X2' / sqrt((n1 - 1)(n2 - 1)), X centred.
    x, y = (torch.randn(n, 64, dtype=torch.float64, generator=seeded(n)) + n / 20 for n in (12, 17))
    cx, cy = x - x.mean(0), y - y.mean(0)
    cross = torch.linalg.matrix_norm(cx @ cy.T, "nuc") / (11 * 16) ** 0.5
    spread = cx.square().sum() / 11 + cy.square().sum() / 16
    expected = (x.mean(0) - y.mean(0)).square().sum() + spread - 2 * cross
    assert distance(Moments.of(x), Moments.of(y)) == pytest.approx(float(expected), rel=1e-9)
    assert distance(Moments.of(x), Moments.of(x)) == pytest.approx(0, abs=1e-9)


def test_agrees_with_torch_fidelity():
    x = torch.randn(300, 40, generator=seeded(1)) @ torch.randn(40, 40, generator=seeded(2))
    y = torch.randn(200, 40, generator=seeded(3)) * 3 + 1
    # Our peer works in the type it is given, so it is given float64.
    theirs = fid_statistics_to_metric(*(fid_features_to_statistics(f.double()) for f in (x, y)), verbose=False)
    ours = Frechet()(feature_set(x), feature_set(y), None)["frechet"].value
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)


def test_error_is_the_spread_over_draws():
    reference = Moments.of(torch.randn(20_000, 6, generator=seeded(9)))
    mixing = rotation(6, 4).float() * torch.tensor([1.0, 0.5, 2.0, 1.5, 0.7, 1.0])
    found = []
    for seed in range(200):
        x = feature_set(torch.randn(500, 6, generator=seeded(seed)) @ mixing + 0.4)
        value, influence = frechet_distance(x.moments, reference)
        found.append((value, standard_error(influence.of(x.features))))
    values, errors = np.array(found).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.2)


def test_few_images_are_cautioned():
    assert "127 images" in str(Frechet().caution(feature_set(torch.zeros(127, 64))))
    assert Frechet().caution(feature_set(torch.zeros(128, 64))) is None


def test_moments_merge_and_stream_to_the_same_numbers():
    x = torch.randn(10_001, 7, generator=seeded(5)) * 3 + 100
    parts = sum((Moments.of(part) for part in x.split([1, 4000, 6000])), start=Moments.none(7))
    assert parts.count == 10_001
    torch.testing.assert_close(parts.mean, x.double().mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(parts.covariance, x.double().T.cov(), rtol=1e-9, atol=1e-9)
