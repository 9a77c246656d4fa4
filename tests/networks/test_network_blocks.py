"""Blocks against their formulas."""

import math

import pytest
import torch
import torch.nn.functional as F

from mezzotint.networks import blocks
from mezzotint.networks.blocks import Downsample, GroupNorm, ResidualBlock, SelfAttention, Upsample, attend, sinusoids


def test_sinusoids_follow_the_formula():
    level = torch.tensor([0.0, 0.5, 640.0], dtype=torch.float64)
    expected = torch.zeros(3, 8, dtype=torch.float64)
    for n, value in enumerate(level.tolist()):
        for i in range(4):
            angle = value * 10_000 ** (-i / 3)
            expected[n, i], expected[n, 4 + i] = math.sin(angle), math.cos(angle)
    torch.testing.assert_close(sinusoids(level, 8), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "wanted"), [(torch.int64, torch.float32), (torch.bfloat16, torch.float32)])
def test_sinusoids_are_at_least_float32(dtype: torch.dtype, wanted: torch.dtype):
    assert sinusoids(torch.tensor([3], dtype=dtype), 4).dtype == wanted


def test_both_ways_of_attention_agree_forward_and_backward(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 16, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    plain = attend(q, k, v)
    gradients = torch.autograd.grad(plain.square().sum(), (q, k, v))
    monkeypatch.setattr(blocks, "MOST_PLAIN_TOKENS", 15)
    fused = attend(q, k, v)
    torch.testing.assert_close(plain, fused)
    torch.testing.assert_close(gradients, torch.autograd.grad(fused.square().sum(), (q, k, v)))


def test_residual_branches_start_as_the_identity():
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(ResidualBlock(8, 8, 6, 4, 0.0)(x, torch.randn(2, 6)), x)
    assert torch.equal(SelfAttention(8, 4, 4)(x), x)


def test_attention_sees_every_pixel_but_not_other_images():
    block = SelfAttention(8, 8, 4).double()
    torch.nn.init.normal_(block.out.weight)
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(block(x)[0, :, 0, 0].sum(), x)
    assert (gradient[0].abs().sum(0) > 0).all()
    assert not gradient[1].any()


def test_doubling_is_repeated_pixels_then_a_convolution():
    torch.manual_seed(0)
    up, x = Upsample(3).double(), torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    plain = F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), up.weight, up.bias, padding=1)
    torch.testing.assert_close(up(x), plain, rtol=0, atol=1e-12)
    inputs = (x, up.weight)
    found, expected = (torch.autograd.grad(y.square().sum(), inputs) for y in (up(x), plain))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_resampling_halves_and_doubles_with_the_stated_alignment():
    down, up = Downsample(1), Upsample(1)
    for conv, corner in ((down, (0, 0)), (up, (1, 1))):
        torch.nn.init.zeros_(conv.weight)
        conv.weight.data[0, 0, corner[0], corner[1]] = 1.0
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(down(x), x[:, :, ::2, ::2])  # the window starts at the even pixel itself
    assert torch.equal(up(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("side", [2, 4, 16])
def test_group_norm_by_sums_equals_torchs(dtype: torch.dtype, side: int):
    torch.manual_seed(side)
    norm = GroupNorm(4, 8, eps=1e-6).to(dtype)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
        x = (3 + 2 * torch.randn(5, 8, side, side)).to(dtype)
        last = x.to(memory_format=torch.channels_last)
        found, wanted = norm(last), norm(x.double() if dtype == torch.float64 else x)
    assert found.dtype == dtype
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 0.1}[dtype]
    assert (found - wanted).abs().max() < tolerance
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_group_norm_learns_through_torchs_own_in_every_layout(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blocks, "normalised_by_sums", None)
    x = torch.randn(2, 8, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    GroupNorm(4, 8)(x).sum().backward()
    assert x.grad is not None
