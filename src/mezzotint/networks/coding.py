"""Parts of autoencoders: a class told as a one-hot vector, residual blocks without a noise level, the two ways."""

from itertools import pairwise
from typing import Annotated, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.errors import BadInput
from mezzotint.networks import NetworkShape
from mezzotint.networks.blocks import NORM_EPS, Downsample, GroupNorm, Upsample, conv3x3, glorot, zeroed
from mezzotint.networks.sizes import halved, must_divide, must_hold_several
from mezzotint.options import Options


def with_class(x: Tensor, labels: Tensor | None, num_classes: int) -> Tensor:
    """Vectors x [N, D], labels int64 [N] -> [N, D + num_classes], the class as a one-hot vector; x without classes."""
    if not num_classes:
        return x
    if labels is None:
        raise BadInput(f"a network of {num_classes} classes needs labels")
    return torch.cat([x, F.one_hot(labels, num_classes).to(x.dtype)], dim=1)


class ResidualOptions(Options):
    """Sizes of residual encoder and decoder; the number of multipliers is the number of levels, each half as wide."""

    channels: int = Field(default=64, ge=1, le=2048, description="feature channels at full resolution")
    multipliers: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        default=(1, 2, 2), min_length=1, max_length=8, description="feature channels of each level, times `channels`"
    )
    blocks: int = Field(default=2, ge=1, le=16, description="residual blocks per level, in each direction")
    groups: int = Field(default=16, ge=1, description="groups of channels normalised together")

    @model_validator(mode="after")
    def _groups_divide(self) -> Self:
        must_divide("groups", self.groups, self.widths())
        return self

    def widths(self) -> tuple[int, ...]:
        """Feature channels of each level, full resolution first."""
        return tuple(self.channels * multiplier for multiplier in self.multipliers)

    def side(self, image_size: int) -> int:
        """Return features per side of the smallest level."""
        sizes = halved(image_size, len(self.multipliers), "multipliers")
        must_hold_several(self.groups, self.widths(), sizes)
        return sizes[-1]


class CodingBlock(nn.Module):
    """x + conv(SiLU(norm(conv(SiLU(norm(x))) + class))), 1x1 shortcut on new channels (He et al. 2016b)."""

    def __init__(self, channels_in: int, channels_out: int, groups: int, num_classes: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, channels_in, eps=NORM_EPS)
        self.conv1 = glorot(conv3x3(channels_in, channels_out))
        self.told = nn.Embedding(num_classes, channels_out) if num_classes else None
        self.norm2 = GroupNorm(groups, channels_out, eps=NORM_EPS)
        self.conv2 = zeroed(conv3x3(channels_out, channels_out))
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else glorot(nn.Conv2d(channels_in, channels_out, 1))

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Features [N, channels_in, H, W], labels int64 [N] where it has classes -> [N, channels_out, H, W]."""
        h = self.conv1(F.silu(self.norm1(x)))
        if self.told is not None:
            if labels is None:
                raise BadInput(f"a network of {self.told.num_embeddings} classes needs labels")
            h = h + self.told(labels)[:, :, None, None]
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class WayIn(nn.Module):
    """Images to features of the smallest level: residual blocks, half the side between levels."""

    def __init__(self, options: ResidualOptions, shape: NetworkShape) -> None:
        super().__init__()
        widths = options.widths()
        self.conv_in = glorot(conv3x3(shape.channels_in, widths[0]))
        self.steps = nn.ModuleList()
        for level, width in enumerate(widths):
            if level:
                self.steps.append(Downsample(widths[level - 1]))
            self.steps.extend(_blocks(widths[max(level - 1, 0)], width, options, shape.num_classes))
        self.norm_out = GroupNorm(options.groups, widths[-1], eps=NORM_EPS)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Images [N, C, S, S] -> activated features [N, widths[-1], s, s]."""
        return F.silu(self.norm_out(_through(self.steps, self.conv_in(images), labels)))


class WayOut(nn.Module):
    """Features of the smallest level to numbers at every pixel: residual blocks, twice the side between levels."""

    def __init__(self, options: ResidualOptions, shape: NetworkShape) -> None:
        super().__init__()
        widths = options.widths()[::-1]
        self.steps = nn.ModuleList()
        for level, width in enumerate(widths):
            if level:
                self.steps.append(Upsample(widths[level - 1]))
            self.steps.extend(_blocks(widths[max(level - 1, 0)], width, options, shape.num_classes))
        self.norm_out = GroupNorm(options.groups, widths[-1], eps=NORM_EPS)
        self.conv_out = zeroed(conv3x3(widths[-1], shape.channels_out))

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor:
        """Features [N, widths[-1], s, s] -> numbers [N, channels_out, S, S], 0 at the start."""
        return self.conv_out(F.silu(self.norm_out(_through(self.steps, features, labels))))


def _blocks(width_in: int, width: int, options: ResidualOptions, num_classes: int) -> list[CodingBlock]:
    """Return the blocks of one level, of which the first changes the channels."""
    widths = [width_in] + [width] * options.blocks
    return [CodingBlock(before, after, options.groups, num_classes) for before, after in pairwise(widths)]


def _through(steps: nn.ModuleList, h: Tensor, labels: Tensor | None) -> Tensor:
    for step in steps:
        h = step(h, labels) if isinstance(step, CodingBlock) else step(h)
    return h


def coding_blocks(network: nn.Module) -> list[nn.Module]:
    """Return the residual blocks: their features are most of what training keeps."""
    return [part for part in network.modules() if isinstance(part, CodingBlock)]
