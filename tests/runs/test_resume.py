"""A run killed at any moment and resumed ends bit for bit where an uninterrupted one ends."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mezzotint.runs import checkpoint
from mezzotint.runs.run import open_run
from tiny import OVERRIDES, RECIPE, same, tensors, train

_LONG = ("training.images=3200", "training.checkpoint_images=160", "training.sheet_images=1600")

_DIES_WHILE_SAVING = """
import os, signal, sys

which, begun = int(sys.argv.pop(1)), set()

def watch(event, words):
    if event == "open" and "/.tmp-" in str(words[0]) and str(words[0]).endswith("optimizer.safetensors"):
        begun.add(words[0])
        if len(begun) == which:  # weights and average are written, the rest is not
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
from mezzotint.cli.main import main
main()
"""


def _start(runs: Path, *python: str) -> subprocess.Popen[str]:
    words = ["train", RECIPE, *OVERRIDES, *_LONG, "--name", "killed", "--runs", str(runs)]
    threads = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        [sys.executable, *python, *words], env=threads, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _killed_while_saving(runs: Path, which: int) -> None:
    """Kill the run in the middle of writing its `which`-th checkpoint from where it stands."""
    process = _start(runs, "-c", _DIES_WHILE_SAVING, str(which))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, errors
    assert list((runs / "killed" / "checkpoints").glob(".tmp-*")), "nothing was half written"


def _killed_at_some_time(runs: Path, seconds: float) -> None:
    """Kill the run some time after it went on from where it stood."""
    checkpoints = runs / "killed" / "checkpoints"
    before, deadline = checkpoint.available(checkpoints), time.monotonic() + 120
    process = _start(runs, "-m", "mezzotint")
    while process.poll() is None and checkpoint.available(checkpoints) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(seconds)
    process.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, f"it ended before it could be killed: {errors}"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_killed_run_ends_bit_for_bit_like_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, _ = train(tmp_path, "whole", _LONG)
    _killed_while_saving(tmp_path, 3)
    assert checkpoint.available(tmp_path / "killed" / "checkpoints") == [160, 320]
    _killed_at_some_time(tmp_path, random.uniform(0, 0.5))
    _killed_while_saving(tmp_path, 2)
    process = _start(tmp_path, "-m", "mezzotint")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    killed = open_run(whole.folder.open(tmp_path / "killed"))
    assert same(tensors(killed), tensors(whole))
    assert sorted(path.name for path in killed.folder.checkpoints.iterdir()) == ["3040", "3200"]
    for kind in ("update", "validation"):
        seen = [[r["images_seen"] for r in run.folder.read_log() if r["kind"] == kind] for run in (killed, whole)]
        assert seen[0] == seen[1]
