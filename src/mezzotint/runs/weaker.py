"""The weaker model that autoguidance asks for: a checkpoint of another run, or an earlier one of the same run."""

from dataclasses import dataclass
from pathlib import Path

from mezzotint.contracts import Family, Generator
from mezzotint.diffusion.family import Diffusion
from mezzotint.diffusion.generator import DiffusionGenerator
from mezzotint.diffusion.guidance import Checkpoint
from mezzotint.errors import BadInput
from mezzotint.options import parse, read_yaml
from mezzotint.runs import checkpoint
from mezzotint.runs.folder import RunFolder
from mezzotint.runs.recipe import Recipe, family_class


@dataclass(frozen=True)
class Weaker:
    """A trained model as a run keeps it."""

    recipe: Recipe
    num_classes: int
    checkpoint: Path


def wanted(generator: Generator) -> Checkpoint | None:
    """Return which other model a generator needs beside it, if any."""
    return generator.options.guidance.weak() if isinstance(generator, DiffusionGenerator) else None


def find(asked: Checkpoint) -> Weaker:
    """Look a weaker model up; `BadInput` where there is no such run or checkpoint, or no diffusion model in it."""
    try:
        folder = RunFolder.open(asked.run)
        found = checkpoint.find(folder.checkpoints, asked.which)
        recipe = parse(Recipe, read_yaml(folder.recipe), where=f"{folder.recipe}:")
    except BadInput as error:
        raise BadInput(f"guidance=autoguidance: {error}; choose another guidance.run, or guidance=none") from None
    if family_class(recipe.family) is not Diffusion:
        raise BadInput(f"guidance.run={asked.run}: holds no diffusion model; choose another run, or guidance=none")
    return Weaker(recipe, int(folder.read_environment()["num_classes"]), found)


def beside(generator: Generator, other: Family) -> Generator:
    """Return a generator that wants a weaker model with this one beside it; `BadInput` where it doesn't fit."""
    assert isinstance(generator, DiffusionGenerator), "nothing else wants one"
    assert isinstance(other, Diffusion), "nothing else is found"
    return generator.beside(other)


def by_itself(family: Family, recipe: Recipe) -> Generator:
    """Return what draws as the recipe says, the family itself standing for a weaker model: to count calls."""
    generator = family.generator(recipe.sampling)
    return beside(generator, family) if wanted(generator) else generator
