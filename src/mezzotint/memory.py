"""Memory of a device: how much could be taken, how much was, and whether it ran out."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mezzotint.errors import RunFailed

# --- How much ----------------------------------------------------------------------------------------------------


def free_bytes(device: torch.device) -> int | None:
    """Return the memory that a program could still take on a device, in bytes; None where the system doesn't tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    found = [value for value in (_available_bytes(), _group_bytes()) if value is not None]
    return min(found, default=None)


def peak_bytes(device: torch.device) -> int:
    """Return the most memory used so far: on the device where it counts its own, else by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0  # Windows has no such call in the standard library
    import resource  # noqa: PLC0415  (absent on Windows)

    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024


def release(device: torch.device) -> None:
    """Give memory that torch keeps for later back to the device."""
    if device.type != "cpu" and torch.accelerator.is_available():
        torch.accelerator.empty_cache()


def _available_bytes() -> int | None:
    """Main memory that can be had without swapping: what Linux says; elsewhere half of all there is."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if sys.platform != "win32" else None


def _group_bytes(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What is left of the memory that this process's container may use; None without a limit."""
    for limit, used, details, cached in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        most, now = _number(root / limit), _number(root / used)
        if most is not None and now is not None:
            return max(most - max(now - _cached_bytes(root / details, cached), 0), 0)
    return None


def _number(path: Path) -> int | None:
    """The number that a file of the kernel holds; None without one (absent, or `max`)."""
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None


def _cached_bytes(details: Path, name: str) -> int:
    """Contents of files that a container's use counts, and that the kernel drops when memory is wanted."""
    lines = details.read_text("ascii").splitlines() if details.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)


# --- When there is none left -------------------------------------------------------------------------------------

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "bad_alloc")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch's own on CUDA and MPS, its CPU allocator's, Python's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    told = isinstance(error, RunFailed)  # already one clear line
    return isinstance(error, RuntimeError) and not told and any(words in said for words in _NO_MEMORY)


@contextmanager
def memory_told(what: str, remedy: str) -> Iterator[None]:
    """Turn memory that ran out within the block into `RunFailed`: what was being done, and what helps."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise RunFailed(f"{what}: out of memory; {remedy}") from None
