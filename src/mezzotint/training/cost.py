"""What an update costs: memory and operations per image, counted; time, measured in a second or two of real updates."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from mezzotint.contracts import Batch, Family, Phase
from mezzotint.machine import Machine
from mezzotint.training.loop import Learner, Trainer, freeze_all_but
from mezzotint.training.speed import flops, once

_FLOAT = 4  # bytes of a master weight
_SLOTS = 6  # weights, gradients, two moments of Adam, average, and a step's own room
_WORKSPACE = 1.4  # what a backward pass needs at once, times what the forward pass left for it: 1.3 to 1.5 measured
_AGAIN = 3.5  # the same for the largest block that is computed again, beside what waits for it: two U-Nets measured
_LEAST = (3, 1)  # times of like updates, and of rounds of updates that differ
_ROWS = (1, 2)  # images of the two counts that a line is drawn through

MakeBatch = Callable[[int], Batch]


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of training: `fixed` whatever the chunk, `image` for every image of it at the peak."""

    parameters: int
    fixed: int
    image: int

    def peak(self, chunk: int) -> int:
        """Return the most bytes that an update of chunks of this many images needs."""
        return self.fixed + self.image * chunk

    def largest_chunk(self, whole: int, room: int) -> int:
        """Return the largest of `whole`, its half, its quarter ... that fits into `room` bytes, at least 1."""
        chunk = whole
        while chunk > 1 and self.peak(chunk) > room:
            chunk = -(-chunk // 2)
        return chunk


def memory(family: Family, make: MakeBatch, machine: Machine, blocks: Sequence[nn.Module] = ()) -> Memory:
    """Count the memory of training, from what forward passes of 1 and 2 images keep for their gradients.

    `blocks` are the parts that gradient checkpointing computes again.
    """
    parameters = sum(p.numel() for p in family.parameters())
    buffers = sum(b.numel() * b.element_size() for b in family.buffers())
    family.train()
    lines = [_line(phase, make, machine, blocks) for phase in family.phases()]
    fixed, image = (max(values) for values in zip(*lines, strict=True))
    return Memory(parameters, _SLOTS * _FLOAT * parameters + 2 * buffers + fixed, image)


def _line(phase: Phase, make: MakeBatch, machine: Machine, blocks: Sequence[nn.Module]) -> tuple[int, int]:
    """Bytes kept whatever the number of images (weights cast for autocast), and per image.

    Of the blocks that are computed again, one at a time is kept: the largest.
    """
    kept = zip(*(_kept_bytes(phase, make(rows), machine, blocks) for rows in _ROWS), strict=True)
    slopes = [((more - few) // (_ROWS[1] - _ROWS[0]), few) for few, more in kept]
    (outside, *inside) = [(max(few - _ROWS[0] * image, 0), image) for image, few in slopes]
    fixed, image = (max(values, default=0) for values in zip(*inside, strict=True)) if inside else (0, 0)
    return outside[0] + fixed, round(_WORKSPACE * outside[1] + _AGAIN * image)


class _Ledger:
    """Storages that a forward pass keeps, each counted once: outside of blocks, and inside each block."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self.weights = {_storage(tensor) for tensor in weights}
        self.outside: dict[int, Tensor] = {}
        self.inside: list[dict[int, Tensor]] = []
        self.block: dict[int, Tensor] | None = None

    def keep(self, tensor: Tensor) -> Tensor:
        """Note a tensor that autograd saves."""
        self._note(self.outside if self.block is None else self.block, tensor)
        return tensor

    def enter(self, block: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Begin a block: it keeps its inputs, and what it saves is computed again."""
        for tensor in inputs:
            if isinstance(tensor, Tensor):
                self._note(self.outside, tensor)
        self.block = {}
        self.inside.append(self.block)

    def leave(self, block: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
        """End a block."""
        self.block = None

    def bytes(self) -> list[int]:
        """What is kept outside of blocks, then what each block saves; the weights themselves aside."""
        return [sum(t.untyped_storage().nbytes() for t in kept.values()) for kept in (self.outside, *self.inside)]

    def _note(self, kept: dict[int, Tensor], tensor: Tensor) -> None:
        if _storage(tensor) not in self.weights:
            kept.setdefault(_storage(tensor), tensor)  # held, so that no other storage gets its number


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _kept_bytes(phase: Phase, batch: Batch, machine: Machine, blocks: Sequence[nn.Module]) -> list[int]:
    ledger = _Ledger(phase.module.parameters())
    with ExitStack() as stack:
        for block in blocks:
            stack.callback(block.register_forward_pre_hook(ledger.enter).remove)
            stack.callback(block.register_forward_hook(ledger.leave).remove)
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(ledger.keep, lambda tensor: tensor))
        stack.enter_context(machine.autocast())
        loss = phase.loss(batch)
    kept = ledger.bytes()
    del loss  # only now: its graph holds what was counted
    return kept


@dataclass(frozen=True, slots=True)
class Operations:
    """One image's floating point operations in an update, over all phases: of the losses, and with their gradients."""

    forward: float
    update: float


def operations(family: Family, make: MakeBatch) -> Operations:
    """Count one image's floating point operations (a multiply-add counts as two) in losses and in backward passes.

    Products and convolutions alone, as `torch.utils.flop_counter` counts them: about three times the loss's in an
    update of most families, else what frozen networks and penalties make of it. Of a family whose updates differ, the
    mean. Graphs without memory will do.
    """
    family.train()
    rhythm, batch = family.rhythm(), make(1)
    due = [(phase, replace(batch, update=n)) for n in range(rhythm) for phase in family.phases() if not n % phase.every]
    counts = zip(*(_phase_operations(phase, one, family) for phase, one in due), strict=True)
    forward, backward = (sum(found) / rhythm for found in counts)
    return Operations(forward, forward + backward)


def _phase_operations(phase: Phase, batch: Batch, family: Family) -> tuple[int, int]:
    losses = list[Tensor]()
    freeze_all_but(phase.module, family)
    forward = flops(lambda: losses.append(phase.loss(batch).value))
    return forward, flops(losses[0].backward)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of training: `image` for every image, `update` once per update (optimizer, average)."""

    image: float
    update: float

    def seconds(self, images: int, batch_size: int) -> float:
        """Return the time of training on so many images."""
        return images * self.image + images / batch_size * self.update


def pace(trainer: Trainer, learner: Learner, seconds: float = 2.0) -> Pace:
    """Measure real updates of a throwaway learner, for about `seconds` after the first: its batch is a trial's.

    The median, of means over as many as differ; what the optimizer and the average take is told apart by steps of
    theirs alone.
    """
    updates, device, rhythm = trainer.train(learner), trainer.machine.device, learner.family.rhythm()
    next(updates)
    took, deadline = list[float](), perf_counter() + seconds
    while len(took) < _LEAST[rhythm > 1] or perf_counter() < deadline:
        took.append(once(lambda: [next(updates) for _ in range(rhythm)], device) / rhythm)
    alone = min(once(lambda: _settle(learner), device) for _ in range(3))
    alone = min(alone, median(took))
    return Pace((median(took) - alone) / learner.options.batch_size, alone)


def _settle(learner: Learner) -> None:
    """Do what an update does once, whatever its batch."""
    for optimizer in learner.optimizers.values():
        optimizer.step()
    learner.ema.follow(learner.family, learner.options.batch_size, learner.images_seen)


@torch.no_grad()
def evaluation_seconds(family: Family, batch: Batch, machine: Machine, seconds: float = 0.5) -> float:
    """Return the time of looking at one held-out image: the median of calls for about `seconds`."""
    took, deadline = list[float](), perf_counter() + seconds
    with machine.autocast():
        while len(took) < 3 or perf_counter() < deadline:
            took.append(once(lambda: family.held_out(batch), machine.device))
    return median(took) / len(batch.images)
