"""Seconds from the command `mezzotint train RECIPE` to the end of the first update, for a prepared pack."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from pages import arguments, show, table
from pictures import cifar10

from mezzotint.data.prepare import ensure_pack
from mezzotint.machine import Machine
from mezzotint.runs import recipe

_PATIENCE_SECONDS = 300

# What the command does, with the time after each part; the parent's clock started before this interpreter did.
_PARTS = """
import json, sys, time
from pathlib import Path
at = {"interpreter": time.time()}
import mezzotint.cli.main
from mezzotint.cli.training import follow
at["command line"] = time.time()
import torch
at["torch"] = time.time()
from mezzotint.runs import drive as driving
from mezzotint.runs.run import enter
at["our rooms"] = time.time()
name, folder, *assignments = sys.argv[1:]
with enter(Path(folder), "parts", name, assignments) as run:
    at["the run created, its pack found"] = time.time()
    loader = run.loader()
    at["the pack opened"] = time.time()
    resume = driving.resume
    def noted(run):
        resumed = resume(run)
        at["network, optimizer, average"] = time.time()
        return resumed
    driving.resume = noted
    records = driving.drive(run, loader)
    next(records)
    at["first update, logged"] = time.time()
    records.close()
print(json.dumps(at))
"""


def assignments(name: str) -> list[str]:
    """Return overrides that log the first update, and give a recipe without data CIFAR-10."""
    tree, checked = recipe.read(name)
    log = [f"training.log_images={checked.training.batch_size}"]
    if checked.data.path is None and tree["data"].get("source") == "parquet":
        return [f"data.path={cifar10()}", *log]
    return log


def whole(name: str, given: list[str], runs: Path) -> float:
    """Run the command until its log has a record; return the seconds that took."""
    log = runs / "whole" / "log.jsonl"
    command = [sys.executable, "-m", "mezzotint", "train", name, *given, "--name", "whole", "--runs", str(runs)]
    started = time.time()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (log.exists() and log.stat().st_size):
        if process.poll() is not None or time.time() - started > _PATIENCE_SECONDS:
            process.kill()
            raise SystemExit(f"no first update: {process.communicate()[1]}")
        time.sleep(0.01)
    seconds = time.time() - started
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return seconds


def in_parts(name: str, given: list[str], runs: Path) -> dict[str, float]:
    """Do the same in one script that notes the time of every part; return the seconds of each."""
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-c", _PARTS, name, str(runs), *given], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    at = json.loads(done.stdout)
    return {part: end - begin for (part, end), begin in zip(at.items(), [started, *at.values()], strict=False)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("recipe", nargs="?", default="cifar10-edm-small" if cifar10() else "digits-edm")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    given = [*assignments(asked.recipe), f"training.precision={Machine.detect(asked.device).precision}"]
    ensure_pack(recipe.read(asked.recipe, given)[1].data)

    totals: list[float] = []
    parts: list[dict[str, float]] = []
    for number in range(asked.rounds + 1):  # the first reads everything from the disk, and is not counted
        with TemporaryDirectory() as folder:
            total, found = whole(asked.recipe, given, Path(folder)), in_parts(asked.recipe, given, Path(folder))
        print(f"{'first, not counted' if number == 0 else number}: {total:.2f} s", flush=True)
        if number:
            totals.append(total)
            parts.append(found)
    middle = {part: median(found[part] for found in parts) for part in parts[0]}
    rows = [{"part": part, "seconds": seconds} for part, seconds in middle.items()]
    rows += [{"part": "sum of the parts", "seconds": sum(middle.values())}]
    said = (
        f"`mezzotint train {asked.recipe}` on a prepared pack, from the command to the first update in the log: "
        f"**{median(totals):.2f} s** (median of {asked.rounds}, {min(totals):.2f} to {max(totals):.2f}; target 5)."
    )
    show("startup", "Start-up", [said, table(rows)], Machine.detect(asked.device), asked.write)


if __name__ == "__main__":
    main()
