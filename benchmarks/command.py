"""The `mezzotint` command as a user runs it, each time in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pictures import shared

from mezzotint.runs.folder import RunFolder
from mezzotint.runs.records import Record


class Distance(NamedTuple):
    """A Frechet distance with its error bar, as a score's record holds it."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:,.0f} ± {self.error:,.0f}"


def own_weights() -> None:
    """Let extractors find the weights among the development data, unless the user said where they are."""
    folder = shared() / "weights"
    if folder.is_dir():
        os.environ.setdefault("MEZZOTINT_WEIGHTS", str(folder))


def mezzotint(*words: str) -> str:
    """Run a command; return what it printed, or stop where it complained."""
    own_weights()
    done = subprocess.run([sys.executable, "-m", "mezzotint", *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


def train(run: Path, words: Sequence[str], device: str) -> Path:
    """Train a recipe with overrides and options into a run's folder, unless it is there already; return it."""
    if not run.exists():
        mezzotint("train", *words, "--name", run.name, "--runs", str(run.parent), "--device", device)
    return run


def last_update(run: Path) -> Record:
    """Return the last record of a run's log with losses in it."""
    return [record for record in RunFolder.open(run).read_log() if record["kind"] == "update"][-1]


def score(
    target: Path, against: Path | str, protocol: str, device: str, overrides: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Score a run or an .npz against real images; return the record."""
    words = [str(target), *overrides, "--against", str(against), "--protocol", protocol, "--device", device, "--json"]
    return json.loads(mezzotint("evaluate", *words).splitlines()[-1])


def distance(record: Mapping[str, Any]) -> Distance:
    """Return the first value of a score, or of its `floor`."""
    found = next(iter(record["values"].values()))
    return Distance(found["value"], found["error"] or 0.0)
