"""Fitting a run into memory before its first update: how many images of a batch go through the network at once."""

from collections.abc import Callable

import torch

from mezzotint.contracts import Batch
from mezzotint.machine import Machine
from mezzotint.memory import free_bytes, memory_told
from mezzotint.runs import build
from mezzotint.runs.recipe import Recipe
from mezzotint.seeds import forked
from mezzotint.training.cost import Memory, memory
from mezzotint.training.loop import LearningOptions
from mezzotint.training.slices import LESS_MEMORY

_MARGIN = 0.8  # of the free memory may be planned for: counts are no measurements, and others use the machine too


def blank_batches(recipe: Recipe, num_classes: int, device: torch.device) -> Callable[[int], Batch]:
    """Return what makes batches of so many grey images of this recipe's shape, all of class 0."""
    channels, size = recipe.data.channels, recipe.data.image_size
    assert channels is not None, "a resolved recipe knows its channels"

    def make(rows: int) -> Batch:
        labels = torch.zeros(rows, dtype=torch.int64, device=device) if num_classes else None
        told = torch.zeros(rows, recipe.told(), device=device) if recipe.told() else None
        return Batch(torch.zeros(rows, channels, size, size, device=device), labels, told, 0, 0)

    return make


@memory_told("before the first update", LESS_MEMORY)
def training_memory(recipe: Recipe, num_classes: int, machine: Machine) -> Memory:
    """Count what training a recipe needs on a machine, its channels known: forward passes of three images, no more."""
    with forked("memory"):
        family = build.family(recipe, num_classes, machine)
        recomputed = build.blocks(family) if recipe.training.gradient_checkpointing else ()
        return memory(family, blank_batches(recipe, num_classes, machine.device), machine, recomputed)


def _part(batch_size: int, processes: int) -> int:
    """Return the largest chunk of a batch that leaves no process without one; 1 where there are too few images."""
    even = -(-batch_size // processes)
    return even if -(-batch_size // even) >= processes else max(batch_size // processes, 1)


def choose_chunk(training: LearningOptions, needed: Memory, machine: Machine) -> int:
    """Return `training.chunk_size`; where it is open, a process's part of the batch, halved until it fits into memory.

    Where the system doesn't tell what is free, all fits.
    """
    if training.chunk_size is not None:
        training.check_processes(machine.world)
        return training.chunk_size
    whole, free = _part(training.batch_size, machine.world), free_bytes(machine.device)
    if free is None:
        return whole
    room = free if machine.device.type == "cuda" else free // machine.world  # processes share main memory
    return needed.largest_chunk(whole, int(_MARGIN * room))
