"""Choosing the chunk: the whole batch where there is room, halves of it where there isn't; written down, kept."""

from dataclasses import replace
from pathlib import Path

import pytest

from mezzotint.errors import BadInput, RunFailed
from mezzotint.machine import Machine
from mezzotint.options import read_yaml
from mezzotint.runs import fitting, recipe
from mezzotint.runs.fitting import training_memory
from mezzotint.runs.recipe import Recipe
from tiny import OVERRIDES, after, same, tensors, train

CPU = Machine.detect("cpu", "float32", 1)


def _recipe(*changes: str) -> Recipe:
    return recipe.read("digits-edm", [*OVERRIDES, "training.chunk_size=null", "data.channels=1", *changes])[1]


def _chunk(chosen: Recipe, machine: Machine) -> int:
    return fitting.choose_chunk(chosen.training, training_memory(chosen, 10, machine.alone()), machine)


def _free(monkeypatch: pytest.MonkeyPatch, free: int | None) -> None:
    monkeypatch.setattr(fitting, "free_bytes", lambda device: free)


def test_the_whole_batch_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    for free in (2**40, None):
        _free(monkeypatch, free)
        assert _chunk(_recipe(), CPU) == 32


def test_half_a_quarter_and_at_least_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = training_memory(_recipe(), 10, CPU)
    for chunk in (16, 8, 1):
        _free(monkeypatch, int((needed.peak(chunk) + 1000) / 0.8))
        assert _chunk(_recipe(), CPU) == chunk
    _free(monkeypatch, 0)
    assert _chunk(_recipe(), CPU) == 1


def test_a_chunk_size_of_the_recipe_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    _free(monkeypatch, 0)
    assert _chunk(_recipe("training.chunk_size=7"), CPU) == 7


def test_processes_share_the_batch_and_main_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    two = replace(CPU, world=2)
    _free(monkeypatch, 2**40)
    assert _chunk(_recipe(), two) == 16
    needed = training_memory(_recipe(), 10, CPU)
    _free(monkeypatch, int((needed.peak(16) + 1000) / 0.8))  # enough for one process's 16, not for two
    assert _chunk(_recipe(), two) < 16


@pytest.mark.parametrize(("processes", "chunk"), [(3, 11), (9, 3), (20, 1)])
def test_no_process_is_left_without_a_chunk(monkeypatch: pytest.MonkeyPatch, processes: int, chunk: int) -> None:
    _free(monkeypatch, None)
    machine = replace(CPU, world=processes)
    assert _chunk(_recipe(), machine) == chunk  # nine parts of 4 images would be eight
    with pytest.raises(BadInput, match=f"makes 2, too few for {processes} processes; set it to {32 // processes} or"):
        _chunk(_recipe("training.chunk_size=16"), machine)


def test_checkpointing_needs_less_memory() -> None:
    saving = _recipe("training.gradient_checkpointing=true")
    assert training_memory(saving, 10, CPU).image < 0.8 * training_memory(_recipe(), 10, CPU).image


def test_no_memory_for_the_count_itself_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(fitting, "memory", fail)
    with pytest.raises(RunFailed, match="before the first update: out of memory; lower data.image_size"):
        training_memory(_recipe(), 10, CPU)


def test_a_run_writes_its_chunk_down_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_chunk = ["training.chunk_size=null", "training.images=64"]
    needed = training_memory(_recipe("training.precision=float32"), 10, CPU)
    _free(monkeypatch, int((needed.peak(8) + 1000) / 0.8))
    run, _ = train(tmp_path, "tight", [*open_chunk, "training.precision=float32"], after(1))
    assert read_yaml(run.folder.recipe)["training"]["chunk_size"] == 8  # type: ignore[index]
    assert run.folder.read_environment()["image_bytes"] == needed.image
    _free(monkeypatch, 2**40)
    resumed, _ = train(tmp_path, "tight", [*open_chunk, "training.precision=float32"])
    assert resumed.recipe.training.chunk_size == 8
    with pytest.raises(BadInput, match="training.chunk_size=8, not 4"):
        train(tmp_path, "tight", ["training.chunk_size=4", "training.images=64", "training.precision=float32"])


def test_resume_with_checkpointing_is_bit_exact_and_equals_a_run_without(tmp_path: Path) -> None:
    """On one process of one thread, blocks computed again give the same bits."""
    few, saving = ["training.images=96"], ["training.images=96", "training.gradient_checkpointing=true"]
    plain, _ = train(tmp_path, "plain", few)
    train(tmp_path, "saving", saving, after(1))
    resumed, _ = train(tmp_path, "saving", saving)
    assert same(tensors(plain), tensors(resumed))
