"""A U-Net of four blocks down and four up, each one residual block and three of self-attention, for 32 and 64 px."""

from typing import Annotated, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.networks import Network, NetworkShape
from mezzotint.networks.blocks import (
    NORM_EPS,
    Downsample,
    GroupNorm,
    LevelEmbedding,
    ResidualBlock,
    SelfAttention,
    Upsample,
    conv3x3,
    glorot,
    zeroed,
)
from mezzotint.networks.conditioning import Told
from mezzotint.networks.sizes import halved, must_divide, must_hold_several
from mezzotint.options import Options

BLOCKS = 4


class FourBlockUNetOptions(Options):
    """Size and make; each of the four levels is half as large as the last."""

    channels: int = Field(default=64, ge=4, le=2048, multiple_of=2, description="feature channels at full resolution")
    multipliers: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        default=(1, 2, 2, 4),
        min_length=BLOCKS,
        max_length=BLOCKS,
        description="feature channels of each of the four levels, times `channels`",
    )
    attentions: int = Field(default=3, ge=0, le=16, description="self-attention blocks after each residual block")
    largest_attention: int = Field(
        default=64,
        ge=1,
        description="largest level with self-attention, in features per side (its cost is the fourth power of this)",
    )
    channels_per_head: int | None = Field(
        default=64, ge=1, description="channels of one attention head (null: a single head of all channels)"
    )
    dropout: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="probability of dropping a feature in a residual block"
    )
    groups: int = Field(default=32, ge=1, description="groups of channels normalised together")
    level_scale: float = Field(
        default=1.0, gt=0.0, description="factor on the noise level before its sinusoids (no unit)"
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        must_divide("groups", self.groups, self.widths())
        if self.channels_per_head:
            must_divide("channels_per_head", self.channels_per_head, self.widths())
        return self

    def widths(self) -> tuple[int, ...]:
        """Feature channels of each level, full resolution first."""
        return tuple(self.channels * multiplier for multiplier in self.multipliers)


class Block(nn.Module):
    """A residual block (Ho et al. 2020, sec. B), then self-attention a few times."""

    def __init__(self, options: FourBlockUNetOptions, channels_in: int, channels_out: int, size: int) -> None:
        super().__init__()
        self.residual = ResidualBlock(channels_in, channels_out, 4 * options.channels, options.groups, options.dropout)
        count = options.attentions if size <= options.largest_attention else 0
        per_head = options.channels_per_head or channels_out
        self.attentions = nn.ModuleList(SelfAttention(channels_out, per_head, options.groups) for _ in range(count))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Features [N, channels_in, H, W], activated embedding [N, E] -> [N, channels_out, H, W]."""
        h = self.residual(x, embedding)
        for attention in self.attentions:
            h = attention(h)
        return h


class FourBlockUNet(Network):
    """F(x; level): four blocks down, one in the middle, four up; each block up reads what the one down left.

    It starts as F = 0: the last weights of every residual branch and of the whole are zero.
    """

    Options = FourBlockUNetOptions

    def __init__(self, options: FourBlockUNetOptions, shape: NetworkShape) -> None:
        super().__init__()
        sizes, widths = halved(shape.image_size, BLOCKS, "blocks"), options.widths()
        must_hold_several(options.groups, widths, sizes)
        embedding = 4 * options.channels
        self.told = Told(shape, LevelEmbedding(options.channels, embedding), options.level_scale, embedding)
        self.conv_in = glorot(conv3x3(shape.channels_in, widths[0]))
        ins, sides = (widths[0], *widths), list(zip(widths, sizes, strict=True))
        self.down = nn.ModuleList(Block(options, ins[i], width, size) for i, (width, size) in enumerate(sides))
        self.halvings = nn.ModuleList(Downsample(width) for width in widths[:-1])
        self.middle = Block(options, widths[-1], widths[-1], sizes[-1])
        self.up = nn.ModuleList(Block(options, 2 * width, ins[i], size) for i, (width, size) in enumerate(sides))
        self.doublings = nn.ModuleList(Upsample(width) for width in widths[:-1])
        self.norm_out = GroupNorm(options.groups, widths[0], eps=NORM_EPS)
        self.conv_out = zeroed(conv3x3(widths[0], shape.channels_out))

    def blocks(self) -> list[nn.Module]:
        """Every residual block and every attention by itself: the weights of attention are most of what is kept."""
        return [part for part in self.modules() if isinstance(part, ResidualBlock | SelfAttention)]

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Codes [N, channels_in, S, S], level [N], labels int64 [N] if it has classes -> [N, channels_out, S, S]."""
        embedding = F.silu(self.told(level, condition))
        h = self.conv_in(x)
        skips: list[Tensor] = []
        for i, block in enumerate(self.down):
            h = block(self.halvings[i - 1](h) if i else h, embedding)
            skips.append(h)
        h = self.middle(h, embedding)
        for i in reversed(range(BLOCKS)):
            h = self.up[i](torch.cat([h, skips[i]], dim=1), embedding)
            h = self.doublings[i - 1](h) if i else h
        return self.conv_out(F.silu(self.norm_out(h)))
