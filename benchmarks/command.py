"""The `mezzotint` command as a user runs it, each time in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pictures import shared


class Distance(NamedTuple):
    """A Frechet distance with its error bar, as a score's record holds it."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:,.0f} ± {self.error:,.0f}"


def mezzotint(*words: str) -> str:
    """Run a command; return what it printed, or stop where it complained."""
    weights = {"MEZZOTINT_WEIGHTS": str(shared() / "weights")} if (shared() / "weights").is_dir() else {}
    command, places = [sys.executable, "-m", "mezzotint", *words], {**weights, **os.environ}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=places)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


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
