"""Pictures of a family: sheets while it trains, always of the same seeds, and a generator ready to draw anywhere."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.contracts import Family, Generator, Noise
from mezzotint.generation.grid import class_columns, grid
from mezzotint.generation.stream import stream
from mezzotint.machine import Machine
from mezzotint.runs.recipe import Recipe
from mezzotint.seeds import forked

BATCH = 64


@dataclass(frozen=True)
class MixedPrecision:
    """A generator that draws in its machine's number type, wherever it is called from."""

    inner: Generator
    machine: Machine

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """What a latent of one image is: the shape without the batch."""
        return self.inner.latent_shape

    @property
    def num_classes(self) -> int:
        """Classes it knows, 0 without."""
        return self.inner.num_classes

    def decode(self, latent: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        """Latent [N, *latent_shape], labels int64 [N] or None -> images [N, C, H, W]."""
        with self.machine.autocast():
            return self.inner.decode(latent, labels, noise)


def draw_sheet(family: Family, recipe: Recipe, machine: Machine, count: int) -> Tensor:
    """Return pixels uint8 [C, H, W]: `count` images of seeds 0.. on one sheet, without touching training's state."""
    was_training = family.training
    family.eval()
    generator = family.generator(recipe.sampling)
    with forked(recipe.seed, "sheet"), machine.autocast(), machine.plainly():
        drawn = list(stream(generator, range(count), batch_size=BATCH, device=machine.device))
    family.train(was_training)
    return grid(torch.cat([batch.pixels for batch in drawn]), class_columns(generator.num_classes, count))
