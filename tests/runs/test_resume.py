"""A run killed at any moment and resumed ends bit for bit where an uninterrupted one ends."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

_TINY = [
    "digits-edm",
    "network.channels=16",
    "network.groups=8",
    "network.blocks=1",
    "training.batch_size=32",
    "training.chunk_size=16",
    "training.images=5120",
    "training.checkpoint_images=64",
    "training.sheet_images=2560",
    "training.sheet_size=4",
    "training.validation_size=32",
    "augment=[flip]",
]


def _start(runs: Path, name: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mezzotint", "train", *_TINY, "--name", name, "--runs", str(runs)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _finish(runs: Path, name: str) -> None:
    process = _start(runs, name)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


def _last(runs: Path, name: str) -> Path:
    return max((runs / name / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))


def _kill_at(runs: Path, name: str, moment: str, wait: random.Random) -> bool:
    """Start the run and kill it at a moment: while a checkpoint is half written, or at some time of training."""
    process = _start(runs, name)
    checkpoints = runs / name / "checkpoints"
    before = len(_names(checkpoints))
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        names = _names(checkpoints)
        if moment == "writing" and any(entry.startswith(".tmp") for entry in names):
            break
        if moment == "training" and names and names != before:
            time.sleep(wait.uniform(0.3, 1.2))
            break
    alive = process.poll() is None
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return alive


def _names(checkpoints: Path) -> list[str]:
    try:
        return os.listdir(checkpoints)
    except FileNotFoundError:
        return []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_killed_runs_end_bit_for_bit_like_an_uninterrupted_one(tmp_path: Path) -> None:
    _finish(tmp_path, "whole")
    kills = 0
    for moment in ("writing", "training", "writing", "training"):
        kills += _kill_at(tmp_path, "killed", moment, random.Random(kills))
    assert kills >= 2, "the run ended before it could be killed often enough: make it longer"
    _finish(tmp_path, "killed")
    whole, killed = _last(tmp_path, "whole"), _last(tmp_path, "killed")
    assert whole.name == killed.name == "5120"
    for file in ("weights.safetensors", "ema.safetensors", "optimizer.safetensors"):
        ours, theirs = load_file(whole / file), load_file(killed / file)
        assert ours.keys() == theirs.keys()
        assert all(ours[key].equal(theirs[key]) for key in ours), file
    log = [(tmp_path / name / "log.jsonl").read_text().count('"kind": "update"') for name in ("whole", "killed")]
    assert log[0] == log[1]
