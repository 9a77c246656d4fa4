"""What this computer offers for training, measured where it is quick to measure, and what will be slow on it."""

import math
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import conv2d

from mezzotint.machine import Machine

_GIB = 2**30
_MEASURED = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_SECONDS = 0.3
# A 3x3 convolution as in the middle of a small U-Net: [batch, channels, side, side].
_BATCH, _CHANNELS, _SIDE = 16, 64, 32
_OPERATIONS = 2 * _BATCH * _CHANNELS * _CHANNELS * 9 * _SIDE * _SIDE


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Facts by name, GFLOP/s of a convolution by precision, and warnings, each with what to do."""

    facts: dict[str, str | int | float]
    gflops: dict[str, float]
    warnings: tuple[str, ...]


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()


@torch.inference_mode()
def convolution_gflops(machine: Machine, dtype: torch.dtype, seconds: float = _SECONDS) -> float:
    """10^9 floating point operations per second of a 3x3 convolution, 64 to 64 channels at 32 px, batch 16."""
    x = torch.randn(_BATCH, _CHANNELS, _SIDE, _SIDE, device=machine.device, dtype=dtype)
    x = x.contiguous(memory_format=machine.memory_format)
    weight = torch.randn(_CHANNELS, _CHANNELS, 3, 3, device=machine.device, dtype=dtype)
    conv2d(x, weight, padding=1)  # the first call chooses kernels
    _wait(machine.device)
    deadline, fastest = time.perf_counter() + seconds, float("inf")
    while (started := time.perf_counter()) < deadline:
        conv2d(x, weight, padding=1)
        _wait(machine.device)
        fastest = min(fastest, time.perf_counter() - started)  # the least disturbed call
    return _OPERATIONS / fastest / 1e9


def _memory_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / _GIB
    if sys.platform == "win32":
        return math.nan  # the standard library can't tell
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB


def _facts(machine: Machine, folder: Path) -> dict[str, str | int | float]:
    return {
        **machine.environment(),
        "memory_gib": round(_memory_gib(machine.device), 1),
        "disk_free_gib": round(shutil.disk_usage(folder).free / _GIB, 1),
    }


def find_warnings(facts: dict[str, str | int | float], gflops: dict[str, float]) -> tuple[str, ...]:
    """Say what will be slow or short on this machine, and what helps."""
    device, precision = str(facts["device"]), str(facts["precision"])
    fastest = max(gflops, key=lambda name: gflops[name])
    gain = gflops[fastest] / gflops[precision]
    checks = [
        (device == "cpu", "no accelerator: keep to 8 to 32 px and small networks, limit a run with --budget"),
        (device == "cpu" and int(facts["threads"]) == 1, "one processor thread: a second one nearly halves the time"),
        (gain > 1.5, f"{fastest} is {gain:.1f} times as fast as {precision}: try training.precision={fastest}"),
        (float(facts["memory_gib"]) < 4, "less than 4 GiB of memory: set training.chunk_size below the batch size"),
        (float(facts["disk_free_gib"]) < 5, "less than 5 GiB of disk free: packs and checkpoints may not fit"),
    ]
    return tuple(message for found, message in checks if found)


def diagnose(machine: Machine, folder: Path) -> Diagnosis:
    """Look at this machine and the disk that `folder` is on; takes about a second."""
    facts = _facts(machine, folder)
    gflops = {name: round(convolution_gflops(machine, dtype), 1) for name, dtype in _MEASURED.items()}
    return Diagnosis(facts, gflops, find_warnings(facts, gflops))
