"""The exponential moving average of a family's weights, its half-life counted in images."""

import copy

import torch
from torch import Tensor

from mezzotint.contracts import Family


def decay(batch_size: int, images_seen: int, halflife_images: float, warmup: float) -> float:
    """Return the weight the old average keeps over one update of `batch_size` images.

    The half-life grows with training, at most `warmup` times the images seen, so that a young average forgets its
    random beginning (Karras et al. 2022, official training recipe, App. F.2).
    """
    halflife = min(halflife_images, warmup * images_seen) if warmup > 0 else halflife_images
    return 0.5 ** (batch_size / halflife) if halflife > 0 else 0.0


class Ema:
    """A shadow of a family: what it draws with is averaged, buffers are copied. It draws, but never learns.

    Parameters that don't draw, as a critic's, are the family's own, not copies.
    """

    def __init__(self, family: Family, halflife_images: float, warmup: float) -> None:
        averaged = set(map(id, family.averaged().parameters()))
        shared = {id(p): p for p in family.parameters() if id(p) not in averaged}
        self.family = copy.deepcopy(family, dict(shared)).eval()
        self.family.averaged().requires_grad_(False)
        self.halflife_images, self.warmup = halflife_images, warmup

    @torch.no_grad()
    def follow(self, source: Family, batch_size: int, images_seen: int) -> None:
        """Move the average towards the source's present weights, after an update."""
        keep = decay(batch_size, images_seen, self.halflife_images, self.warmup)
        averages: list[Tensor] = list(self.family.averaged().parameters())
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            averages, list(source.averaged().parameters()), 1.0 - keep
        )
        for ours, theirs in zip(self.family.buffers(), source.buffers(), strict=True):
            ours.copy_(theirs)
