"""Blocks of convolutional networks: residual block, self-attention, resampling, sinusoidal embedding of a level.

Every block keeps the memory format of its input and runs under autocast, in float64 and on any device. On a CPU,
plain contiguous tensors are the fast format to learn in: group norm's gradient takes many times as long in
channels-last, which costs more than convolutions gain. Drawing needs no gradient and is faster in channels-last.
"""

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-6
MOST_PLAIN_TOKENS = 1024
_MANY_PIXELS = 1024
"""From so many pixels on, torch's group norm is quick in channels-last."""
_Weighted = TypeVar("_Weighted", nn.Conv2d, nn.Linear)


def glorot(module: _Weighted) -> _Weighted:
    """Draw the weight uniformly with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010, eq. 16), bias 0."""
    nn.init.xavier_uniform_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


def zeroed(module: _Weighted) -> _Weighted:
    """Set weight and bias to 0, so that a residual branch starts as the identity."""
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


def conv3x3(channels_in: int, channels_out: int) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size of its input."""
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)


def sinusoids(level: Tensor, width: int) -> Tensor:
    """Level [N] -> [N, width] (even): sines, then cosines, of level * f, f geometric from 1 to 1/10000 inclusive.

    Vaswani et al. 2017, sec. 3.5, as arranged by Ho et al. 2020, sec. B. Never below float32, whatever the autocast.
    """
    dtype = torch.promote_types(level.dtype, torch.float32)
    exponents = torch.linspace(0, -math.log(10_000), width // 2, dtype=dtype, device=level.device)
    angles = level.to(dtype)[:, None] * exponents.exp()
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class LevelEmbedding(nn.Module):
    """Noise level [N] -> [N, width_out]: sinusoids, linear, SiLU, linear (Ho et al. 2020, sec. B)."""

    def __init__(self, width: int, width_out: int) -> None:
        super().__init__()
        self.width = width
        self.linear1 = glorot(nn.Linear(width, width_out))
        self.linear2 = glorot(nn.Linear(width_out, width_out))

    def forward(self, level: Tensor) -> Tensor:
        """Level [N] -> [N, width_out]."""
        waves = sinusoids(level, self.width).to(self.linear1.weight.dtype)
        return self.linear2(F.silu(self.linear1(waves)))


class GroupNorm(nn.GroupNorm):
    """Group norm (Wu & He 2018) that is quick in channels-last on a CPU, too, where nothing is learnt."""

    def forward(self, input: Tensor) -> Tensor:
        """Features [N, C, H, W] -> normalised [N, C, H, W], in the same memory format."""
        if torch.is_grad_enabled() or not _slowly_normalised(input):
            return super().forward(input)
        return normalised_by_sums(input, self.num_groups, self.weight, self.bias, self.eps)


def _slowly_normalised(x: Tensor) -> bool:
    """Whether torch's own group norm would read few pixels at a time, far apart."""
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return last and x.device.type == "cpu" and x.shape[2] * x.shape[3] < _MANY_PIXELS


def normalised_by_sums(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Group norm of channels-last features [N, C, H, W] as x a + b, from sums over pixels and then over channels.

    Statistics are float32, or x's own type where that is wider; a and b have x's type.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)  # [N, H W, C], a view
    size = rows.shape[1] * x.shape[1] // groups
    mean, square = (r.sum(1, dtype=wide).unflatten(1, (groups, -1)).sum(2) / size for r in (rows, rows * rows))
    scale = (square - mean**2).clamp_min(0).add(eps).rsqrt()[:, :, None] * weight.unflatten(0, (groups, -1))
    a = scale.to(x.dtype)
    b = (bias.unflatten(0, (groups, -1)) - mean[:, :, None] * a).to(x.dtype)  # of the rounded a: the mean goes to bias
    normal = torch.addcmul(b.flatten(1)[:, None], rows, a.flatten(1)[:, None])
    return normal.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """x + conv(dropout(SiLU(norm(conv(SiLU(norm(x))) + W e)))), 1x1 shortcut on new channels (Ho et al. 2020, sec. B).

    `embedding` comes activated: SiLU is applied to it once for all blocks.
    """

    def __init__(self, channels_in: int, channels_out: int, embedding: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, channels_in, eps=NORM_EPS)
        self.conv1 = glorot(conv3x3(channels_in, channels_out))
        self.embed = glorot(nn.Linear(embedding, channels_out))
        self.norm2 = GroupNorm(groups, channels_out, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(conv3x3(channels_out, channels_out))
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else glorot(nn.Conv2d(channels_in, channels_out, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Features [N, channels_in, H, W], activated embedding [N, E] -> [N, channels_out, H, W]."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.embed(embedding)[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.shortcut(x) + h


class SelfAttention(nn.Module):
    """x + W_o attention(norm(x)) over all pixels (Vaswani et al. 2017, eq. 1; Ho et al. 2020, sec. B)."""

    def __init__(self, channels: int, channels_per_head: int, groups: int) -> None:
        super().__init__()
        self.channels_per_head = channels_per_head
        self.norm = GroupNorm(groups, channels, eps=NORM_EPS)
        self.query = glorot(nn.Linear(channels, channels))
        self.key = glorot(nn.Linear(channels, channels))
        self.value = glorot(nn.Linear(channels, channels))
        self.out = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, C, H, W] -> [N, C, H, W]."""
        tokens = self.norm(x).flatten(2).transpose(1, 2).contiguous()  # [N, H W, C], copied once for three products
        q, k, v = (self._heads(project(tokens)) for project in (self.query, self.key, self.value))
        mixed = self.out(attend(q, k, v).transpose(1, 2).flatten(2))
        return x + mixed.transpose(1, 2).unflatten(2, x.shape[2:])

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (-1, self.channels_per_head)).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) v for q, k, v [N, heads, T, D] (Vaswani et al. 2017, eq. 1).

    Plain products up to 32 x 32 tokens: no slower than the fused kernel in bfloat16 on a CPU, and their gradients
    repeat bit for bit on every device. Beyond that the T x T weights would fill the memory, so the kernel is used.
    """
    if q.shape[2] <= MOST_PLAIN_TOKENS:
        return ((q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


class Downsample(nn.Conv2d):
    """Halve height and width: 3x3 convolution of stride 2 that looks one pixel past the right and lower border."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2)
        glorot(self)

    def forward(self, input: Tensor) -> Tensor:
        """Features [N, C, H, W] -> [N, C, H/2, W/2]."""
        return super().forward(F.pad(input, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double height and width: repeat every pixel, then a 3x3 convolution; both at once, in 4/9 of the operations."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        plain = glorot(conv3x3(channels, channels))
        self.weight, self.bias = plain.weight, plain.bias

    def forward(self, input: Tensor) -> Tensor:
        """Features [N, C, H, W] -> [N, C, 2 H, 2 W]."""
        return F.conv_transpose2d(input, doubling(self.weight), self.bias, stride=2, padding=1)


def doubling(weight: Tensor) -> Tensor:
    """Weight [O, C, 3, 3] after pixels were repeated -> [C, O, 4, 4] of the transposed convolution that does both.

    Output pixel p reads w[k + 1] x[(p + k) // 2], k = -1, 0, 1: two of the three taps fall on one pixel of x.
    """
    turned = weight.flip(2, 3)
    corners = [(0, 1, 0, 1), (1, 0, 0, 1), (0, 1, 1, 0), (1, 0, 1, 0)]
    return torch.stack([F.pad(turned, corner) for corner in corners]).sum(0).transpose(0, 1)
