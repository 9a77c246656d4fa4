"""A convolutional autoencoder in the manner of DCGAN: strided convolutions to a vector and back."""

from itertools import pairwise
from typing import Annotated, Self

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.networks import Autoencoder, NetworkShape
from mezzotint.networks.blocks import NORM_EPS, GroupNorm, conv3x3, zeroed
from mezzotint.networks.coding import with_class
from mezzotint.networks.sizes import halved, must_divide, must_hold_several
from mezzotint.options import Options


class ConvVAEOptions(Options):
    """Sizes of a convolutional autoencoder; every width halves the image's side once more."""

    latent: int = Field(default=100, ge=1, le=8192, description="numbers of a code")
    widths: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        default=(32, 64, 128, 256), min_length=1, max_length=8, description="feature channels after each halving"
    )
    groups: int = Field(default=8, ge=1, description="groups of channels normalised together")

    @model_validator(mode="after")
    def _groups_divide(self) -> Self:
        must_divide("groups", self.groups, self.widths)
        return self

    def side(self, image_size: int) -> int:
        """Return features per side after the last halving."""
        sizes = halved(image_size, len(self.widths) + 1, "levels, one more than widths")
        must_hold_several(self.groups, self.widths[-1:], sizes)
        return sizes[-1]


class ConvEncoder(nn.Module):
    """Images to the numbers of a code: 4x4 convolutions of stride 2, group norm, SiLU, one linear map."""

    def __init__(self, options: ConvVAEOptions, shape: NetworkShape) -> None:
        super().__init__()
        self.num_classes = shape.num_classes
        widths = (shape.channels_in, *options.widths)
        steps = [_halving(before, after, options.groups) for before, after in pairwise(widths)]
        self.features = nn.Sequential(*steps)
        flat = widths[-1] * options.side(shape.image_size) ** 2
        self.head = nn.Linear(flat + shape.num_classes, shape.encoded * options.latent)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Images [N, C, S, S], labels int64 [N] where it has classes -> [N, encoded * latent]."""
        return self.head(with_class(self.features(images).flatten(1), labels, self.num_classes))


def _halving(channels_in: int, channels_out: int, groups: int) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1)
    return nn.Sequential(conv, GroupNorm(groups, channels_out, eps=NORM_EPS), nn.SiLU())


class ConvDecoder(nn.Module):
    """A code to the numbers of an image: a linear map, then 4x4 transposed convolutions of stride 2."""

    def __init__(self, options: ConvVAEOptions, shape: NetworkShape) -> None:
        super().__init__()
        self.num_classes, self.side = shape.num_classes, options.side(shape.image_size)
        widths = options.widths[::-1]
        self.stem = nn.Linear(options.latent + shape.num_classes, widths[0] * self.side**2)
        after = (*widths[1:], widths[-1])
        pairs = zip(widths, after, strict=True)
        self.features = nn.Sequential(*(_doubling(before, width, options.groups) for before, width in pairs))
        self.norm_out = GroupNorm(options.groups, widths[-1], eps=NORM_EPS)
        self.conv_out = zeroed(conv3x3(widths[-1], shape.channels_out))

    def forward(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Codes [N, latent], labels int64 [N] where it has classes -> [N, channels_out, S, S], 0 at the start."""
        h = self.stem(with_class(codes, labels, self.num_classes)).unflatten(1, (-1, self.side, self.side))
        return self.conv_out(F.silu(self.norm_out(self.features(h))))


def _doubling(channels_in: int, channels_out: int, groups: int) -> nn.Sequential:
    conv = nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
    return nn.Sequential(GroupNorm(groups, channels_in, eps=NORM_EPS), nn.SiLU(), conv)


class ConvVAE(Autoencoder):
    """Strided convolutions to a vector and back, as in DCGAN (Radford et al. 2016), with group norm."""

    Options = ConvVAEOptions

    def __init__(self, options: ConvVAEOptions, shape: NetworkShape) -> None:
        super().__init__()
        self.latent_shape = (options.latent,)
        self.encoder, self.decoder = ConvEncoder(options, shape), ConvDecoder(options, shape)
