"""What this computer offers for training, measured where it is quick to measure; what is slow on it, and why."""

import math
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import conv2d

from mezzotint.machine import Machine, cores
from mezzotint.memory import free_bytes
from mezzotint.runs.measured import Measured, recall
from mezzotint.training.speed import number_types, once, wait

_GIB = 2**30
_SECONDS = 0.3
_NUMBERS = 2**20  # multiplied to see what denormals cost
# A 3x3 convolution as in the middle of a small U-Net: [batch, channels, side, side].
_BATCH, _CHANNELS, _SIDE = 16, 64, 32
_OPERATIONS = 2 * _BATCH * _CHANNELS * _CHANNELS * 9 * _SIDE * _SIDE


Facts = dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Facts by name, GFLOP/s of a convolution by precision, what `bench` measured, and warnings with what to do."""

    facts: Facts
    gflops: dict[str, float]
    measured: Measured | None
    warnings: tuple[str, ...]


@torch.inference_mode()
def convolution_gflops(machine: Machine, dtype: torch.dtype, seconds: float = _SECONDS) -> float:
    """10^9 floating point operations per second of a 3x3 convolution, 64 to 64 channels at 32 px, batch 16."""
    x = torch.randn(_BATCH, _CHANNELS, _SIDE, _SIDE, device=machine.device, dtype=dtype)
    x = x.contiguous(memory_format=machine.memory_format)
    weight = torch.randn(_CHANNELS, _CHANNELS, 3, 3, device=machine.device, dtype=dtype)
    conv2d(x, weight, padding=1)  # the first call chooses kernels
    wait(machine.device)
    deadline, fastest = time.perf_counter() + seconds, float("inf")
    while (started := time.perf_counter()) < deadline:
        conv2d(x, weight, padding=1)
        wait(machine.device)
        fastest = min(fastest, time.perf_counter() - started)  # the least disturbed call
    return _OPERATIONS / fastest / 1e9


@torch.inference_mode()
def denormal_slowdown() -> float:
    """How many times as long products of numbers below 1e-38 take as ordinary ones, on the processor."""
    ordinary, tiny = torch.full((_NUMBERS,), 1.0), torch.full((_NUMBERS,), 1e-39)
    device = torch.device("cpu")
    best = [min(once(lambda x=x: x * 0.5, device) for _ in range(20)) for x in (ordinary, tiny)]
    return best[1] / best[0]


def _memory_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / _GIB
    if sys.platform == "win32":
        return math.nan  # the standard library can't tell
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB


def _available_gib(machine: Machine) -> float:
    """Memory that could still be taken; NaN where the system doesn't tell."""
    free = free_bytes(machine.device)
    return math.nan if free is None else free / _GIB


def _read(path: str) -> str:
    """What the system says in one of its files; nothing where it has no such file."""
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""


def _between(text: str) -> str:
    """The chosen word of `always [madvise] never`; nothing where none is."""
    return text.partition("[")[2].partition("]")[0]


def _load() -> float:
    return 0.0 if sys.platform == "win32" else os.getloadavg()[0]


def _has_bf16(machine: Machine) -> bool:
    return Machine.detect(str(machine.device)).precision == "bfloat16"


def look(machine: Machine, folder: Path) -> Facts:
    """Return facts about this machine and the disk that `folder` is on, by name."""
    of_a_run = ("processes", "compiled", "compiled_because")
    return {
        **{name: value for name, value in machine.environment().items() if name not in of_a_run},
        "cores": cores(),
        "load": round(_load(), 1),
        "load_weighed_by": "session" if _read("/proc/sys/kernel/sched_autogroup_enabled").strip() == "1" else "process",
        "bf16_hardware": _has_bf16(machine),
        "denormal_slowdown": round(denormal_slowdown(), 1),
        "huge_pages": _between(_read("/sys/kernel/mm/transparent_hugepage/enabled")) or "unknown",
        "memory_gib": round(_memory_gib(machine.device), 1),
        "memory_available_gib": round(_available_gib(machine), 1),
        "disk_free_gib": round(shutil.disk_usage(folder).free / _GIB, 1),
    }


