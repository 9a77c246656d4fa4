"""A chunk that doesn't fit into memory, run in slices: drawn whole, its gradients summed slice by slice."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateImportUsage]
from torch.overrides import TorchFunctionMode

from mezzotint.contracts import Batch, Family, Phase
from mezzotint.errors import RunFailed

LESS_MEMORY = "lower data.image_size or network.channels, or set training.gradient_checkpointing=true"

Slice = tuple[Batch, AbstractContextManager[object]]
"""Rows of a chunk with what was drawn for them, and the context in which their loss and its gradient are computed."""


class WholeDropout(TorchFunctionMode):
    """Rows start..stop of a chunk of `count` drop what they would drop within the whole chunk.

    Every mask is drawn for all rows, one at a time. Only `torch.nn.functional.dropout` draws inside networks.
    """

    def __init__(self, start: int, stop: int, count: int) -> None:
        super().__init__()
        self.start, self.stop, self.count = start, stop, count

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        call = self._dropout if func is F.dropout else func
        return call(*args, **(kwargs or {}))

    def _dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0 or len(input) != self.stop - self.start:
            return F.dropout(input, p, training, inplace)
        layout = torch.channels_last if _channels_last(input) else torch.contiguous_format
        ones = input.detach().new_ones(self.count, *input.shape[1:]).contiguous(memory_format=layout)
        return input * F.dropout(ones, p)[self.start : self.stop]


def _channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def slices(
    phase: Phase,
    chunk: Batch,
    count: int,
    seed: Callable[[], None],
    autocast: Callable[[], AbstractContextManager[object]],
) -> Iterator[Slice]:
    """Yield a chunk in at most `count` slices; `seed` puts the generators where the chunk's randomness begins.

    One slice is the chunk itself, its loss free to draw. Of several, each draws the whole chunk and keeps its rows,
    under `autocast`, as the loss does.
    """
    if count == 1 or phase.draw is None:
        seed()
        yield chunk, nullcontext()
        return
    rows = len(chunk.images)
    size = -(-rows // count)
    for start in range(0, rows, size):
        stop = min(start + size, rows)
        seed()
        with autocast():
            drawn = phase.draw(chunk).rows(start, stop)
        yield drawn, WholeDropout(start, stop, rows)


def more_slices(phase: Phase, family: Family, rows: int, count: int) -> int:
    """Return how many slices to try after `count` were too few for a chunk of `rows`; `RunFailed` if none would do."""
    if count >= rows:
        raise RunFailed(f"out of memory: not even one image at a time fits; {LESS_MEMORY}")
    norms = any(isinstance(part, _BatchNorm) and part.training for part in family.modules())
    if norms or phase.draw is None:
        why = "with batch norm it" if norms else f"the loss of phase {phase.name} draws as it goes, so it"
        raise RunFailed(
            f"out of memory: a chunk of {rows} images doesn't fit, and {why} can't be run in slices; "
            f"start a new run with training.chunk_size={max(rows // 2, 1)}"
        )
    return min(2 * count, rows)
