"""Shipped recipes, all of them: every override they promise works, and each learns and draws at its real size."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mezzotint.contracts import Batch
from mezzotint.data.loading import Loader
from mezzotint.data.pack import Pack
from mezzotint.diffusion.family import DiffusionOptions
from mezzotint.diffusion.generator import DiffusionGenerator
from mezzotint.generation.stream import stream
from mezzotint.machine import Machine
from mezzotint.options import parse
from mezzotint.pixels import to_images
from mezzotint.runs import build, recipe
from mezzotint.runs.codecs import Moments
from mezzotint.runs.compilation import operations_per_image
from mezzotint.runs.recipe import Recipe
from mezzotint.training.loop import Learner
from packing import pack_of

DOCS = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"
CLASSES = 10
CPU = Machine.detect("cpu")
META = Machine(torch.device("meta"), "float32", 1)

SLOW = {"bedrooms-diffusion"}

PROMISED = {
    "birds-large": [["sampling.sampler=ddim", "sampling.steps=5"], ["family.schedule=cosine"]],
    "birds-small": [["family.schedule=linear"]],
    "bedrooms-diffusion": [["data.image_size=128"], ["data.image_size=64"], ["data.channels=1"]],
    "bedrooms-vanilla-diffusion": [["data.image_size=128"], ["data.image_size=64"], ["data.channels=1"]],
    "bedrooms-modern": [
        ["data.image_size=128"],
        ["data.image_size=128", "family.schedule.mean=-0.5"],
        ["data.channels=1"],
    ],
    "cats-dogs-diffusion": [
        *([f"family.schedule.timesteps={count}"] for count in (100, 250, 500, 750, 1000, 1500)),
        ["training.learning_rate=0.01"],
        ["training.beta1=0"],
        ["family.schedule.timesteps=100", "family.schedule.beta_end=0.2"],
    ],
    "cats-dogs-diffusion-modern": [
        ["sampling.guidance=classifier-free"],
        ["family.class_conditional=false", "family.label_dropout=0"],
    ],
    "cifar10-four-block": [
        ["family.schedule=linear"],
        ["family.schedule={kind: chen-cosine, start: 0.2}"],
        ["family.schedule={kind: sigmoid, tau: 1.1}"],
        ["family.schedule={kind: sigmoid, tau: 0.9}"],
        ["family.schedule={kind: polynomial, shape: warm-up}"],
        ["family.schedule={kind: polynomial, shape: cool-off, tau: 2}"],
    ],
    "cifar10-ddpm": [["family.schedule.timesteps=100"]],
    "ffhq96-ddpm": [["family.schedule.timesteps=100"]],
    "ffhq96-ncsnpp-ve": [
        [
            "family={kind: diffusion, prediction: noise, level: timestep, schedule: vp}",
            "network={kind: ncsnpp, channels: 128, multipliers: [1, 2, 2, 2], blocks: 2, attention: [12], "
            "smooth: false, fourier_scale: null, progressive_input: false}",
        ]
    ],
    "cifar10-ncsnpp-ve": [["sampling.sampler=adaptive", "sampling.steps=2"]],
    "cifar10-ddpmpp-vp": [["sampling.sampler=adaptive", "sampling.steps=2"], ["sampling.sampler.corrections=0"]],
    "cifar10-ddpmpp-subvp": [["sampling.sampler=adaptive", "sampling.steps=2"]],
}
"""Overrides that `docs/recipes.md` names; those that a recipe's own comments name are found there."""


def _commented() -> Iterator[tuple[str, list[str]]]:
    for name, path in recipe.shipped().items():
        for line in path.read_text("utf-8").splitlines():
            for assignment in re.findall(r"\b[a-z_]+(?:\.\w+)+=[^\s,;()]+", line.partition("#")[2]):
                yield name, [assignment]


def _promises() -> list[tuple[str, list[str]]]:
    return [(name, changes) for name, lists in PROMISED.items() for changes in lists] + list(_commented())