def competition(facts: Facts) -> tuple[str, ...]:
    """Say if other work runs beside this one: then updates wait for threads that are not running."""
    load, cores = float(facts["load"]), int(facts["cores"])
    if load < 0.3 * cores:
        return ()
    nice = "; `nice` does not help, as this system weighs sessions (sysctl kernel.sched_autogroup_enabled=0)"
    weighed = nice if facts["load_weighed_by"] == "session" else ""
    return (
        f"other work: a load of {load:.1f} on {cores} cores, and every thread waits for the slowest: "
        f"stop it, or leave it a core (OMP_NUM_THREADS={max(cores - 1, 1)}){weighed}",
    )


def find_warnings(facts: Facts, gflops: dict[str, float], measured: Measured | None = None) -> tuple[str, ...]:
    """Say what will be slow or short on this machine, why, and what helps."""
    return (*_speed(facts, gflops), *_reached(measured), *competition(facts), *_space(facts))


def _speed(facts: Facts, gflops: dict[str, float]) -> tuple[str, ...]:
    precision, threads, cores = str(facts["precision"]), int(facts["threads"]), int(facts["cores"])
    fastest = max(gflops, key=lambda name: gflops[name])
    gain, on_cpu, denormals = gflops[fastest] / gflops[precision], facts["device"] == "cpu", facts["denormal_slowdown"]
    checks = [
        (on_cpu, "no accelerator: keep to 8 to 32 px and small networks, limit a run with --budget"),
        (
            on_cpu and not facts["bf16_hardware"],
            "no bf16 hardware: networks run in float32, about half as fast as on a processor with avx512_bf16 or amx",
        ),
        (on_cpu and threads == cores == 1, "one processor thread: a second one nearly halves the time"),
        (
            # half of the cores is what torch takes by itself where each of them stands for two threads
            on_cpu and (2 * threads < cores or threads == 1 < cores) and not competition(facts),
            f"{threads} of {cores} processor cores are used: unset OMP_NUM_THREADS, or set it to {cores}",
        ),
        (gain > 1.5, f"{fastest} is {gain:.1f} times as fast as {precision}: try training.precision={fastest}"),
        (
            on_cpu and float(denormals) > 10,
            f"numbers below 1e-38 take {denormals:.0f} times as long: "
            "if float32 updates slow down while a run goes on, that is why",
        ),
        (
            on_cpu and facts["huge_pages"] == "never",
            "huge pages are off, so large batches wait for memory: "
            "write madvise to /sys/kernel/mm/transparent_hugepage/enabled and set THP_MEM_ALLOC_ENABLE=1",
        ),
    ]
    return tuple(message for found, message in checks if found)


def _reached(measured: Measured | None) -> tuple[str, ...]:
    """Say where whole updates fell far behind their convolutions when `bench` measured."""
    if measured is None or measured.roofline_fraction >= 0.4:
        return ()
    return (
        f"updates spent {measured.roofline_fraction:.0%} of their time in convolutions when bench measured "
        f"({measured.date}): the rest is memory traffic or other work; run `mezzotint bench` on a quiet machine",
    )


def _space(facts: Facts) -> tuple[str, ...]:
    memory, available = float(facts["memory_gib"]), float(facts["memory_available_gib"])
    checks = [
        (memory < 4, "less than 4 GiB of memory: set training.chunk_size below the batch size"),
        (
            memory >= 4 and available < 2,
            f"{available:.1f} of {memory:.0f} GiB of memory are free: end what holds the rest, or set chunk_size",
        ),
        (float(facts["disk_free_gib"]) < 5, "less than 5 GiB of disk free: packs and checkpoints may not fit"),
    ]
    return tuple(message for found, message in checks if found)


def diagnose(machine: Machine, folder: Path) -> Diagnosis:
    """Look at this machine and the disk that `folder` is on; takes about a second."""
    facts, measured = look(machine, folder), recall(machine)  # the load before our own work adds to it
    types = number_types(machine.precision)
    gflops = {name: round(convolution_gflops(machine, dtype), 1) for name, dtype in types.items()}
    return Diagnosis(facts, gflops, measured, find_warnings(facts, gflops, measured))
