"""The diffusion transformer of Peebles & Xie 2023 (DiT): patches as tokens, adaLN-Zero blocks, fixed positions."""

from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.errors import BadInput
from mezzotint.networks import Network, NetworkShape
from mezzotint.networks.blocks import NORM_EPS, LevelEmbedding, attend, glorot, sinusoids, zeroed
from mezzotint.networks.conditioning import Told
from mezzotint.networks.sizes import must_divide
from mezzotint.options import Options

_LEVEL_WAVES = 256  # appendix A of the paper


class DiTOptions(Options):
    """Size and make; DiT-S/2 is width 384, depth 12, heads 6, patch 2."""

    width: int = Field(default=256, ge=4, le=4096, multiple_of=4, description="channels of a token")
    depth: int = Field(default=8, ge=1, le=64, description="transformer blocks")
    heads: int = Field(default=4, ge=1, le=64, description="attention heads of each block")
    patch: int = Field(default=2, ge=1, le=32, description="side in pixels of the squares that become tokens")
    mlp_ratio: float = Field(default=4.0, ge=0.25, le=16.0, description="hidden channels of a block's MLP, times width")
    dropout: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="probability of dropping a feature that a branch adds"
    )
    level_scale: float = Field(
        default=1.0, gt=0.0, description="factor on the noise level before its sinusoids (no unit)"
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        must_divide("heads", self.heads, [self.width])
        return self

    def tokens_per_side(self, image_size: int) -> int:
        """Patches along a side; `BadInput` where they don't cover the image."""
        if image_size % self.patch:
            raise BadInput(f"image_size={image_size} is not made of patches of {self.patch}: must be a multiple of it")
        return image_size // self.patch


class Attention(nn.Module):
    """Self-attention of tokens (Vaswani et al. 2017, eq. 1), query, key and value from one product."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        for rows in self.project.weight.chunk(3):
            nn.init.xavier_uniform_(rows)
        nn.init.zeros_(self.project.bias)
        self.out = glorot(nn.Linear(width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [N, T, D] -> [N, T, D]."""
        q, k, v = self.project(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(attend(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """adaLN-Zero (sec. 3.2, fig. 3): each branch's norm is scaled and shifted, its result gated, by the embedding."""

    def __init__(self, options: DiTOptions) -> None:
        super().__init__()
        width, hidden = options.width, round(options.mlp_ratio * options.width)
        self.modulation = zeroed(nn.Linear(width, 6 * width))
        self.norm = nn.LayerNorm(width, eps=NORM_EPS, elementwise_affine=False)
        self.attention = Attention(width, options.heads)
        self.mlp_in, self.mlp_out = glorot(nn.Linear(width, hidden)), glorot(nn.Linear(hidden, width))
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, tokens: Tensor, embedding: Tensor) -> Tensor:
        """Tokens [N, T, D], activated embedding [N, D] -> [N, T, D]."""
        a1, b1, gate1, a2, b2, gate2 = self.modulation(embedding)[:, None].chunk(6, dim=2)
        h = self.attention(modulated(self.norm(tokens), a1, b1))
        tokens = torch.addcmul(tokens, gate1, self.dropout(h))
        h = self.mlp_out(F.gelu(self.mlp_in(modulated(self.norm(tokens), a2, b2)), approximate="tanh"))
        return torch.addcmul(tokens, gate2, self.dropout(h))


def modulated(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """(1 + scale) h + shift for h [N, T, D], scale and shift [N, 1, D]."""
    return torch.addcmul(shift, h, 1 + scale)


def positions(side: int, width: int) -> Tensor:
    """Sinusoids of row and of column, half the channels each -> [side^2, width] (sec. 3.2, "frequency-based")."""
    along = sinusoids(torch.arange(side), width // 2)
    rows = along[:, None].expand(side, side, -1)
    return torch.cat([rows, rows.transpose(0, 1)], dim=2).flatten(0, 1)


class DiT(Network):
    """F(x; level) of Peebles & Xie 2023, sec. 3.2. It starts as F = 0, and each of its blocks as the identity."""

    Options = DiTOptions
    positions: Tensor

    def __init__(self, options: DiTOptions, shape: NetworkShape) -> None:
        super().__init__()
        width, patch = options.width, options.patch
        self.patch, self.side = patch, options.tokens_per_side(shape.image_size)
        self.told = Told(shape, LevelEmbedding(_LEVEL_WAVES, width), options.level_scale, width)
        self.patch_in = glorot(nn.Linear(shape.channels_in * patch**2, width))
        self.register_buffer("positions", positions(self.side, width), persistent=False)
        self.transformer = nn.ModuleList(Block(options) for _ in range(options.depth))
        self.modulation = zeroed(nn.Linear(width, 2 * width))
        self.norm = nn.LayerNorm(width, eps=NORM_EPS, elementwise_affine=False)
        self.patch_out = zeroed(nn.Linear(width, shape.channels_out * patch**2))

    def blocks(self) -> list[nn.Module]:
        """Every transformer block."""
        return list(self.transformer)

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Codes [N, channels_in, S, S], level [N], labels int64 [N] if it has classes -> [N, channels_out, S, S]."""
        embedding = F.silu(self.told(level, condition))
        tokens = self.patch_in(F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)) + self.positions
        for block in self.transformer:
            tokens = block(tokens, embedding)
        scale, shift = self.modulation(embedding)[:, None].chunk(2, dim=2)
        patches = self.patch_out(modulated(self.norm(tokens), scale, shift)).transpose(1, 2)
        return self._pixels(patches, x)

    def _pixels(self, patches: Tensor, like: Tensor) -> Tensor:
        """Patches [N, channels_out patch^2, T] -> [N, channels_out, S, S], laid out in memory like the input."""
        pixels = F.pixel_shuffle(patches.unflatten(2, (self.side, self.side)), self.patch)
        last = not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last)
        return pixels.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
