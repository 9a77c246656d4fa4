"""Every kind of pair, small enough for a test, and GAN runs on the embedded digits that take about a second."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mezzotint.networks import NETWORKS, AdversarialPair, NetworkShape
from mezzotint.options import parse
from mezzotint.runs.drive import Record, drive
from mezzotint.runs.run import Run, enter

SIZES = {
    "dcgan": {"ngf": 4, "ndf": 4, "latent": 6},
    "sngan": {"ngf": 4, "ndf": 4, "latent": 6},
    "r3gan": {"ngf": 4, "ndf": 4, "latent": 6, "group_width": 4},
    "stylegan2": {"ngf": 4, "ndf": 4, "latent": 6, "style": 5, "mapping": 2},
}
PRESETS = ("dcgan", "lsgan", "sngan", "wgan-gp", "r3gan", "stylegan2-small")
_TINY = (
    "training.images=96",
    "training.batch_size=16",
    "training.chunk_size=8",
    "training.sheet_size=4",
    "training.sheet_images=96",
    "training.validation_images=48",
    "training.validation_size=16",
    "training.checkpoint_images=96",
    "training.log_images=16",
    "training.precision=float32",
    "evaluation.monitor=off",
)


def pair(kind: str, shape: NetworkShape, **changes: object) -> AdversarialPair:
    """A small pair of one kind."""
    part = NETWORKS[kind]
    return part(parse(part.Options, {**SIZES[kind], **changes}), shape)


def overrides(preset: str) -> list[str]:
    """What makes a preset's digits recipe tiny."""
    kind = {"stylegan2-small": "stylegan2", "sngan": "sngan", "r3gan": "r3gan"}.get(preset, "dcgan")
    return [*_TINY, *(f"network.{name}={value}" for name, value in SIZES[kind].items())]


def train(
    runs: Path, name: str, preset: str, changes: Sequence[str] = (), should_stop: Callable[[], bool] = lambda: False
) -> tuple[Run, list[Record]]:
    """Train (or resume) `runs/name` by a preset, until it ends or `should_stop()`; return it and what it logged."""
    with enter(runs, name, f"digits-{preset}", [*overrides(preset), *changes]) as run:
        return run, list(drive(run, run.loader(), should_stop))
