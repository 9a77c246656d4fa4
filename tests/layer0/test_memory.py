"""What a device says of its memory, and how it says that there is none left."""

from pathlib import Path

import pytest
import torch

from mezzotint.errors import RunFailed
from mezzotint.memory import _group_bytes, free_bytes, memory_told, out_of_memory, peak_bytes, release

CPU = torch.device("cpu")


def test_free_memory_is_of_the_right_size() -> None:
    free = free_bytes(CPU)
    assert free is not None
    assert 2**20 < free < 2**50
    release(CPU)  # nothing to give back on a CPU


def test_the_peak_is_what_this_process_held_at_least() -> None:
    held = torch.ones(64 * 2**20, dtype=torch.uint8)
    assert peak_bytes(CPU) > held.nbytes


def test_a_container_s_limit(tmp_path: Path) -> None:
    assert _group_bytes(tmp_path) is None
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert _group_bytes(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert _group_bytes(tmp_path) == 700
    (tmp_path / "memory.stat").write_text("anon 100\ninactive_file 150\n")
    assert _group_bytes(tmp_path) == 850  # what was read from files makes room
    (tmp_path / "memory.current").write_text("1200\n")
    assert _group_bytes(tmp_path) == 0


def test_a_container_s_limit_of_the_older_kind(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("500")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("100")
    assert _group_bytes(tmp_path) == 400


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (MemoryError(), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
        (RunFailed("update 3: out of memory; lower data.image_size"), False),
    ],
)
def test_errors_that_mean_no_memory(error: Exception, told: bool) -> None:
    assert out_of_memory(error) is told


def test_a_real_allocation_that_cannot_be() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(caught.value)


def test_it_is_told_in_one_line() -> None:
    with pytest.raises(RunFailed, match="^drawing: out of memory; draw fewer$"), memory_told("drawing", "draw fewer"):
        raise MemoryError
    with pytest.raises(RuntimeError, match="^else$"), memory_told("drawing", "draw fewer"):
        raise RuntimeError("else")
