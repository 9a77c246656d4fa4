"""NCSN++ of Song et al. 2021, anti-aliased and fed the smaller images on the way; by options, DDPM++."""

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.networks import Network, NetworkShape
from mezzotint.networks.blocks import NORM_EPS, GroupNorm, LevelEmbedding, SelfAttention, conv3x3, glorot, zeroed
from mezzotint.networks.conditioning import FourierEmbedding, Told
from mezzotint.networks.resampling import DOUBLE, HALVE, SMOOTH_DOUBLE, SMOOTH_HALVE, Move
from mezzotint.networks.sizes import must_divide
from mezzotint.networks.unet import Level, UNetOptions

RESCALE = 0.5**0.5  # a sum of two branches of variance 1 keeps variance 1


class NCSNppOptions(UNetOptions):
    """A U-Net's size and make, and what tells NCSN++ (the defaults) from DDPM++ (smooth, progressive_input: false).

    DDPM++ also embeds the level by sinusoids: fourier_scale: null.
    """

    smooth: bool = Field(default=True, description="whether a low-pass filter goes with halving and doubling")
    fourier_scale: float | None = Field(
        default=16.0,
        gt=0.0,
        description="standard deviation of the random frequencies that embed the level, in periods per unit of level "
        "(null: sinusoids of fixed frequencies)",
    )
    progressive_input: bool = Field(
        default=True, description="whether each smaller level is fed a convolution of the halved input"
    )
    progressive_output: bool = Field(
        default=False, description="whether each level adds its own part of the output, doubled to full resolution"
    )

    @model_validator(mode="after")
    def _groups_divide_first(self) -> "NCSNppOptions":
        must_divide("groups", self.groups, [self.channels])
        return self

    def halve(self) -> Move:
        """Return the way to half the resolution."""
        return SMOOTH_HALVE if self.smooth else HALVE

    def double(self) -> Move:
        """Return the way to twice the resolution."""
        return SMOOTH_DOUBLE if self.smooth else DOUBLE


