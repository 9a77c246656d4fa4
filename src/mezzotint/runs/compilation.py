"""Whether a new run compiles its network: by rule and by what `bench` measured, never by a timing inside the run."""

import torch

from mezzotint.errors import BadInput
from mezzotint.machine import Compilation, Machine
from mezzotint.runs import build
from mezzotint.runs.fitting import blank_batches
from mezzotint.runs.measured import Compiled, recall
from mezzotint.runs.recipe import Recipe, family_class
from mezzotint.seeds import forked
from mezzotint.training.cost import Operations, operations

_ASSUMED = {"cuda": Compiled(seconds=90, gain=1.25)}  # where bench has not measured it; elsewhere nothing is gained
_ASSUMED_GFLOPS = 10_000.0  # of such a device, in whole updates of a small network
_MARGIN = 2.0  # compiling must save this many times what it costs


def decide(recipe: Recipe, machine: Machine, num_classes: int, seconds: float | None = None) -> Compilation:
    """Return whether to compile, and why. `seconds` is the training's length where a budget sets it.

    `BadInput` where the recipe insists and the machine has no compiler.
    """
    wish, lacking = recipe.training.compile, machine.compiler_lacks()
    if wish == "off":
        return Compilation(False, "off by training.compile")
    if not family_class(recipe.family).compiles:
        if wish == "on":
            raise BadInput("training.compile=on: this family's networks can't be compiled; set auto or off")
        return Compilation(False, "off: what is compiled can't be differentiated twice, as this family's losses are")
    if wish == "on" and lacking:
        raise BadInput(f"training.compile=on needs {lacking}; install it, or set auto or off")
    if wish == "on":
        return Compilation(True, "on by training.compile")
    if lacking:
        return Compilation(False, f"off: this machine lacks {lacking}")
    brings, how = expected(machine)
    if brings is None:
        kind = machine.device.type
        return Compilation(False, f"off: no faster on {kind} as a rule (`mezzotint bench --compile` would tell)")
    return _weighed(brings, how, seconds or _training_seconds(recipe, machine, num_classes))


def expected(machine: Machine) -> tuple[Compiled | None, str]:
    """Return what compiling costs and brings on this machine, None where that isn't known, and how it is known."""
    measured = recall(machine)
    if measured and measured.compiled:
        return measured.compiled, "measured by bench"
    return _ASSUMED.get(machine.device.type), "assumed"


def _weighed(brings: Compiled, how: str, seconds: float) -> Compilation:
    """Compare what compiling costs with what it saves over a training that takes `seconds` without."""
    saved = seconds * (1 - 1 / brings.gain)
    pays = saved > _MARGIN * brings.seconds
    costs = f"compiling takes about {brings.seconds:,.0f} s and makes updates {brings.gain:.2f} times as fast ({how})"
    effect = f"saves {saved:,.0f} s" if saved > 0 else "saves nothing"
    return Compilation(pays, f"{'on' if pays else 'off'}: {costs}, which {effect} of about {seconds:,.0f} s")


def _training_seconds(recipe: Recipe, machine: Machine, num_classes: int) -> float:
    """Estimate the length of a whole training from its operations, its processes and the speed of each."""
    measured = recall(machine)
    gflops = machine.world * (measured.update_gflops if measured else _ASSUMED_GFLOPS)
    return recipe.training.images * operations_per_image(recipe, num_classes).update / (1e9 * gflops)


def operations_per_image(recipe: Recipe, num_classes: int) -> Operations:
    """Count products and convolutions of one image's share of an update; it costs no memory."""
    meta = torch.device("meta")  # there no fused kernel hides the products of attention from the count
    with meta, forked("operations"):
        built = build.family(recipe, num_classes, Machine(meta, "float32", 1))
        return operations(built, blank_batches(recipe, num_classes, meta))
