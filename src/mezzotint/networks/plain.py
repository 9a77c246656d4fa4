"""A plain pixel network ("vanilla"): a few convolutions at full resolution, no U; the level is added in each."""

from typing import Annotated, Self

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.errors import BadInput
from mezzotint.networks import Network, NetworkShape
from mezzotint.networks.blocks import NORM_EPS, GroupNorm, LevelEmbedding, glorot, zeroed
from mezzotint.networks.conditioning import Told
from mezzotint.networks.sizes import must_divide
from mezzotint.options import Options


class PlainOptions(Options):
    """Size and make; there are as many layers as widths."""

    widths: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        default=(64, 64, 64, 64, 64, 64), min_length=1, max_length=64, description="feature channels of each layer"
    )
    kernel: int = Field(default=3, ge=1, le=31, description="side of each convolution, in pixels (odd)")
    dilations: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1,),
        min_length=1,
        max_length=64,
        description="pixels from one tap of a convolution to the next, for each layer in turn, again from the first",
    )
    embedding: int = Field(
        default=128, ge=4, le=4096, multiple_of=2, description="channels of the noise level's embedding"
    )
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="probability of dropping a feature in a layer")
    groups: int = Field(default=8, ge=1, description="groups of channels normalised together")
    level_scale: float = Field(
        default=1.0, gt=0.0, description="factor on the noise level before its sinusoids (no unit)"
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        must_divide("groups", self.groups, self.widths)
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} has no middle pixel; choose {self.kernel - 1} or {self.kernel + 1}")
        return self

    def dilation(self, layer: int) -> int:
        """Pixels between the taps of a layer's convolution."""
        return self.dilations[layer % len(self.dilations)]

    def check(self, image_size: int) -> None:
        """Raise `BadInput` where a tap would never meet the image."""
        for dilation in self.dilations:
            reach = dilation * (self.kernel // 2)
            if reach >= image_size:
                raise BadInput(
                    f"kernel={self.kernel} with dilations={dilation} reaches {reach} pixels far, past any pixel of "
                    f"image_size={image_size}: must reach at most {image_size - 1}"
                )


class Layer(nn.Module):
    """dropout(SiLU(norm(conv(x)) + W e))."""

    def __init__(self, options: PlainOptions, channels_in: int, channels_out: int, dilation: int) -> None:
        super().__init__()
        margin = dilation * (options.kernel // 2)
        self.conv = glorot(nn.Conv2d(channels_in, channels_out, options.kernel, padding=margin, dilation=dilation))
        self.norm = GroupNorm(options.groups, channels_out, eps=NORM_EPS)
        self.embed = glorot(nn.Linear(options.embedding, channels_out))
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Features [N, channels_in, H, W], activated embedding [N, E] -> [N, channels_out, H, W]."""
        h = self.norm(self.conv(x)) + self.embed(embedding)[:, :, None, None]
        return self.dropout(F.silu(h))


class Plain(Network):
    """F(x; level): convolutions in a row, the least that can learn to denoise. Its last weights start at zero."""

    Options = PlainOptions

    def __init__(self, options: PlainOptions, shape: NetworkShape) -> None:
        super().__init__()
        options.check(shape.image_size)
        level = LevelEmbedding(options.embedding, options.embedding)
        self.told = Told(shape, level, options.level_scale, options.embedding)
        ins = (shape.channels_in, *options.widths)
        self.layers = nn.ModuleList(
            Layer(options, ins[i], width, options.dilation(i)) for i, width in enumerate(options.widths)
        )
        self.conv_out = zeroed(nn.Conv2d(ins[-1], shape.channels_out, options.kernel, padding=options.kernel // 2))

    def blocks(self) -> list[nn.Module]:
        """Every layer."""
        return list(self.layers)

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Codes [N, channels_in, S, S], level [N], labels int64 [N] if it has classes -> [N, channels_out, S, S]."""
        embedding, h = F.silu(self.told(level, condition)), x
        for layer in self.layers:
            h = layer(h, embedding)
        return self.conv_out(h)