class Residual(nn.Module):
    """(x + conv(dropout(SiLU(norm(conv(SiLU(norm(x))) + W e))))) / sqrt 2, resampled with a `move`.

    The block of BigGAN (Brock et al. 2019, fig. 15) with rescaled skips, Song et al. 2021, appendix H.1.
    """

    def __init__(self, options: NCSNppOptions, channels_in: int, channels_out: int, move: Move | None = None) -> None:
        super().__init__()
        self.norm1 = GroupNorm(options.groups, channels_in, eps=NORM_EPS)
        self.conv1 = move.convolved(channels_in) if move else glorot(conv3x3(channels_in, channels_out))
        self.embed = glorot(nn.Linear(4 * options.channels, channels_out))
        self.norm2 = GroupNorm(options.groups, channels_out, eps=NORM_EPS)
        self.dropout = nn.Dropout(options.dropout)
        self.conv2 = zeroed(conv3x3(channels_out, channels_out))
        same = channels_in == channels_out and move is None
        self.move = move.alone() if move else nn.Identity()
        self.shortcut = nn.Identity() if same else glorot(nn.Conv2d(channels_in, channels_out, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Features [N, channels_in, H, W], activated embedding [N, E] -> [N, channels_out, H', W']."""
        h = self.conv1(F.silu(self.norm1(x))) + self.embed(embedding)[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return (self.shortcut(self.move(x)) + h) * RESCALE


class Layer(nn.Module):
    """A residual block, followed by self-attention where there is one, its sum rescaled as well."""

    def __init__(self, options: NCSNppOptions, channels_in: int, channels_out: int, attends: bool) -> None:
        super().__init__()
        self.residual = Residual(options, channels_in, channels_out)
        per_head = options.channels_per_head or channels_out
        self.attention = SelfAttention(channels_out, per_head, options.groups) if attends else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Features [N, channels_in, H, W], embedding [N, E] -> [N, channels_out, H, W]."""
        h = self.residual(x, embedding)
        return h if self.attention is None else self.attention(h) * RESCALE


class Down(nn.Module):
    """One resolution on the way down: the way to it, if it isn't the first; the smaller input joins; layers."""

    def __init__(self, layers: list[Layer], move: Residual | None, pyramid: nn.Module | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.move, self.pyramid = move, pyramid

    def forward(self, h: Tensor, inputs: Tensor, embedding: Tensor, skips: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Features and the input beside them -> the same at this resolution; what is made is added to `skips`."""
        if self.move is not None:
            h = self.move(h, embedding)
            if self.pyramid is not None:
                inputs = h = (h + self.pyramid(inputs)) * RESCALE  # "residual" of appendix H.1: carried on from here
            skips.append(h)
        for layer in self.layers:
            h = layer(h, embedding)
            skips.append(h)
        return h, inputs


class Up(nn.Module):
    """One resolution on the way up: layers, of which the last attends; its part of the output; the way on, if any."""

    def __init__(self, layers: list[Layer], move: Residual | None, output: nn.Module | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.move, self.output = move, output

    def forward(self, h: Tensor, embedding: Tensor, skips: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Features -> features at the next resolution, and this one's part of the output, if it has one."""
        for layer in self.layers:
            h = layer(torch.cat([h, skips.pop()], dim=1), embedding)
        output = None if self.output is None else self.output(h)
        return (h if self.move is None else self.move(h, embedding)), output


class NCSNpp(Network):
    """F(x; level) of Song et al. 2021, appendix H; told ln(sigma)/4, `level_scale: 4` embeds ln(sigma) as they do.

    It starts as F = 0: the last weights of every residual branch and of the output are zero.
    """

    Options = NCSNppOptions

    def __init__(self, options: NCSNppOptions, shape: NetworkShape) -> None:
        super().__init__()
        options.check(shape)
        self.patch = options.patch
        self.told = Told(shape, _level(options), options.level_scale, 4 * options.channels)
        down, up = options.ways(shape.image_size, options.channels)
        channels_in, channels_out = (n * options.patch**2 for n in (shape.channels_in, shape.channels_out))
        self.conv_in = glorot(conv3x3(channels_in, options.channels))
        self.down = nn.ModuleList(_way_down(options, down, channels_in))
        width = options.widths()[-1]
        self.middle = nn.ModuleList(Layer(options, width, width, first) for first in (True, False))
        self.up = nn.ModuleList(_up(options, each, channels_out) for each in up)
        self.grow = options.double().alone()

    def blocks(self) -> list[nn.Module]:
        """Every residual block and every attention."""
        return [part for part in self.modules() if isinstance(part, Residual | SelfAttention)]

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Codes [N, channels_in, S, S], level [N], labels int64 [N] if it has classes -> [N, channels_out, S, S]."""
        embedding = F.silu(self.told(level, condition))
        inputs = F.pixel_unshuffle(x, self.patch)
        h, whole = self.conv_in(inputs), None
        skips = [h]
        for level_down in self.down:
            h, inputs = level_down(h, inputs, embedding, skips)
        for layer in self.middle:
            h = layer(h, embedding)
        for level_up in self.up:
            h, part = level_up(h, embedding, skips)
            whole = part if whole is None else self.grow(whole) + part
        assert whole is not None, "the largest level has an output"
        return F.pixel_shuffle(whole, self.patch)


def _level(options: NCSNppOptions) -> nn.Module:
    width_out = 4 * options.channels
    if options.fourier_scale is None:
        return LevelEmbedding(options.channels, width_out)
    return FourierEmbedding(2 * options.channels, width_out, options.fourier_scale)


def _output(options: NCSNppOptions, width: int, channels: int) -> nn.Module:
    norm = GroupNorm(options.groups, width, eps=NORM_EPS)
    return nn.Sequential(norm, nn.SiLU(), zeroed(conv3x3(width, channels)))


def _way_down(options: NCSNppOptions, levels: list[Level], inputs: int) -> list[Down]:
    """Levels from full resolution to the smallest; `inputs` is the number of channels of what is fed to each."""
    parts = list[Down]()
    for level in levels:
        (width, _), *_ = level.channels
        move = Residual(options, width, width, options.halve()) if level.index else None
        pyramid = None
        if level.index and options.progressive_input:
            pyramid = nn.Sequential(options.halve().alone(), glorot(conv3x3(inputs, width)))
            inputs = width
        parts.append(Down([Layer(options, *channels, level.attends) for channels in level.channels], move, pyramid))
    return parts


def _up(options: NCSNppOptions, level: Level, outputs: int) -> Up:
    *others, last = level.channels
    layers = [Layer(options, *channels, False) for channels in others] + [Layer(options, *last, level.attends)]
    width = options.widths()[level.index]
    move = Residual(options, width, width, options.double()) if level.index else None
    output = _output(options, width, outputs) if options.progressive_output or not level.index else None
    return Up(layers, move, output)