@pytest.mark.parametrize(("name", "changes"), _promises(), ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_recipe_promises_can_be_built_and_can_draw(name: str, changes: list[str]) -> None:
    build.check(recipe.read(name, changes)[1], CLASSES)


def test_promises_in_comments_are_found() -> None:
    found = dict.fromkeys(name for name, _ in _commented())
    assert {"bedrooms-diffusion", "cifar10-four-block", "cats-dogs-diffusion", "birds-large"} <= found.keys()


@pytest.mark.parametrize(
    ("name", "changes", "moves"),
    [
        ("cats-dogs-diffusion", ["family.schedule.timesteps=100"], 100),
        ("cats-dogs-diffusion", ["family.schedule.timesteps=1500"], 1500),
        ("cifar10-ddpm", ["family.schedule.timesteps=100"], 100),
        ("cifar10-four-block", [], 1000),
        ("cifar10-four-block", ["sampling.steps=7"], 7),
    ],
)
def test_steps_left_open_are_all_timesteps(name: str, changes: list[str], moves: int) -> None:
    whole = build.assumed(recipe.read(name, changes)[1])
    with torch.device("meta"):
        family = build.family(whole, 0, META)
    drawing = family.generator(whole.sampling)
    assert isinstance(drawing, DiffusionGenerator)
    assert len(drawing.sigmas) == moves + 1


# --- The table of docs/recipes.md ----------------------------------------------------------------------------------


def _rows() -> dict[str, list[str]]:
    """Recipe to the cells of its row."""
    lines = [line for line in DOCS.read_text("utf-8").splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row for row in cells}


def test_every_recipe_has_a_row_in_the_docs() -> None:
    assert set(_rows()) == set(recipe.shipped())


@pytest.mark.parametrize("name", recipe.shipped())
def test_the_docs_know_what_a_recipe_costs(name: str) -> None:
    tree, _ = recipe.read(name)
    *_, epoch, parameters, forward, total = _rows()[name]
    train_images = int(epoch.replace(",", ""))
    whole = build.assumed(parse(Recipe, tree, train_images=train_images))
    with torch.device("meta"):
        counted = sum(p.numel() for p in build.family(whole, CLASSES, META).parameters())
    operations = operations_per_image(whole, CLASSES)
    assert float(parameters.removesuffix(" M")) == pytest.approx(counted / 1e6, abs=0.06)
    assert float(forward) == pytest.approx(operations.forward / 1e9, rel=0.01, abs=0.006)
    assert float(total.replace(",", "")) == pytest.approx(
        operations.update * whole.training.images / 1e15, rel=0.02, abs=0.06
    )


# --- One update and one image ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int, bool], Pack]:
    """Packs of eight random pictures by size, channels and whether they are labelled, made when asked for."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("packs")

    class Packs(dict[tuple[int, int, bool], Pack]):
        def __missing__(self, key: tuple[int, int, bool]) -> Pack:
            size, channels, labelled = key
            pixels = random.integers(0, 256, (8, size, size, channels), dtype=np.uint8)
            self[key] = pack_of(pixels, folder / "-".join(map(str, key)), np.arange(8) if labelled else None)
            return self[key]

    return Packs()


def _resolved(name: str, pack: Pack) -> Recipe:
    """The recipe at its real size, of two images a time and two moves, knowing its images."""
    _, first = recipe.read(name)
    short = ["sampling.steps=2"] if isinstance(first.family, DiffusionOptions) else []
    short += ["training.chunk_size=1"] if name in SLOW else []
    given = [f"data.pack={pack.path}", "data.limit=null", "data.held_out=0.2", "training.batch_size=2", *short]
    _, checked = recipe.read(name, given)
    known = checked.but(data=checked.data.but(channels=pack.channels))
    return known.measured(Moments.of_levels(pack.info.mean, pack.info.std))


def _weights(learner: Learner) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in learner.family.parameters() if p.requires_grad])


def _drawn(learner: Learner, whole: Recipe, loader: Loader) -> torch.Tensor:
    """One image of a family that draws; of another, its counterpart of a held-out one."""
    family = learner.family.eval()
    with CPU.autocast(), torch.no_grad():
        if family.draws:
            (picture,) = stream(build.generator(family, whole, CPU), [3], batch_size=1, device="cpu")
            return picture.pixels
        pixels, labels = loader.held_out(1)
        return family.preview(Batch(to_images(pixels), labels, None, 0, 0))


def _marked() -> list[object]:
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in recipe.shipped()]


@pytest.mark.parametrize("name", _marked())
def test_a_recipe_makes_an_update_and_an_image_at_its_real_size(
    name: str, packs: dict[tuple[int, int, bool], Pack]
) -> None:
    _, checked = recipe.read(name)
    size, channels = checked.data.image_size, checked.data.channels or 1
    pack = packs[size, channels, checked.family.class_conditional]
    whole = _resolved(name, pack)
    assert whole.data.image_size == size
    loader = Loader(pack, whole.seed, whole.data.held_out)

    learner = build.learner(whole, pack.num_classes, CPU)
    before = _weights(learner)
    update = next(build.trainer(whole, loader, CPU).train(learner))
    assert not update.skipped
    assert learner.images_seen == 2
    losses = [value for part, value in update.parts.items() if part.endswith("/loss")]
    assert losses
    assert all(bool(loss.isfinite()) for loss in losses)
    assert not torch.equal(before, _weights(learner))

    drawn = _drawn(learner, whole, loader)
    assert drawn.shape == (1, channels, size, size)
    assert bool(drawn.float().isfinite().all())
