"""A diffusion model on the embedded digits that trains in about a second: ten updates of 32 pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from mezzotint.runs import checkpoint
from mezzotint.runs.drive import Record, drive
from mezzotint.runs.run import Run, enter

RECIPE = "digits-edm"
OVERRIDES = (
    "network.channels=16",
    "network.groups=8",
    "network.blocks=1",
    "augment=[flip]",
    "training.images=320",
    "training.batch_size=32",
    "training.chunk_size=16",
    "training.warmup_images=32",
    "training.log_images=64",
    "training.checkpoint_images=96",
    "training.sheet_images=160",
    "training.validation_images=160",
    "training.sheet_size=4",
    "training.validation_size=28",
    "sampling.steps=3",
)


def train(
    runs: Path, name: str, changes: Sequence[str] = (), should_stop: Callable[[], bool] = lambda: False
) -> tuple[Run, list[Record]]:
    """Train (or resume) `runs/name` until it ends or `should_stop()`; return it and what it logged."""
    with enter(runs, name, RECIPE, [*OVERRIDES, *changes]) as run:
        return run, list(drive(run, run.loader(), should_stop))


def after(updates: int) -> Callable[[], bool]:
    """A `should_stop` that turns true after so many updates."""
    left = iter(range(updates - 1))
    return lambda: next(left, None) is None


def tensors(run: Run) -> dict[str, Tensor]:
    """Everything that the last checkpoint holds: weights, average and optimizer."""
    folder = checkpoint.find(run.folder.checkpoints, "last")
    files = {name: load_file(folder / f"{name}.safetensors") for name in ("weights", "ema", "optimizer")}
    return {f"{name}/{key}": value for name, held in files.items() for key, value in held.items()}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """Whether two checkpoints are equal bit for bit."""
    return ours.keys() == theirs.keys() and all(ours[key].equal(theirs[key]) for key in ours)
