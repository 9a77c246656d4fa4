"""Pictures of a family: sheets while it trains, always of the same seeds, and a generator ready to draw anywhere."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.contracts import Batch, Family, Generator, Noise
from mezzotint.data.loading import Loader
from mezzotint.generation.grid import class_columns, grid
from mezzotint.generation.stream import stream
from mezzotint.machine import Machine
from mezzotint.pixels import to_images, to_pixels
from mezzotint.runs import build
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


def draw_sheet(family: Family, recipe: Recipe, machine: Machine, count: int, loader: Loader) -> Tensor:
    """Return pixels uint8 [C, H, W]: `count` images of seeds 0.. on one sheet, without touching training's state.

    A family that doesn't draw shows held-out images, as many as there are, with its own beneath.
    """
    was_training = family.training
    family.eval()
    with forked(recipe.seed, "sheet"), machine.autocast(), machine.plainly():
        sheet = _drawn(family, recipe, machine, count) if family.draws else _previewed(family, machine, count, loader)
    family.train(was_training)
    return sheet


def _drawn(family: Family, recipe: Recipe, machine: Machine, count: int) -> Tensor:
    generator = build.generator(family, recipe, machine)
    drawn = list(stream(generator, range(count), batch_size=BATCH, device=machine.device))
    return grid(torch.cat([batch.pixels for batch in drawn]), class_columns(generator.num_classes, count))


@torch.no_grad()
def _previewed(family: Family, machine: Machine, count: int, loader: Loader) -> Tensor:
    pixels, labels = loader.held_out(count) if len(loader.held_out_indices) else loader.chunk(0, count)
    theirs = []
    for start in range(0, len(pixels), BATCH):
        part = slice(start, start + BATCH)
        told = None if labels is None else labels[part].to(machine.device)
        theirs.append(to_pixels(family.preview(Batch(to_images(pixels[part].to(machine.device)), told, None, 0, 0))))
    return beneath(pixels, torch.cat(theirs).cpu())


def beneath(pixels: Tensor, theirs: Tensor) -> Tensor:
    """Pixels uint8 [N, C, H, W] and what became of them -> one sheet [C, H', W'], each row above its counterparts."""
    columns = math.ceil(math.sqrt(2 * len(pixels)))
    rows = [row for pair in zip(pixels.split(columns), theirs.split(columns), strict=True) for row in pair]
    white = [torch.full_like(pixels[:1], 255).expand(-len(row) % columns, -1, -1, -1) for row in rows]
    return grid(torch.cat([part for pair in zip(rows, white, strict=True) for part in pair]), columns)
