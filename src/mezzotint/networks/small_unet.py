"""The small U-Net after Beres: the level is embedded once and concatenated to the input; many skips, few channels."""

import math
from typing import Annotated, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.networks import Network, NetworkShape
from mezzotint.networks.blocks import NORM_EPS, GroupNorm, SelfAttention, conv3x3, glorot, zeroed
from mezzotint.networks.conditioning import Told, waves
from mezzotint.networks.sizes import halved, must_divide, must_hold_several
from mezzotint.options import Options


class SmallUNetOptions(Options):
    """Size and make; the number of widths is the number of levels, each half as large as the last."""

    widths: tuple[Annotated[int, Field(ge=2, le=2048)], ...] = Field(
        default=(32, 64, 96, 128), min_length=2, max_length=8, description="feature channels of each level"
    )
    depth: int = Field(default=2, ge=1, le=16, description="residual blocks per level, on each way")
    embedding: int = Field(
        default=32, ge=4, le=1024, multiple_of=2, description="channels of the noise level's sinusoids beside the input"
    )
    max_frequency: float = Field(
        default=1000.0, gt=1.0, description="frequency of the fastest sinusoid, in periods per unit of level"
    )
    level_scale: float = Field(
        default=1.0, gt=0.0, description="factor on the noise level before its sinusoids (no unit)"
    )
    attention_levels: int = Field(default=0, ge=0, le=8, description="lowest levels with self-attention (0: none)")
    channels_per_head: int | None = Field(
        default=None, ge=1, description="channels of one attention head (null: a single head of all channels)"
    )
    dropout: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="probability of dropping a feature in a residual block"
    )
    groups: int = Field(default=8, ge=1, description="groups of channels normalised together")

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        must_divide("groups", self.groups, [*self.widths, self.widths[0] + self.embedding])
        if self.attention_levels > len(self.widths):
            raise ValueError(f"attention_levels={self.attention_levels} of only {len(self.widths)} levels")
        if self.channels_per_head and self.attention_levels:
            must_divide("channels_per_head", self.channels_per_head, self.widths[-self.attention_levels :])
        return self

    def attends(self, level: int) -> bool:
        """Return whether a level, 0 the full resolution, has self-attention."""
        return level >= len(self.widths) - self.attention_levels


class LevelWaves(nn.Module):
    """Level [N] -> [N, width]: sines, then cosines, of 2 pi level f, f geometric from 1 to `max_frequency`."""

    frequencies: Tensor

    def __init__(self, width: int, max_frequency: float) -> None:
        super().__init__()
        exponents = torch.linspace(0, math.log(max_frequency), width // 2)
        self.register_buffer("frequencies", exponents.exp(), persistent=False)

    def forward(self, level: Tensor) -> Tensor:
        """Level [N] -> [N, width]."""
        return waves(level, self.frequencies)


class Layer(nn.Module):
    """x + conv(SiLU(conv(norm(x)))), 1x1 shortcut on new channels; then self-attention where there is one."""

    def __init__(self, options: SmallUNetOptions, channels_in: int, channels_out: int, attends: bool) -> None:
        super().__init__()
        self.norm = GroupNorm(options.groups, channels_in, eps=NORM_EPS)
        self.conv1 = glorot(conv3x3(channels_in, channels_out))
        self.dropout = nn.Dropout(options.dropout)
        self.conv2 = glorot(conv3x3(channels_out, channels_out))
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else glorot(nn.Conv2d(channels_in, channels_out, 1))
        per_head = options.channels_per_head or channels_out
        self.attention = SelfAttention(channels_out, per_head, options.groups) if attends else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, channels_in, H, W] -> [N, channels_out, H, W]."""
        h = self.conv2(self.dropout(F.silu(self.conv1(self.norm(x)))))
        return self.attention(self.shortcut(x) + h)


class Down(nn.ModuleList):
    """The layers of one resolution on the way down."""

    def forward(self, h: Tensor, skips: list[Tensor]) -> Tensor:
        """Features in, features out; what every layer makes is added to `skips`."""
        for layer in self:
            h = layer(h)
            skips.append(h)
        return h


class Up(nn.ModuleList):
    """The layers of one resolution on the way up."""

    def forward(self, h: Tensor, skips: list[Tensor]) -> Tensor:
        """Features in, features out; every layer also reads, and takes away, the last of `skips`."""
        for layer in self:
            h = layer(torch.cat([h, skips.pop()], dim=1))
        return h


class SmallUNet(Network):
    """F(x; level): residual blocks that each leave a skip, averages of 2 x 2 down, bilinear interpolation up.

    After Beres' "Denoising Diffusion Implicit Models" example for Keras (2022), with group norm where that has batch
    norm, so that no image depends on its batch. Class and augmentation join the level's embedding. It starts as F = 0.
    """

    Options = SmallUNetOptions

    def __init__(self, options: SmallUNetOptions, shape: NetworkShape) -> None:
        super().__init__()
        must_hold_several(options.groups, options.widths, halved(shape.image_size, len(options.widths), "widths"))
        self.depth, width = options.depth, options.widths[0]
        level = LevelWaves(options.embedding, options.max_frequency)
        self.told = Told(shape, level, options.level_scale, options.embedding)
        self.conv_in = glorot(nn.Conv2d(shape.channels_in, width, 1))
        down, skips = _way_down(options)
        self.down = nn.ModuleList(down)
        self.up = nn.ModuleList(_way_up(options, skips))
        self.conv_out = zeroed(nn.Conv2d(width, shape.channels_out, 1))

    def blocks(self) -> list[nn.Module]:
        """Every layer."""
        return [part for part in self.modules() if isinstance(part, Layer)]

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Codes [N, channels_in, S, S], level [N], labels int64 [N] if it has classes -> [N, channels_out, S, S]."""
        h = self.conv_in(x)
        told = self.told(level, condition)[:, :, None, None].to(h.dtype)
        h = torch.cat([h, told.expand(*told.shape[:2], *h.shape[2:])], dim=1)
        skips: list[Tensor] = []
        for i, level_down in enumerate(self.down):
            h = level_down(F.avg_pool2d(h, 2) if i else h, skips)
        del skips[-self.depth :]  # the smallest level is passed once
        for level_up in self.up:
            h = level_up(F.interpolate(h, scale_factor=2.0, mode="bilinear"), skips)
        return self.conv_out(h)


def _way_down(options: SmallUNetOptions) -> tuple[list[Down], list[int]]:
    """Levels from full resolution to the smallest, and the channels of the skips of all but the smallest."""
    width, levels, skips = options.widths[0] + options.embedding, list[Down](), list[int]()
    for i, width_out in enumerate(options.widths):
        ins = [width] + [width_out] * (options.depth - 1)
        levels.append(Down(Layer(options, each, width_out, options.attends(i)) for each in ins))
        width = width_out
        skips += [width] * options.depth
    return levels, skips[: -options.depth]


def _way_up(options: SmallUNetOptions, skips: list[int]) -> list[Up]:
    """Levels from the second smallest to full resolution; each layer also reads what the way down left last."""
    width, levels, skips = options.widths[-1], list[Up](), list(skips)
    for i, width_out in reversed(list(enumerate(options.widths[:-1]))):
        layers = list[Layer]()
        for _ in range(options.depth):
            layers.append(Layer(options, width + skips.pop(), width_out, options.attends(i)))
            width = width_out
        levels.append(Up(layers))
    return levels
