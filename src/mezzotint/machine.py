"""What this computer is and how to use it: device, number type, threads, processes. The one place that asks."""

import os
import platform
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version

import torch
import torch.distributed as dist
from torch import Tensor

from mezzotint.errors import BadInput, nearest

_PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


def _devices() -> list[str]:
    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def _pick_device(name: str) -> torch.device:
    available = _devices()
    if name == "auto":
        local_rank = os.environ.get("LOCAL_RANK", "0")
        return torch.device(f"cuda:{local_rank}" if "cuda" in available else available[-1])
    if name not in available:
        raise BadInput(f"device {name!r} is not on this machine: {nearest(name, [*available, 'auto'])}")
    return torch.device(name)


def _precision_rule(device: torch.device) -> str:
    """bfloat16 where matrix products in it have hardware of their own, else float32."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        if found.get("avx512_bf16") or found.get("amx_bf16"):
            return "bfloat16"
    return "float32"


@dataclass(frozen=True)
class Machine:
    """Choices made for speed, by rule from the hardware; a resumed run keeps the ones it started with."""

    device: torch.device
    precision: str
    threads: int
    rank: int = 0
    world: int = 1

    @classmethod
    def detect(cls, device: str = "auto", precision: str = "auto", threads: int | None = None) -> "Machine":
        """Choose by rule; `device`, `precision` (float32, bfloat16) and `threads` may be fixed by the caller."""
        chosen = _pick_device(device)
        if precision != "auto" and precision not in _PRECISIONS:
            raise BadInput(f"precision {precision!r}: {nearest(precision, ['auto', *_PRECISIONS])}")
        return cls(
            device=chosen,
            precision=_precision_rule(chosen) if precision == "auto" else precision,
            threads=threads or torch.get_num_threads(),
            rank=int(os.environ.get("RANK", "0")),
            world=int(os.environ.get("WORLD_SIZE", "1")),
        )

    def prepare(self) -> "Machine":
        """Apply the choices to this process: threads, deterministic kernels, the process group."""
        torch.set_num_threads(self.threads)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        if self.device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with this
            torch.use_deterministic_algorithms(True, warn_only=True)
        if self.world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        return self

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    @property
    def memory_format(self) -> torch.memory_format:
        """Where the channel stands in memory: last on CUDA; first elsewhere (its group norm is faster so on a CPU)."""
        return torch.contiguous_format if self.device.type != "cuda" else torch.channels_last

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which networks run: mixed precision, or nothing for float32."""
        dtype = _PRECISIONS[self.precision]
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def wait(self) -> None:
        """Wait for the other processes to come here too."""
        if self.world > 1:
            dist.barrier()

    def part(self) -> None:
        """End the company of processes once all have come here: one that exits before breaks the others' work."""
        if self.world > 1:
            dist.barrier()
            dist.destroy_process_group()

    def agree(self, flag: bool) -> bool:
        """Return whether any process raised the flag, so that all of them do the same next."""
        if self.world == 1:
            return flag
        raised = torch.tensor(float(flag), device=self.device)
        self.reduce([raised])
        return raised.item() > 0

    def reduce(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors over all processes, in place; nothing to do for one process."""
        if self.world > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def memory_bytes(self) -> int:
        """Return the most memory used so far: on the device where it counts its own, else by this process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if sys.platform == "win32":
            return 0  # Windows has no such call in the standard library
        import resource  # noqa: PLC0415  (absent on Windows)

        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return usage if sys.platform == "darwin" else usage * 1024

    def environment(self) -> dict[str, str | int]:
        """Describe hardware, choices and versions, as recorded in `environment.json`."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else platform.processor()
        packages = ("mezzotint", "torch", "torchvision", "numpy")
        return {
            "device": str(self.device),
            "hardware": name or platform.machine(),
            "precision": self.precision,
            "threads": self.threads,
            "processes": self.world,
            "platform": platform.platform(),
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        }
