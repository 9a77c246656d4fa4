"""Planning a run's length from a time budget: once, before the first update, from measured speed."""

import math
import time
from itertools import islice

from mezzotint.data.loading import Loader
from mezzotint.errors import BadInput
from mezzotint.machine import Machine
from mezzotint.runs import build
from mezzotint.runs.draw import draw_sheet
from mezzotint.runs.monitored import monitored
from mezzotint.runs.recipe import Recipe, TrainingOptions, family_class
from mezzotint.seeds import forked
from mezzotint.training.loop import Learner, Trainer

_MOST_LOOKS = 10  # sheets and validations, as many as a run without a budget draws
_LOOKING_SHARE = 0.08  # of the budget may go into sheets and validations, but the last ones are always made
_SAFETY = 0.97
_WARM_UP = 2  # updates


def _seconds_of_updates(trainer: Trainer, learner: Learner, seconds: float) -> tuple[float, float]:
    """Time real updates of a throwaway learner: two to warm up, then for up to 2 % of the budget.

    Returns seconds per image, and how much longer than that the first two took.
    """
    began, updates = time.perf_counter(), trainer.train(learner)
    list(islice(updates, _WARM_UP))
    started, count = time.perf_counter(), 0
    rhythm = learner.family.rhythm()
    while count < 3 or count % rhythm or time.perf_counter() - started < min(0.02 * seconds, 20):
        if next(updates, None) is None:
            break
        count += 1
    per_update = (time.perf_counter() - started) / max(count, 1)
    return per_update / learner.options.batch_size, max(started - began - _WARM_UP * per_update, 0.0)


def _seconds_per_sheet(recipe: Recipe, learner: Learner, machine: Machine, loader: Loader) -> float:
    """Time a few pictures, the second time; a sheet cadence draws `sheet_size` twice, raw and averaged weights."""
    few = min(16, recipe.training.sheet_size)
    draw_sheet(learner.ema.family, recipe, machine, few, loader)
    started = time.perf_counter()
    draw_sheet(learner.ema.family, recipe, machine, few, loader)
    return 2 * (time.perf_counter() - started) * recipe.training.sheet_size / few


def plan(recipe: Recipe, loader: Loader, machine: Machine, num_classes: int, deadline: float) -> Recipe:
    """Return the recipe with `training.images` such that training and its sheets end at `deadline` (monotonic clock).

    Cadences of sheets and validations that the recipe leaves open are set too: a small part of a short budget.
    A compiled training begins with compiling: as long as here at most, where what was compiled is kept.
    """
    seconds = deadline - time.monotonic()
    endless = recipe.but(training=recipe.training.but(images=2**50))
    with forked(recipe.seed, "budget"):
        learner = build.learner(endless, num_classes, machine)
        alone = build.trainer(recipe, loader, machine.alone())  # the other processes wait for the run to be there
        per_image, beginning = _seconds_of_updates(alone, learner, seconds)
        per_image /= machine.world
        per_sheet = _seconds_per_sheet(recipe, learner, machine, loader)
    validated = 2 * min(recipe.training.validation_size, len(loader.held_out_indices))
    per_validation = validated * per_image * machine.world / 3  # a forward pass costs a third of forward and backward
    left = _SAFETY * (deadline - time.monotonic())
    if machine.compilation.on:
        left -= beginning
    if monitored(recipe, loader) is not None:
        left -= recipe.evaluation.reserved(left, family_class(recipe.family).can_worsen)
    return recipe.but(training=_planned(recipe.training, left, per_image, per_sheet, per_validation))


def _planned(
    training: TrainingOptions, seconds: float, per_image: float, per_sheet: float, per_validation: float
) -> TrainingOptions:
    """Divide the time between images and looking at them."""
    looks = min(_MOST_LOOKS, max(1, int(_LOOKING_SHARE * seconds / (per_sheet + per_validation))))
    fixed, per_image_seen = 0.0, per_image
    for every, cost in ((training.sheet_images, per_sheet), (training.validation_images, per_validation)):
        fixed += (looks if every is None else 1) * cost  # one at the end, whatever the cadence
        per_image_seen += cost / every if every is not None else 0.0
    updates = int((seconds - fixed) / per_image_seen // training.batch_size)
    if updates < 1:
        needed = fixed + per_image_seen * training.batch_size
        raise BadInput(
            f"--budget: {max(seconds, 0):.0f} s left are too few for one update and a sheet of pictures, which take "
            f"about {needed:.2g} s once all is ready; give more time"
        )
    planned = updates * training.batch_size
    often = math.ceil(planned / looks)
    return training.but(
        images=planned,
        sheet_images=training.sheet_images or often,
        validation_images=training.validation_images or often,
    )
