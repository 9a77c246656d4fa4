"""Two processes that train together see the data and noise that one would, and end with its weights up to rounding."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

_TINY = [
    "digits-edm",
    "network.channels=16",
    "network.groups=8",
    "network.blocks=1",
    "network.dropout=0",
    "training.batch_size=32",
    "training.chunk_size=8",
    "training.images=320",
    "training.sheet_size=4",
    "training.precision=float32",
]


def _train(runs: Path, name: str, processes: int) -> dict[str, torch.Tensor]:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "mezzotint"]
    arguments = ["train", *_TINY, "--name", name, "--runs", str(runs), "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return load_file(runs / name / "checkpoints" / "320" / "weights.safetensors")


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch was built without torch.distributed")
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    one, two = _train(tmp_path, "one", 1), _train(tmp_path, "two", 2)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-4)
    assert (tmp_path / "two" / "log.jsonl").read_text().count('"done"') == 0
    assert (tmp_path / "two" / "log.jsonl").read_text().count('"kind": "checkpoint"') == 10
