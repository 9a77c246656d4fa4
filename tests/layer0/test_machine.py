"""What the machine is asked, and what can be fixed by hand."""

import json
import os
import sys

import pytest
import torch

from mezzotint.errors import BadInput
from mezzotint.machine import Machine, cores


def test_detects_something_usable() -> None:
    machine = Machine.detect()
    assert machine.precision in ("float32", "bfloat16")
    assert machine.threads >= 1
    assert machine.is_main
    torch.ones(2, device=machine.device).sum()


def test_choices_can_be_fixed() -> None:
    machine = Machine.detect("cpu", "bfloat16", 1)
    assert (machine.device, machine.precision, machine.threads) == (torch.device("cpu"), "bfloat16", 1)


def test_a_run_from_a_larger_machine_takes_no_more_threads_than_there_are_cores() -> None:
    assert Machine.detect("cpu", threads=100_000).threads == cores()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process on some cores")
def test_cores_kept_from_this_process_do_not_count() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("gpu", "auto", "device 'gpu' is not on this machine: did you mean cpu?"),
        ("cpu", "float61", "did you mean float16"),
    ],
)
def test_unknown_choices(device: str, precision: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Machine.detect(device, precision)


def test_prepare_sets_threads() -> None:
    before = torch.get_num_threads()
    try:
        assert Machine.detect("cpu", threads=1).prepare().threads == torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_autocast_runs_products_in_the_chosen_precision(precision: str, dtype: torch.dtype) -> None:
    with Machine.detect("cpu", precision).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_reduce_is_nothing_for_one_process() -> None:
    tensor = torch.ones(3)
    Machine.detect("cpu").reduce([tensor])
    assert torch.equal(tensor, torch.ones(3))


def test_ranks_come_from_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    machine = Machine.detect("cpu")
    assert (machine.rank, machine.world, machine.is_main) == (1, 2, False)


def test_environment_can_be_written_to_a_file() -> None:
    environment = json.loads(json.dumps(Machine.detect("cpu", "float32", 1).environment()))
    assert environment["device"] == "cpu"
    assert environment["precision"] == "float32"
    assert environment["torch"] == torch.__version__.split("+")[0] or environment["torch"] == torch.__version__
