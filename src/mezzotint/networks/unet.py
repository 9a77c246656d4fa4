"""The U-Net of Ho et al. 2020: residual blocks, self-attention at chosen resolutions, one embedding of the level."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.errors import BadInput
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
from mezzotint.networks.sizes import must_divide, must_hold_several
from mezzotint.options import Options


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution on a way through a U-Net: which (0: the full one), whether it attends, its layers' channels."""

    index: int
    attends: bool
    channels: list[tuple[int, int]]
    """In and out of each layer; the skip that it also reads is counted."""


class UNetOptions(Options):
    """Size and make of a U-Net; the number of multipliers is the number of levels, each half as wide as the last."""

    channels: int = Field(default=64, ge=4, le=2048, multiple_of=2, description="feature channels at full resolution")
    multipliers: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        default=(1, 2, 2, 2), min_length=1, max_length=8, description="feature channels of each level, times `channels`"
    )
    blocks: int = Field(default=2, ge=1, le=16, description="residual blocks per level on the way down (up: one more)")
    attention: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(16,),
        description="levels with self-attention, in features per side: image_size / patch, half of it, ... "
        "(the smallest level always has one)",
    )
    channels_per_head: int | None = Field(
        default=None, ge=1, description="channels of one attention head (null: a single head of all channels)"
    )
    dropout: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="probability of dropping a feature in a residual block"
    )
    groups: int = Field(default=32, ge=1, description="groups of channels normalised together")
    patch: int = Field(
        default=1, ge=1, le=16, description="side in pixels of the squares folded into channels first (1: none)"
    )
    level_scale: float = Field(
        default=1.0, gt=0.0, description="factor on the noise level before its sinusoids (no unit)"
    )

    @model_validator(mode="after")
    def _groups_divide(self) -> Self:
        must_divide("groups", self.groups, self.widths())
        return self

    def widths(self) -> tuple[int, ...]:
        """Feature channels of each level, full resolution first."""
        return tuple(self.channels * multiplier for multiplier in self.multipliers)

    def resolutions(self, image_size: int) -> tuple[int, ...]:
        """Features per side of each level; `BadInput` where the image can't be folded and halved that often."""
        halvings = len(self.multipliers) - 1
        if image_size % (self.patch * 2**halvings):
            folded = f" after patches of {self.patch}" if self.patch > 1 else ""
            raise BadInput(
                f"image_size={image_size} can't be halved {halvings} times{folded} for {halvings + 1} multipliers: "
                f"must be a multiple of {self.patch * 2**halvings}, or give fewer multipliers"
            )
        return tuple(image_size // self.patch >> i for i in range(halvings + 1))

    def check(self, shape: NetworkShape) -> None:
        """Raise `BadInput` where these options can't serve a shape."""
        found = self.resolutions(shape.image_size)
        must_hold_several(self.groups, self.widths(), found)
        absent = [size for size in self.attention if size not in found]
        if absent:
            folded, levels = f" in patches of {self.patch}" if self.patch > 1 else "", ", ".join(map(str, found))
            raise BadInput(
                f"attention={absent[0]} does not occur: {shape.image_size} px{folded} has levels of {levels} "
                "features per side"
            )
        if self.channels_per_head:
            attending = [width for width, size in zip(self.widths(), found, strict=True) if size in self.attention]
            must_divide("channels_per_head", self.channels_per_head, [*attending, self.widths()[-1]])

    def ways(self, image_size: int, first: int) -> tuple[list[Level], list[Level]]:
        """Return the levels on the way down, full resolution first, and those on the way up, smallest first.

        What stands before the way down leaves `first` channels; then every layer and every halving leaves its own. On
        the way up there is a layer more at each level, and each reads what was left last and isn't read yet.
        """
        attends = [size in self.attention for size in self.resolutions(image_size)]
        width, left = first, list[int]()
        down, up = list[Level](), list[Level]()
        for i, width_out in enumerate(self.widths()):
            left += [width] + [width_out] * self.blocks  # the first of them from before, or halved
            down.append(Level(i, attends[i], list(pairwise([width, *[width_out] * self.blocks]))))
            width = width_out
        for i, width_out in reversed(list(enumerate(self.widths()))):
            widths = [width, *[width_out] * self.blocks]
            up.append(Level(i, attends[i], [(each + left.pop(), width_out) for each in widths]))
            width = width_out
        return down, up


class Layer(nn.Module):
    """A residual block, followed by self-attention where there is one."""

    def __init__(self, options: UNetOptions, channels_in: int, channels_out: int, attends: bool) -> None:
        super().__init__()
        embedding = 4 * options.channels
        self.residual = ResidualBlock(channels_in, channels_out, embedding, options.groups, options.dropout)
        per_head = options.channels_per_head or channels_out
        self.attention = SelfAttention(channels_out, per_head, options.groups) if attends else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Features [N, channels_in, H, W], embedding [N, E] -> [N, channels_out, H, W]."""
        return self.attention(self.residual(x, embedding))


class Down(nn.Module):
    """The layers of one resolution on the way down, then the way to half of it, if any."""

    def __init__(self, layers: list[Layer], resample: Downsample | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.resample = resample

    def forward(self, h: Tensor, embedding: Tensor, skips: list[Tensor]) -> Tensor:
        """Features in, features out; what every layer makes is added to `skips`."""
        for layer in self.layers:
            h = layer(h, embedding)
            skips.append(h)
        if self.resample is not None:
            h = self.resample(h)
            skips.append(h)
        return h


class Up(nn.Module):
    """The layers of one resolution on the way up, then the way to twice that, if any."""

    def __init__(self, layers: list[Layer], resample: Upsample | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.resample = resample

    def forward(self, h: Tensor, embedding: Tensor, skips: list[Tensor]) -> Tensor:
        """Features in, features out; every layer also reads, and takes away, the last of `skips`."""
        for layer in self.layers:
            h = layer(torch.cat([h, skips.pop()], dim=1), embedding)
        return h if self.resample is None else self.resample(h)


class UNet(Network):
    """F(x; level) of Ho et al. 2020, sec. B; class labels, where the shape has classes, join the level's embedding.

    It starts as F = 0: the last weights of every residual branch and of the whole are zero.
    """

    Options = UNetOptions

    def __init__(self, options: UNetOptions, shape: NetworkShape) -> None:
        super().__init__()
        options.check(shape)
        self.options, self.shape = options, shape
        widths = options.widths()
        down, up = options.ways(shape.image_size, widths[0])

        level = LevelEmbedding(options.channels, 4 * options.channels)
        self.told = Told(shape, level, options.level_scale, 4 * options.channels)
        self.conv_in = glorot(conv3x3(shape.channels_in * options.patch**2, widths[0]))
        self.down = nn.ModuleList(_down(options, each) for each in down)
        self.middle = nn.ModuleList(Layer(options, widths[-1], widths[-1], first) for first in (True, False))
        self.up = nn.ModuleList(_up(options, each) for each in up)
        self.norm_out = GroupNorm(options.groups, widths[0], eps=NORM_EPS)
        self.conv_out = zeroed(conv3x3(widths[0], shape.channels_out * options.patch**2))

    def blocks(self) -> list[nn.Module]:
        """Every layer: its features are most of what training keeps."""
        return [part for part in self.modules() if isinstance(part, Layer)]

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Codes [N, channels_in, S, S], level [N], labels int64 [N] if it has classes -> [N, channels_out, S, S]."""
        embedding = F.silu(self.told(level, condition))
        h = self.conv_in(F.pixel_unshuffle(x, self.options.patch))
        skips = [h]
        for level_down in self.down:
            h = level_down(h, embedding, skips)
        for layer in self.middle:
            h = layer(h, embedding)
        for level_up in self.up:
            h = level_up(h, embedding, skips)
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(h))), self.options.patch)


def _layers(options: UNetOptions, level: Level) -> list[Layer]:
    return [Layer(options, *channels, level.attends) for channels in level.channels]


def _down(options: UNetOptions, level: Level) -> Down:
    smallest = level.index == len(options.multipliers) - 1
    return Down(_layers(options, level), None if smallest else Downsample(options.widths()[level.index]))


def _up(options: UNetOptions, level: Level) -> Up:
    return Up(_layers(options, level), Upsample(options.widths()[level.index]) if level.index else None)
