"""Gradient checkpointing: blocks keep their inputs alone and are computed again for their gradient."""

from collections.abc import Iterable
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(blocks: Iterable[nn.Module]) -> None:
    """Let blocks store only their inputs in training: memory for a second forward pass (Chen et al. 2016, sec. 3).

    Gradients are equal bit for bit: dropout's generator state is put back. Parameters keep their names.
    """
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
