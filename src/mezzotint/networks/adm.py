"""The U-Net of Nichol & Dhariwal 2021 and ADM: the level scales and shifts, attention at several resolutions."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.networks import Network, NetworkShape
from mezzotint.networks.blocks import (
    NORM_EPS,
    Downsample,
    GroupNorm,
    LevelEmbedding,
    SelfAttention,
    Upsample,
    conv3x3,
    glorot,
    zeroed,
)
from mezzotint.networks.conditioning import Told
from mezzotint.networks.resampling import DOUBLE, HALVE, Move
from mezzotint.networks.unet import Level, UNetOptions


class ADMOptions(UNetOptions):
    """A U-Net's size and make; attention at several levels, heads of 64 channels."""

    attention: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(16, 8),
        description="levels with self-attention, in features per side: image_size / patch, half of it, ... "
        "(the smallest level always has one)",
    )
    channels_per_head: int | None = Field(
        default=64, ge=1, description="channels of one attention head (null: a single head of all channels)"
    )
    residual_resampling: bool = Field(
        default=True,
        description="whether residual blocks halve and double, as in ADM (false: a convolution, as in improved DDPM)",
    )


class AdaptiveBlock(nn.Module):
    """x + conv(dropout(SiLU((1 + a) norm(h) + b))) with h = conv(SiLU(norm(x))), (a, b) = W e.

    Nichol & Dhariwal 2021, sec. 3 ("scale-shift norm"); Dhariwal & Nichol 2021, sec. 3 ("adaptive group norm"). With
    a `move`, x and the input of the first convolution are resampled, and channels stay.
    """

    def __init__(self, channels_in: int, channels_out: int, options: ADMOptions, move: Move | None = None) -> None:
        super().__init__()
        self.norm1 = GroupNorm(options.groups, channels_in, eps=NORM_EPS)
        self.conv1 = move.convolved(channels_in) if move else glorot(conv3x3(channels_in, channels_out))
        self.embed = glorot(nn.Linear(4 * options.channels, 2 * channels_out))
        self.norm2 = GroupNorm(options.groups, channels_out, eps=NORM_EPS)
        self.dropout = nn.Dropout(options.dropout)
        self.conv2 = zeroed(conv3x3(channels_out, channels_out))
        same = channels_in == channels_out
        self.move = move.alone() if move else nn.Identity()
        self.shortcut = nn.Identity() if same else glorot(nn.Conv2d(channels_in, channels_out, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Features [N, channels_in, H, W], activated embedding [N, E] -> [N, channels_out, H', W']."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.embed(embedding)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        h = self.conv2(self.dropout(F.silu(h)))
        return self.shortcut(self.move(x)) + h


class Convolved(nn.Module):
    """A resampling convolution, which the embedding doesn't reach."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Features [N, C, H, W], embedding unused -> [N, C, H', W']."""
        return self.conv(x)


class Layer(nn.Module):
    """A block, followed by self-attention where there is one; on the way up it may also read a skip."""

    def __init__(self, block: nn.Module, attention: nn.Module | None = None, reads_skip: bool = False) -> None:
        super().__init__()
        self.block, self.reads_skip = block, reads_skip
        self.attention = attention or nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Features [N, channels_in, H, W], embedding [N, E] -> [N, channels_out, H', W']."""
        return self.attention(self.block(x, embedding))


class ADM(Network):
    """F(x; level) of Dhariwal & Nichol 2021, sec. 3; with `residual_resampling: false` of Nichol & Dhariwal 2021.

    It starts as F = 0: the last weights of every residual branch and of the whole are zero.
    """

    Options = ADMOptions

    def __init__(self, options: ADMOptions, shape: NetworkShape) -> None:
        super().__init__()
        options.check(shape)
        self.patch, widths = options.patch, options.widths()
        down, up = options.ways(shape.image_size, widths[0])

        embedding = 4 * options.channels
        self.told = Told(shape, LevelEmbedding(options.channels, embedding), options.level_scale, embedding)
        self.conv_in = glorot(conv3x3(shape.channels_in * options.patch**2, widths[0]))
        self.down = nn.ModuleList(_way_down(options, down))
        self.middle = nn.ModuleList(_layer(options, widths[-1], widths[-1], first) for first in (True, False))
        self.up = nn.ModuleList(_way_up(options, up))
        self.norm_out = GroupNorm(options.groups, widths[0], eps=NORM_EPS)
        self.conv_out = zeroed(conv3x3(widths[0], shape.channels_out * options.patch**2))

    def blocks(self) -> list[nn.Module]:
        """Every layer."""
        return [*self.down, *self.middle, *self.up]

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Codes [N, channels_in, S, S], level [N], labels int64 [N] if it has classes -> [N, channels_out, S, S]."""
        embedding = F.silu(self.told(level, condition))
        h = self.conv_in(F.pixel_unshuffle(x, self.patch))
        skips = [h]
        for layer in self.down:
            h = layer(h, embedding)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, embedding)
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], dim=1) if layer.reads_skip else h, embedding)
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(h))), self.patch)


def _layer(options: ADMOptions, channels_in: int, channels_out: int, attends: bool, reads_skip: bool = False) -> Layer:
    attention = SelfAttention(channels_out, options.channels_per_head or channels_out, options.groups)
    block = AdaptiveBlock(channels_in, channels_out, options)
    return Layer(block, attention if attends else None, reads_skip)


def _halving(options: ADMOptions, width: int) -> Layer:
    residual = options.residual_resampling
    return Layer(AdaptiveBlock(width, width, options, HALVE) if residual else Convolved(Downsample(width)))


def _doubling(options: ADMOptions, width: int) -> Layer:
    residual = options.residual_resampling
    return Layer(AdaptiveBlock(width, width, options, DOUBLE) if residual else Convolved(Upsample(width)))


def _way_down(options: ADMOptions, levels: list[Level]) -> list[Layer]:
    """Layers from full resolution to the smallest."""
    layers = list[Layer]()
    for level in levels:
        (width, _), *_ = level.channels
        layers += [_halving(options, width)] if level.index else []
        layers += [_layer(options, *channels, level.attends) for channels in level.channels]
    return layers


def _way_up(options: ADMOptions, levels: list[Level]) -> list[Layer]:
    """Layers from the smallest resolution to the full one; each but a doubling reads a skip."""
    layers = list[Layer]()
    for level in levels:
        layers += [_layer(options, *channels, level.attends, reads_skip=True) for channels in level.channels]
        layers += [_doubling(options, options.widths()[level.index])] if level.index else []
    return layers
