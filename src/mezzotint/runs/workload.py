"""The reference workload: a U-Net of 9.0 M parameters at 32 px, trained and asked to denoise, on random pixels."""

import copy
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from mezzotint.diffusion.family import Diffusion
from mezzotint.machine import COMPILED_IN, Compilation, Machine
from mezzotint.options import Tree, parse
from mezzotint.runs import build, compilation
from mezzotint.runs.measured import Compiled, Measured
from mezzotint.runs.recipe import Recipe
from mezzotint.seeds import forked
from mezzotint.training.loop import Feed, Learner, Trainer, Update
from mezzotint.training.speed import (
    convolutions,
    interleaved,
    medians,
    number_types,
    once,
    roofline_seconds,
    total_flops,
)

_SHARE = 0.6  # of the time given goes into timing updates and calls; the rest is building and convolutions alone
_FEWEST, _MOST = 3, 30  # rounds

NETWORK: Tree = {"kind": "unet", "channels": 64, "multipliers": [1, 2, 2, 2], "blocks": 2, "attention": [16]}


def recipe(batch_size: int, network: Tree = NETWORK, image_size: int = 32) -> Recipe:
    """Return a recipe that trains endlessly: flips, EDM, AdamW, clipping, average, as shipped recipes do."""
    tree = {
        "data": {"source": "digits", "image_size": image_size, "channels": 3},
        "augment": ["flip"],
        "family": {"kind": "diffusion"},
        "network": network,
        "training": {"images": 2**50, "batch_size": batch_size},
    }
    return parse(Recipe, tree)


def random_pixels(image_size: int, count: int = 512) -> Feed:
    """Return a feed of uint8 [length, 3, S, S] that costs nothing to read."""
    pixels = torch.randint(256, (count, 3, image_size, image_size), dtype=torch.uint8)

    def feed(position: int, length: int) -> tuple[Tensor, None]:
        return pixels[torch.arange(position, position + length) % count], None

    return feed


def updates(learner: Learner, recipe: Recipe, machine: Machine, feed: Feed) -> Iterator[Update]:
    """Yield whole updates: augmentation, loss, gradients, clipping, optimizer, average."""
    return Trainer(feed, build.augmentation(recipe), machine, recipe.seed).train(learner)


def evaluation(learner: Learner, machine: Machine, batch_size: int) -> Callable[[], Tensor]:
    """Return one call of the averaged network's denoiser as sampling makes it: no gradients, light weights."""
    drawn = copy.deepcopy(learner.ema.family).eval()
    assert isinstance(drawn, Diffusion)
    machine.lighten(drawn)
    denoise = drawn.denoiser(drawn.condition(None))
    x = torch.randn(batch_size, *drawn.shape, device=machine.device)
    sigma = torch.ones(batch_size, device=machine.device)

    def call() -> Tensor:
        with torch.inference_mode(), machine.autocast():
            return denoise(x, sigma)

    return call


def measure(machine: Machine, seconds: float, compiling: bool = False) -> Iterator[str | Measured]:
    """Measure the reference workload in about so many seconds: yield what is being done, then the numbers."""
    with forked("bench"):
        yield "building the reference network"
        batch_size = 64 if machine.device.type == "cuda" else 16
        chosen, feed = recipe(batch_size), random_pixels(32)
        learner = build.learner(chosen, 0, machine)
        endless = updates(learner, chosen, machine, feed)

        yield "its convolutions alone"
        found = convolutions(lambda: next(endless))
        types = number_types(machine.precision)
        alone = {name: roofline_seconds(found, dtype, machine.device) for name, dtype in types.items()}

        yield "whole updates and denoiser calls"
        works: dict[str, Callable[[], object]] = {
            "update": lambda: next(endless),
            "call": evaluation(learner, machine, batch_size),
        }
        round_seconds = sum(once(work, machine.device) for work in works.values())
        rounds = min(max(int(_SHARE * seconds / round_seconds), _FEWEST), _MOST)
        took = medians(interleaved(works, rounds, machine.device))

        compiled = None
        if compiling:
            yield "the same updates compiled (a minute or two)"
            compiled = _compiled(chosen, machine, feed, works["update"])

        operations = compilation.operations_per_image(chosen, 0).update * batch_size
        yield Measured(
            batch_size=batch_size,
            convolution_gflops={name: _gflops(total_flops(found), taken) for name, taken in alone.items()},
            update_images_per_second=round(batch_size / took["update"], 2),
            update_gflops=_gflops(operations, took["update"]),
            roofline_fraction=round(alone[machine.precision] / took["update"], 3),
            evaluations_per_second=round(batch_size / took["call"], 2),
            compiled=compiled,
        )


def _gflops(operations: float, seconds: float) -> float:
    return round(operations / seconds / 1e9, 1)


def _compiled(chosen: Recipe, machine: Machine, feed: Feed, plain: Callable[[], object]) -> Compiled:
    """Time the first compiled update, then compiled and plain ones in turn."""
    fast = replace(machine, compilation=Compilation(True, "on for the measurement"))
    endless = updates(build.learner(chosen, 0, fast), chosen, fast, feed)
    with TemporaryDirectory() as empty:
        place, os.environ[COMPILED_IN] = os.environ[COMPILED_IN], empty  # nothing compiled before may shorten it
        try:
            first = once(lambda: next(endless), machine.device)
        finally:
            os.environ[COMPILED_IN] = place
    took = medians(interleaved({"plain": plain, "compiled": lambda: next(endless)}, 5, machine.device))
    cost = max(first - took["compiled"], 0.001)
    return Compiled(seconds=round(cost, 3), gain=round(took["plain"] / took["compiled"], 3))
