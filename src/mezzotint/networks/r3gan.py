"""R3GAN: a modern baseline; grouped bottlenecks, no normalisation, fix-up weights (after Huang et al. 2024)."""

from itertools import pairwise
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.contracts import Noise
from mezzotint.errors import BadInput
from mezzotint.networks import AdversarialPair, Critic, GeneratorNetwork, NetworkShape
from mezzotint.networks.blocks import zeroed
from mezzotint.networks.pairs import LabelledLatent, Verdict, sides, widths
from mezzotint.options import Options

_MOST = 4
_SLOPE = 0.2
_LAYERS = 3  # of a residual branch


class R3GANOptions(Options):
    """Sizes of both networks; their residual blocks are 1x1, grouped 3x3, 1x1."""

    ngf: int = Field(
        default=32, ge=1, le=1024, description="generator's features at full size; doubled per level, to 4 times"
    )
    ndf: int = Field(
        default=32, ge=1, le=1024, description="critic's features at full size; doubled per level, to 4 times"
    )
    latent: int = Field(default=64, ge=1, le=4096, description="numbers of a latent")
    blocks: int = Field(default=1, ge=1, le=16, description="residual blocks per level")
    expansion: int = Field(default=2, ge=1, le=8, description="features inside a block, times those outside")
    group_width: int = Field(default=16, ge=1, le=1024, description="features that a 3x3 convolution sees together")

    @model_validator(mode="after")
    def _groups_divide(self) -> Self:
        for name in ("ngf", "ndf"):
            inside = getattr(self, name) * self.expansion
            if inside % self.group_width:
                raise BadInput(
                    f"group_width={self.group_width} must divide the {inside} features inside a block "
                    f"({name} times expansion)"
                )
        return self


def _he(layer: nn.Conv2d | nn.Linear, scale: float = 1.0, slope: float = 1.0) -> nn.Conv2d | nn.Linear:
    """Draw the weight with variance 2 scale^2 / ((1 + slope^2) fan_in), bias 0 (He et al. 2015, eq. 15)."""
    nn.init.kaiming_normal_(layer.weight, a=slope)
    with torch.no_grad():
        layer.weight.mul_(scale)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Bottleneck(nn.Module):
    """x + W3 act(W2 act(W1 x)), W2 a grouped 3x3 convolution; without normalisation.

    Fix-up weights (Zhang et al. 2019, sec. 3): the last zero, the others scaled by L^(-1 / (2 m - 2)) for L blocks of
    m layers, so that the whole starts as the identity and its first updates don't grow with L.
    """

    def __init__(self, channels: int, options: R3GANOptions, total: int) -> None:
        super().__init__()
        inside, scale = channels * options.expansion, total ** (-1 / (2 * _LAYERS - 2))
        middle = nn.Conv2d(inside, inside, 3, padding=1, groups=inside // options.group_width)
        self.layers = nn.Sequential(
            _he(nn.Conv2d(channels, inside, 1), scale, _SLOPE),
            nn.LeakyReLU(_SLOPE),
            _he(middle, scale, _SLOPE),
            nn.LeakyReLU(_SLOPE),
            zeroed(nn.Conv2d(inside, channels, 1, bias=False)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, C, S, S] -> [N, C, S, S]."""
        return x + self.layers(x)


def _level(channels: int, options: R3GANOptions, levels: int) -> nn.Sequential:
    return nn.Sequential(*(Bottleneck(channels, options, levels * options.blocks) for _ in range(options.blocks)))


class _Generator(GeneratorNetwork):
    def __init__(self, options: R3GANOptions, shape: NetworkShape) -> None:
        super().__init__()
        self.latent = self.width = options.latent
        base, levels = sides(shape.image_size)[0], len(sides(shape.image_size))
        features = widths(options.ngf, levels, _MOST)
        self.labelled = LabelledLatent(options.latent, shape.num_classes)
        self.linear = _he(nn.Linear(self.labelled.width, features[0]))
        self.basis = nn.Parameter(torch.randn(features[0], base, base))
        self.levels = nn.ModuleList(_level(width, options, levels) for width in features)
        pairs = pairwise(features)
        self.between = nn.ModuleList(_he(nn.Conv2d(*pair, 1, bias=False)) for pair in pairs)
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear")
        self.conv_out = _he(nn.Conv2d(features[-1], shape.channels_out, 1))

    def draw(self, w: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        """Latents [N, D], labels int64 [N] if it has classes -> images [N, C, S, S]."""
        h = self.levels[0](self.basis * self.linear(self.labelled(w, labels))[:, :, None, None])
        for between, level in zip(self.between, list(self.levels)[1:], strict=True):
            h = level(self.enlarge(between(h)))
        return self.conv_out(h)


class _Critic(Critic):
    def __init__(self, options: R3GANOptions, shape: NetworkShape) -> None:
        super().__init__()
        base, levels = sides(shape.image_size)[0], len(sides(shape.image_size))
        features = widths(options.ndf, levels, _MOST)[::-1]
        self.conv_in = _he(nn.Conv2d(shape.channels_in, features[0], 1))
        self.levels = nn.ModuleList(_level(width, options, levels) for width in features)
        pairs = pairwise(features)
        self.between = nn.ModuleList(_he(nn.Conv2d(*pair, 1, bias=False)) for pair in pairs)
        self.reduce = nn.AvgPool2d(2)  # bilinear, too: means of 2x2
        self.basis = _he(nn.Conv2d(features[-1], features[-1], base, groups=features[-1], bias=False))
        self.verdict = Verdict(features[-1], 1, shape.num_classes)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Images [N, C, S, S], labels int64 [N] if it has classes -> [N]."""
        h = self.levels[0](self.conv_in(images))
        for between, level in zip(self.between, list(self.levels)[1:], strict=True):
            h = level(between(self.reduce(h)))
        return self.verdict(self.basis(h), labels)


class R3GAN(AdversarialPair):
    """A pair in the manner of Huang et al. 2024, sec. 4.2 (config E), sized down, at 8 to 256 px."""

    Options = R3GANOptions

    def __init__(self, options: R3GANOptions, shape: NetworkShape) -> None:
        super().__init__()
        self.generator_network = _Generator(options, shape)
        self.critic = _Critic(options, shape)
