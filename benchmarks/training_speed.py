"""Training speed against diffusers and denoising-diffusion-pytorch, and against the convolutions alone."""

from collections.abc import Callable
from dataclasses import replace

import torch
from pages import arguments, show, table
from peers import diffusers_network, diffusers_update, images, lucidrains_network, lucidrains_update
from pictures import feed
from torch import nn

from mezzotint.machine import Compilation, Machine
from mezzotint.runs import build
from mezzotint.runs.compilation import operations_per_image
from mezzotint.runs.workload import recipe, updates
from mezzotint.training.speed import (
    convolutions,
    flops,
    interleaved,
    medians,
    number_types,
    once,
    roofline_seconds,
    total_flops,
)

OURS, OWN, TUNED, LUCID = "mezzotint", "diffusers, its own loop", "diffusers, tuned by hand", "lucidrains"


def ours(batch_size: int, machine: Machine) -> tuple[Callable[[], object], nn.Module, float]:
    """Return one whole update through the training loop, the network, and the loss's operations per image."""
    chosen = recipe(batch_size)
    learner = build.learner(chosen, 0, machine)
    endless = updates(learner, chosen, machine, feed()[0])
    return lambda: next(endless), learner.family, operations_per_image(chosen, 0).forward


def peers(
    batch_size: int, device: torch.device, compiled: bool
) -> dict[str, tuple[Callable[[], object], nn.Module, float]]:
    """Return the peers' updates, networks and operations per image."""
    pixels = feed()[0]
    found: dict[str, tuple[Callable[[], object], nn.Module, float]] = {}
    for name, tuned in ((OWN, False), (TUNED, True)):
        with torch.device("meta"):  # there no fused kernel hides the products of attention from the count
            abstract, inputs = diffusers_network(single_head=tuned), (torch.zeros(1, 3, 32, 32), torch.zeros(1))
        operations = flops(lambda abstract=abstract, inputs=inputs: abstract(*inputs))
        network = diffusers_network(single_head=tuned)
        network.to(device)  # pyright: ignore[reportCallIssue, reportArgumentType]  (untyped decorator)
        work = diffusers_update(network, images(pixels, batch_size), tuned, tuned and compiled)
        found[name] = (work, network, operations)
    diffusion = lucidrains_network().to(device)
    inputs = (torch.zeros(1, 3, 32, 32, device=device), torch.zeros(1, device=device))
    operations = flops(lambda: diffusion.get_submodule("model")(*inputs))
    found[LUCID] = (lucidrains_update(diffusion, images(pixels, batch_size)), diffusion, operations)
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--no-compile", action="store_true", help="the tuned peer is not compiled: a minute or two less"
    )
    parser.add_argument("--compile-ours", action="store_true", help="ours too, as a further row")
    asked = parser.parse_args()
    machine = Machine.detect(asked.device).prepare()
    torch.manual_seed(0)

    arms = {OURS: ours(asked.batch, machine), **peers(asked.batch, machine.device, not asked.no_compile)}
    if asked.compile_ours:
        fast = replace(machine, compilation=Compilation(True, "asked for"))
        arms[f"{OURS}, compiled"] = ours(asked.batch, fast)
    works = {name: work for name, (work, _, _) in arms.items()}
    first = {name: once(work, machine.device) for name, work in works.items()}
    taken = medians(interleaved(works, asked.rounds, machine.device))

    found = convolutions(works[OURS])
    types = number_types(machine.precision)
    alone = {name: roofline_seconds(found, dtype, machine.device) for name, dtype in types.items()}
    rows = [_row(name, arms[name], taken, first[name], asked.batch) for name in arms]
    _check_equal(arms)
    speeds = ", ".join(
        f"{seconds:.2f} s in {name} ({total_flops(found) / seconds / 1e9:,.0f} GFLOP/s)"
        for name, seconds in alone.items()
    )
    sentences = [
        f"Batch {asked.batch}, {feed()[1]}, {asked.rounds} rounds in turn (A B C A B C ...), medians; "
        "`first`: the first update, compilation included.",
        f"Convolutions of one of our updates alone: {speeds}; our update takes {taken[OURS]:.2f} s in "
        f"{machine.precision}: **{alone[machine.precision] / taken[OURS]:.0%} of the roofline** (target 60 %).",
        f"**{taken[OWN] / taken[OURS]:.2f} times diffusers' own loop** (target 3.5), "
        f"**{taken[TUNED] / taken[OURS]:.2f} times the hand-tuned one** (target 1.5"
        f"{', not compiled here' if asked.no_compile else ''}), {taken[LUCID] / taken[OURS]:.2f} times lucidrains.",
    ]
    packages = ["diffusers", "denoising-diffusion-pytorch"]
    show("training_speed", "Training speed", [table(rows), *sentences], machine, asked.write, packages)


def _row(
    name: str, arm: tuple[Callable[[], object], nn.Module, float], taken: dict[str, float], first: float, batch: int
) -> dict[str, str | float]:
    _, network, operations = arm
    seconds = taken[name]
    return {
        "what": name,
        "parameters (M)": sum(p.numel() for p in network.parameters()) / 1e6,
        "GFLOP forward/image": operations / 1e9,
        "first (s)": first,
        "s/update": seconds,
        "images/s": batch / seconds,
        "GFLOP/s": 3 * operations * batch / seconds / 1e9,
        "ours is faster by": seconds / taken[OURS],
    }


def _check_equal(arms: dict[str, tuple[Callable[[], object], nn.Module, float]]) -> None:
    """Raise AssertionError unless the networks compared are one function: equal parameters, and no more operations.

    Ours needs fewer, since it doubles a resolution and convolves at once. That weights can be exchanged is checked by
    the tests (tests/networks).
    """
    for name in (OWN, TUNED):
        mine, other = (sum(p.numel() for p in arms[a][1].parameters()) for a in (OURS, name))
        assert abs(other / mine - 1) < 0.02, f"{name}: {other} parameters, ours {mine}"
        assert 0.9 < arms[OURS][2] / arms[name][2] < 1.02, f"{name}: {arms[name][2]} FLOP, ours {arms[OURS][2]}"


if __name__ == "__main__":
    main()
