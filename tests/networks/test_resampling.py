"""Halving, doubling and the embedding of what a network is told, against their formulas."""

import math

import pytest
import torch
import torch.nn.functional as F

from mezzotint.errors import BadInput
from mezzotint.networks.conditioning import FourierEmbedding, waves
from mezzotint.networks.resampling import (
    DOUBLE,
    HALVE,
    SMOOTH_DOUBLE,
    SMOOTH_HALVE,
    Double,
    Halve,
    Move,
    SmoothDouble,
    SmoothHalve,
)
from mezzotint.networks.sizes import halved, must_divide


def test_smooth_halving_weighs_four_neighbours_one_three_three_one():
    x = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    padded = F.pad(x, (1, 1, 1, 1))
    taps, expected = [1 / 8, 3 / 8, 3 / 8, 1 / 8], torch.zeros(2, 3, 3, 4, dtype=torch.float64)
    for i in range(3):
        for j in range(4):
            for a in range(4):
                for b in range(4):
                    expected[:, :, i, j] += taps[a] * taps[b] * padded[:, :, 2 * i + a, 2 * j + b]
    torch.testing.assert_close(SmoothHalve().double()(x), expected)


def test_smooth_doubling_is_bilinear_between_zeros():
    x = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wide = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2.0, mode="bilinear")
    torch.testing.assert_close(SmoothDouble().double()(x), wide[:, :, 2:-2, 2:-2])


def test_smooth_ways_keep_a_constant_within_the_image_and_halving_forgets_the_finest_waves():
    for move, inner in ((SmoothHalve(), slice(1, -1)), (SmoothDouble(), slice(1, -1))):
        found = move(torch.ones(1, 2, 8, 8))
        torch.testing.assert_close(found[:, :, inner, inner], torch.ones_like(found[:, :, inner, inner]))
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
    torch.testing.assert_close(SmoothHalve()(stripes)[..., 1:-1], torch.zeros(1, 1, 4, 2))


def test_plain_ways_are_means_and_repeats():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(Halve()(x), torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]]))
    assert torch.equal(Halve()(Double()(x)), x)


@pytest.mark.parametrize(("move", "size"), [(HALVE, 4), (SMOOTH_HALVE, 4), (DOUBLE, 16), (SMOOTH_DOUBLE, 16)])
def test_a_move_with_a_convolution_is_the_move_and_then_the_convolution(move: Move, size: int):
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    both = move.convolved(4)
    weight, bias = dict(both.named_parameters()).values()
    expected = F.conv2d(move.alone()(x), weight, bias, padding=1)
    assert expected.shape[2] == size
    torch.testing.assert_close(both(x), expected)


def test_waves_follow_the_formula():
    found = waves(torch.tensor([0.25, 1.5]), torch.tensor([1.0, 3.0]))
    angles = [[2 * math.pi * level * f for f in (1, 3)] for level in (0.25, 1.5)]
    expected = [[*map(math.sin, row), *map(math.cos, row)] for row in angles]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-5)


def test_fourier_frequencies_have_the_stated_deviation_and_are_saved_but_not_learned():
    torch.manual_seed(0)
    embedding = FourierEmbedding(4000, 4, scale=16.0)
    assert embedding.frequencies.std() == pytest.approx(16.0, rel=0.05)
    assert "frequencies" in embedding.state_dict()
    assert "frequencies" not in dict(embedding.named_parameters())


def test_sizes():
    assert halved(32, 3, "widths") == (32, 16, 8)
    with pytest.raises(BadInput, match="image_size=36 can't be halved 3 times for 4 widths: must be a multiple of 8"):
        halved(36, 4, "widths")
    must_divide("groups", 8, [16, 24])
    with pytest.raises(BadInput, match="groups=8 must divide the 12 channels of a level, e.g. 1, 2, 3, 4, 6, 12"):
        must_divide("groups", 8, [16, 12])
