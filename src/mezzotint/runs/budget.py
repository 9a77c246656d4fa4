"""Planning a run's length from a time budget: once, before the first update, from measured speed."""

import copy
import time
from itertools import islice

from mezzotint.data.loading import Loader
from mezzotint.errors import BadInput
from mezzotint.machine import Machine
from mezzotint.runs import build
from mezzotint.runs.draw import draw_sheet
from mezzotint.runs.recipe import Recipe
from mezzotint.seeds import forked
from mezzotint.training.loop import Learner, Trainer

_SHEETS = 10  # sheets in a run whose cadence is left to the rule
_SAFETY = 0.97


def _seconds_per_image(trainer: Trainer, learner: Learner, budget_seconds: float) -> float:
    """Time real updates of a throwaway learner: two to warm up, then for up to 2 % of the budget."""
    updates = trainer.train(learner)
    list(islice(updates, 2))
    started, count = time.perf_counter(), 0
    while count < 3 or time.perf_counter() - started < min(0.02 * budget_seconds, 20):
        if next(updates, None) is None:
            break
        count += 1
    return (time.perf_counter() - started) / max(count, 1) / learner.options.batch_size


def _seconds_per_sheet(recipe: Recipe, learner: Learner, machine: Machine) -> float:
    """Time a few pictures; a sheet cadence draws `sheet_size` twice, from raw and averaged weights."""
    few = min(8, recipe.training.sheet_size)
    started = time.perf_counter()
    draw_sheet(learner.ema.family, recipe, machine, few)
    return 2 * (time.perf_counter() - started) * recipe.training.sheet_size / few


def plan(recipe: Recipe, loader: Loader, machine: Machine, num_classes: int, seconds: float) -> Recipe:
    """Return the recipe with `training.images` such that training and its sheets end within `seconds` from now."""
    started = time.perf_counter()
    endless = recipe.but(training=recipe.training.but(images=2**50))
    with forked(recipe.seed, "budget"):
        learner = build.learner(endless, num_classes, machine)
        per_image = _seconds_per_image(build.trainer(recipe, loader, machine), copy.copy(learner), seconds)
        per_sheet = _seconds_per_sheet(recipe, learner, machine)
    left = _SAFETY * seconds - (time.perf_counter() - started)
    every = recipe.training.sheet_images
    fixed, per_image = (_SHEETS * per_sheet, per_image) if every is None else (0.0, per_image + per_sheet / every)
    images = (left - fixed) / per_image
    updates = int(images // recipe.training.batch_size)
    if updates < 1:
        raise BadInput(f"--budget: {seconds:.0f} s left is too little for one update and its sheets; give more time")
    return recipe.but(training=recipe.training.but(images=updates * recipe.training.batch_size))
