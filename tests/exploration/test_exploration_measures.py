"""Spectrum, reach and mirror test of pictures whose answers are known."""

from itertools import pairwise
from math import exp, log, pi, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch

from mezzotint.data.pack import Pack
from mezzotint.exploration.advice import mirror_told
from mezzotint.exploration.coarse import basis, coarse, extent
from mezzotint.exploration.contents import contents
from mezzotint.exploration.spectrum import Spectrum, resolution_shift, spectrum
from mezzotint.pixels import to_images
from packing import levels, pack_of, smooth


def every(pack: Pack) -> np.ndarray:
    return np.arange(len(pack))


def measured_spectrum(pack: Pack) -> Spectrum:
    return spectrum(pack, every(pack), contents(pack).mean_image)


@pytest.fixture(scope="module")
def white(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """White noise of deviation 0.2: every frequency drowns at sigma 0.2."""
    images = 0.2 * np.random.default_rng(0).normal(size=(600, 16, 16, 1))
    return pack_of(levels(images), tmp_path_factory.mktemp("white"))


@pytest.fixture(scope="module")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Coloured pictures whose power falls with frequency."""
    return pack_of(smooth(np.random.default_rng(1), 300, 32, 3), tmp_path_factory.mktemp("natural"))


def test_white_noise_drowns_at_its_own_deviation(white: Pack) -> None:
    found = measured_spectrum(white)
    mean, std = found.log_normal()
    assert mean == pytest.approx(log(0.2), abs=0.01)
    assert std == pytest.approx(pi / sqrt(12), abs=0.01)  # the passage of one frequency alone
    low, high = found.range()
    assert (low, high) == pytest.approx((0.2 / sqrt(19), 0.2 * sqrt(19)), rel=0.04)  # S / (S + s^2) = 0.95, 0.05
    assert found.surviving(torch.tensor([0.2])).item() == pytest.approx(0.5, abs=0.01)
    assert found.fine_share() == pytest.approx(1 - (7 / 16) ** 2, abs=0.01)


def test_power_and_bands_hold_all_the_variance(natural: Pack) -> None:
    found, images = measured_spectrum(natural), to_images(natural.pixels(every(natural)))
    variance = (images - images.mean(0)).square().mean(0).sum()
    assert float(found.power.sum()) == pytest.approx(float(variance), rel=1e-4)
    bands = found.bands()
    assert all(band.sigma > after.sigma for band, after in pairwise(bands[1:]))
    covered = sum(band.share for band in bands)
    assert 0.9 < covered <= 1 + 1e-9  # the corners beyond the highest frequency along a side are in no ring


def test_enlarged_pictures_have_nothing_fine(tmp_path: Path, natural: Pack) -> None:
    twice = natural.pixels(every(natural)).repeat_interleave(2, 2).repeat_interleave(2, 3).permute(0, 2, 3, 1).numpy()
    blurred = (twice.astype(float) + np.roll(twice, 1, 1) + np.roll(twice, 1, 2) + np.roll(twice, (1, 1), (1, 2))) / 4
    enlarged = measured_spectrum(pack_of(blurred.round().astype(np.uint8), tmp_path))
    assert enlarged.fine_share() < measured_spectrum(natural).fine_share() / 2


def test_low_frequencies_never_overstate_a_distance(natural: Pack) -> None:
    waves, images = coarse(natural, every(natural)).flatten(1), to_images(natural.pixels(every(natural))).flatten(1)
    below, full = (torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") for x in (waves, images))
    assert (below <= full + 1e-3).all()
    assert (below > 0.5 * full).float().mean() > 0.5  # and they say something


@pytest.mark.parametrize("size", [4, 8, 28, 64])
def test_the_basis_is_orthonormal_and_mirrors_in_every_second_wave(size: int) -> None:
    waves = basis(size).double()
    torch.testing.assert_close(waves @ waves.T, torch.eye(len(waves), dtype=torch.float64), atol=1e-6, rtol=0)
    signs = torch.tensor([(-1.0) ** k for k in range(len(waves))], dtype=torch.float64)
    torch.testing.assert_close(waves.flip(1), signs[:, None] * waves, atol=1e-6, rtol=0)


def test_reach_of_pictures_that_differ_in_brightness_alone(tmp_path: Path) -> None:
    brightness = np.linspace(-0.5, 0.7, 101)
    images = np.broadcast_to(brightness[:, None, None, None], (101, 8, 8, 1))
    pack = pack_of(levels(images), tmp_path)
    found = extent(pack, every(pack), contents(pack).mean_image)
    variance, mean = 64 * brightness.var(), 64 * brightness.mean() ** 2
    assert found.variances[0] == pytest.approx(variance, rel=0.01)
    assert sum(found.variances[1:]) < 1e-6 * variance
    assert found.mean_power == pytest.approx(mean, rel=0.05)
    assert found.distance == pytest.approx(8 * 1.2, rel=0.01)
    ratio = found.variances[0] / 9
    assert found.mismatch(3.0) == pytest.approx((found.mean_power / 9 + ratio - log(1 + ratio)) / 2)


def test_the_sigma_for_a_mismatch_has_it(natural: Pack) -> None:
    found = extent(natural, every(natural), contents(natural).mean_image)
    for nats in (1.0, 0.02, 1e-4):
        assert found.mismatch(found.sigma_for(nats)) == pytest.approx(nats, rel=1e-6)
    assert found.sigma_for(1e9) == 0
    assert found.snr(2.0)[1] == pytest.approx(found.variances[0] / 4)


def test_mirror_images_are_told_where_there_is_a_left_and_a_right(tmp_path: Path, white: Pack) -> None:
    ramp = np.linspace(-0.4, 0.4, 16)[None, None, :, None]
    leaning = 0.2 * np.random.default_rng(0).normal(size=(400, 16, 16, 1)) + ramp
    assert mirror_told(pack_of(levels(leaning), tmp_path)) > 0.99
    assert abs(mirror_told(white) - 0.5) < 0.08


def test_shift_between_resolutions() -> None:
    assert resolution_shift(64) == 0
    assert exp(resolution_shift(128)) == pytest.approx(1 / 4)  # as Hoogeboom et al. 2023 state it
    assert resolution_shift(32) > 0
