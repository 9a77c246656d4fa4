"""What this computer is and how to use it: device, number type, threads, processes. The one place that asks.

How much memory there is, and whether it ran out, is asked in `memory.py`.
"""

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mezzotint.disk import home
from mezzotint.errors import BadInput, nearest

_T = TypeVar("_T")
COMPILED_IN = "TORCHINDUCTOR_CACHE_DIR"
_USERS_PLACE = os.environ.get(COMPILED_IN)  # asked here: torch sets it to a temporary folder once it compiles anything
_PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
    """bfloat16 where matrix products in it have hardware of their own, else float16 by the same rule, else float32."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0):
        return "float16"  # tensor cores before Ampere: Volta, Turing
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        if found.get("avx512_bf16") or found.get("amx_bf16"):
            return "bfloat16"
    return "float32"


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _processor() -> str:
    """Name of the processor as its maker calls it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


@dataclass(frozen=True, slots=True)
class Compilation:
    """Whether training compiles its network, and why: decided once, when a run is created."""

    on: bool = False
    because: str = ""


@dataclass(frozen=True)
class Machine:
    """Choices made for speed, by rule from the hardware; a resumed run keeps the ones it started with."""

    device: torch.device
    precision: str
    threads: int
    rank: int = 0
    world: int = 1
    compilation: Compilation = Compilation()

    @classmethod
    def detect(cls, device: str = "auto", precision: str = "auto", threads: int | None = None) -> "Machine":
        """Choose by rule; `device`, `precision` (see `_PRECISIONS`) and `threads` may be fixed by the caller.

        More threads than cores, as where a run comes from a larger machine, would wait for each other: they are fewer.
        """
        chosen = _pick_device(device)
        if precision != "auto" and precision not in _PRECISIONS:
            raise BadInput(f"precision {precision!r}: {nearest(precision, ['auto', *_PRECISIONS])}")
        return cls(
            device=chosen,
            precision=_precision_rule(chosen) if precision == "auto" else precision,
            threads=min(threads or torch.get_num_threads(), cores()),
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

    def compiler_lacks(self) -> str | None:
        """Return what `torch.compile` lacks on this machine; None where it has all it needs."""
        if self.device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++", "cl"))):
            return "a C++ compiler (g++)"
        if self.device.type == "cuda" and find_spec("triton") is None:
            return "the package triton"
        return None

    def compile(self, network: nn.Module) -> None:
        """Compile a network in place if this run does so; its parameters keep their names, its copies are plain.

        What was compiled is kept in `$MEZZOTINT_HOME/compiled`, so the next process needs less time for it.
        """
        if not self.compilation.on:
            return
        if lacking := self.compiler_lacks():
            raise BadInput(f"this run compiles its network, which needs {lacking}; training.compile=off in a new run")
        os.environ[COMPILED_IN] = _USERS_PLACE or str(home() / "compiled")
        network.compile(dynamic=False)

    def plainly(self) -> AbstractContextManager[object]:
        """Return the context in which a compiled network runs as written: for looks between updates, in other sizes."""
        return torch.compiler.set_stance("force_eager") if self.compilation.on else nullcontext()

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

    def lighten(self, module: nn.Module) -> None:
        """Prepare a network that only draws: weights cast once instead of at each call, channels last in memory.

        Convolutions and linear layers are cast to the type to which `autocast` casts them; nothing else is. Drawn
        images are the same up to rounding.
        """
        dtype = _PRECISIONS[self.precision]
        for part in module.modules():
            if dtype is not None and isinstance(part, nn.Conv2d | nn.Linear):
                part.to(dtype)
        module.to(memory_format=torch.channels_last)

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

    def gather(self, value: _T) -> list[_T]:
        """Return every process's value, in the order of their ranks."""
        if self.world == 1:
            return [value]
        values: list[_T] = [value] * self.world
        dist.all_gather_object(values, value)
        return values

    def alone(self) -> "Machine":
        """Return the same choices for work that this process does without the others."""
        return replace(self, rank=0, world=1)

    def environment(self) -> dict[str, str | int]:
        """Describe hardware, choices and versions, as recorded in `environment.json`."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else _processor()
        packages = ("mezzotint", "torch", "torchvision", "numpy")
        return {
            "device": str(self.device),
            "hardware": name,
            "precision": self.precision,
            "threads": self.threads,
            "processes": self.world,
            "compiled": self.compilation.on,
            "compiled_because": self.compilation.because,
            "platform": platform.platform(),
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        }
