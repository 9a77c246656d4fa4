"""Fewer network calls at equal quality: one run's weights drawn in several ways, each scored and timed."""

from collections.abc import Callable
from pathlib import Path

import torch
from command import Distance, distance, score
from pages import arguments, show, table
from peers import diffusers_ddim, sized_network
from pictures import cifar10
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from mezzotint.errors import BadInput
from mezzotint.generation.stream import stream
from mezzotint.machine import Machine
from mezzotint.networks.unet import UNet
from mezzotint.runs.folder import RunFolder
from mezzotint.runs.run import Run, open_run
from mezzotint.training.speed import interleaved, medians

BASE, PEER = "ddim:50", "diffusers ddim:50"
NOT_SCORED = (
    f"Diffusers' own images aren't scored: the distance that ours are held against is that of {BASE}, drawn here with "
    "the same weights. That its moves agree with diffusers' DDIMScheduler is tested "
    "(tests/samplers/test_samplers_agree_with_diffusers.py), and so is that both U-Nets give the same output "
    "(tests/networks/test_unet_agrees_with_diffusers.py)."
)
WAYS = ("dpmpp-2m:8", "dpmpp-2m:10", "dpmpp-2m:15", "dpmpp-2m:20", "unipc:8", "unipc:10", "unipc:15")


def changes(way: str, schedule: str) -> list[str]:
    """Return the overrides of `sampler:steps[:schedule]`."""
    sampler, steps, *own = way.split(":")
    grid = own[0] if own else schedule
    return [f"sampling.sampler={sampler}", f"sampling.steps={steps}", f"sampling.schedule={grid}"]


def drawing(run: Run, way: str, schedule: str, batch_size: int) -> Callable[[], object]:
    """Return the drawing of a batch from seeds to pixels."""
    generator = run.generator("last", "ema", changes(way, schedule))

    def draw() -> object:
        with run.machine.autocast():
            return list(stream(generator, range(batch_size), batch_size=batch_size, device=run.machine.device))

    return draw


def peer(run: Run, machine: Machine, batch_size: int) -> Callable[[], object]:
    """Return DDIM-50 in float32 by diffusers' network of this run's sizes; weights and classes don't matter for speed.

    Patches are folded outside of it: DDIM moves every number by itself, so it may as well move the folded ones.
    """
    network = run.family().get_submodule("network")
    if not isinstance(network, UNet):
        raise BadInput(f"{run.folder.path}: diffusers has no such network; use a run with a U-Net")
    other, patch = sized_network(network), network.options.patch
    other.to(machine.device)  # pyright: ignore[reportCallIssue, reportArgumentType]  (untyped decorator)
    shape = (batch_size, network.shape.channels_in, network.shape.image_size, network.shape.image_size)
    x = pixel_unshuffle(torch.randn(shape, device=machine.device), patch)
    return lambda: pixel_shuffle(diffusers_ddim(other, x, 50), patch)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("run", type=Path, help="a trained run's folder")
    parser.add_argument("ways", nargs="*", default=WAYS, help="sampler:steps[:schedule] ...")
    parser.add_argument("--against", default=str(cifar10("test") or ""), help="real images")
    parser.add_argument("--protocol", default="fd-squeezenet-2k")
    parser.add_argument("--schedule", default="null", help="grid of the ways that name none; null: as in training")
    parser.add_argument("--batch", type=int, default=64, help="images drawn at once when timed")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    run = open_run(RunFolder.open(asked.run), asked.device)

    ways = [BASE, *asked.ways]
    works = {way: drawing(run, way, asked.schedule, asked.batch) for way in ways}
    took = medians(interleaved({PEER: peer(run, run.machine, asked.batch), **works}, asked.rounds, run.machine.device))
    scores = {}
    for way in ways:
        print(way, flush=True)
        overrides = tuple(changes(way, asked.schedule))
        scores[way] = distance(score(asked.run, asked.against, asked.protocol, asked.device, overrides))

    rows = [_row(way, scores, took, asked.batch) for way in ways]
    equal = [way for way in ways if _as_good(scores[way], scores[BASE])]
    fastest = min(equal, key=lambda way: took[way])
    said = (
        f"As good as DDIM with 50 steps, within error bars: {', '.join(equal)}. The fastest of them, {fastest}, draws "
        f"**{took[PEER] / took[fastest]:.1f} times** as many images/s as diffusers' DDIM-50 (target 10), which draws "
        f"{asked.batch / took[PEER]:.2f} images/s with a network of the same sizes in float32 "
        f"({asked.rounds} rounds in turn, medians)."
    )
    claim = f"Sampling quality by network calls: {asked.run.name}, {asked.protocol}"
    show("sampling_quality", claim, [table(rows), said, NOT_SCORED], run.machine, asked.write, ["diffusers"])


def _as_good(score: Distance, base: Distance) -> bool:
    """Whether a distance is no larger than another, within both error bars."""
    return score.value <= base.value + (score.error**2 + base.error**2) ** 0.5


def _row(way: str, scores: dict[str, Distance], took: dict[str, float], batch: int) -> dict[str, str | float]:
    return {
        "way": way,
        "distance": str(scores[way]),
        "within error bars of ddim:50": "yes" if _as_good(scores[way], scores[BASE]) else "no",
        "images/s": batch / took[way],
        "times diffusers' DDIM-50": took[PEER] / took[way],
    }


if __name__ == "__main__":
    main()
