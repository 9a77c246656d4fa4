"""Pictures of a family while it trains: always the same seeds, so that sheets compare."""

import torch
from torch import Tensor

from mezzotint.contracts import Family
from mezzotint.generation.grid import class_columns, grid
from mezzotint.generation.stream import stream
from mezzotint.machine import Machine
from mezzotint.runs.recipe import Recipe
from mezzotint.seeds import forked

BATCH = 64


def draw_sheet(family: Family, recipe: Recipe, machine: Machine, count: int) -> Tensor:
    """Return pixels uint8 [C, H, W]: `count` images of seeds 0.. on one sheet, without touching training's state."""
    was_training = family.training
    family.eval()
    generator = family.generator(recipe.sampling)
    with forked(recipe.seed, "sheet"), machine.autocast():
        drawn = list(stream(generator, range(count), batch_size=BATCH, device=machine.device))
    family.train(was_training)
    return grid(torch.cat([batch.pixels for batch in drawn]), class_columns(generator.num_classes, count))
