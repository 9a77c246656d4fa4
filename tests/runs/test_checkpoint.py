"""Checkpoints: bit-exact, complete or absent through kills and full disks, and refused when damaged."""

import errno
import json
import math
import os
import pickle
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from mezzotint.errors import BadInput, RunFailed
from mezzotint.runs import checkpoint
from mezzotint.runs.checkpoint import Checkpoint

FILES = ("weights.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json")


def make(seed: int = 0) -> Checkpoint:
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 3, 2, 2, generator=draw)
    return Checkpoint(
        weights={"conv": weight, "tied": weight, "row": weight[1], "count": torch.tensor(7)},
        ema={"conv": weight * 0.5},
        optimizer={
            "step": torch.tensor(12.0),
            "exp_avg": torch.randn(2, 3, 4, 5, generator=draw).to(memory_format=torch.channels_last),
            "half": torch.randn(5, generator=draw).to(torch.bfloat16),
            "odd": torch.tensor([math.nan, math.inf, -0.0, 1e-45]),
            "empty": torch.empty(0, 3),
            "flags": torch.tensor([True, False]),
            "parameter": torch.nn.Parameter(torch.ones(2)),
        },
        state={"update": 17, "seed": 2**63, "rate": 0.1 + 0.2, "tiny": 5e-324, "name": "é", "list": [1, None]},
    )


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert tensor.dtype == b[name].dtype
        assert tensor.shape == b[name].shape
        raw = [t.detach().contiguous().flatten().view(torch.uint8) for t in (tensor, b[name])]
        assert torch.equal(*raw), name


def message(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "trial" / "checkpoints"


@pytest.fixture
def two(folder: Path) -> Path:
    for images_seen in (2000, 10000):
        checkpoint.save(folder, make(images_seen), images_seen)
    return folder


# --- Round trip ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_round_trip_is_bit_exact(folder: Path) -> None:
    given = make()
    path = checkpoint.save(folder, given, 2000)
    found = checkpoint.load(path)
    assert path == folder / "2000"
    assert sorted(entry.name for entry in path.iterdir()) == sorted(FILES)
    for name in ("weights", "ema", "optimizer"):
        assert_same(getattr(given, name), getattr(found, name))
    assert found.state == given.state
    found.weights["conv"].add_(1)  # what is loaded can be trained on, and tied tensors come back apart
    assert not torch.equal(found.weights["conv"], found.weights["tied"])


def test_state_keeps_numbers_that_are_not_finite(folder: Path) -> None:
    given = make()
    given.state["best"] = math.inf
    given.state["loss"] = [math.nan]
    state = checkpoint.load(checkpoint.save(folder, given, 1)).state
    assert state["best"] == math.inf
    assert math.isnan(state["loss"][0])


def test_adam_goes_on_exactly(folder: Path) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # pyright: ignore
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)

    def update() -> None:
        optimizer.zero_grad()
        layer(torch.ones(1, 3, 5, 5)).square().sum().backward()
        optimizer.step()

    update()
    states = optimizer.state_dict()["state"]
    flat = {f"{i}.{key}": value for i, state in states.items() for key, value in state.items()}
    loaded = checkpoint.load(checkpoint.save(folder, Checkpoint(layer.state_dict(), {}, flat, {}), 1))
    update()
    expected = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    layer.load_state_dict(loaded.weights)
    for i, state in optimizer.state_dict()["state"].items():
        for key in state:
            state[key].copy_(loaded.optimizer[f"{i}.{key}"])
    update()
    assert_same(layer.state_dict(), expected)


def test_load_weights_reads_only_what_it_needs(folder: Path) -> None:
    path = checkpoint.save(folder, make(), 5)
    (path / "optimizer.safetensors").unlink()
    assert_same(checkpoint.load_weights(path), make().ema)
    assert_same(checkpoint.load_weights(path, "raw"), make().weights)


def test_load_weights_refuses_unknown_and_absent_ones(folder: Path) -> None:
    path = checkpoint.save(folder, Checkpoint(make().weights, {}, {}, {}), 5)
    with pytest.raises(BadInput, match="weights 'emma': did you mean ema"):
        checkpoint.load_weights(path, "emma")  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInput, match="holds no ema weights; use the raw ones"):
        checkpoint.load_weights(path)


def test_saving_the_same_number_again_replaces_it(two: Path) -> None:
    checkpoint.save(two, make(1), 2000)
    assert_same(checkpoint.load(two / "2000").ema, make(1).ema)
    assert sorted(entry.name for entry in two.iterdir()) == ["10000", "2000"]


# --- Which there are -------------------------------------------------------------------------------------------


def test_available_is_numeric_and_ignores_the_rest(two: Path) -> None:
    for name in (".tmp-300", ".replaced-400", "0500", "notes", "-7"):
        (two / name).mkdir()
    (two / "600").write_text("a file")
    assert checkpoint.available(two) == [2000, 10000]
    assert (two / ".tmp-300").exists()  # a reader never removes what another process may be writing
    assert checkpoint.available(two / "absent") == []


def test_recover_removes_the_unfinished_and_restores_the_displaced(two: Path) -> None:
    (two / "2000").rename(two / ".replaced-2000")
    shutil.copytree(two / "10000", two / ".replaced-10000")
    (two / ".tmp-300").mkdir()
    (two / ".tmp-300" / "weights.safetensors").write_bytes(b"half")
    checkpoint.recover(two)
    assert sorted(entry.name for entry in two.iterdir()) == ["10000", "2000"]
    assert_same(checkpoint.load(two / "2000").ema, make(2000).ema)


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [(2, None, [300, 1000]), (2, 100, [100, 300, 1000]), (1, 1000, [1000]), (9, 20, [20, 100, 300, 1000])],
)
def test_prune_keeps_the_last_and_the_best(folder: Path, keep: int, best: int | None, left: list[int]) -> None:
    for images_seen in (1000, 20, 300, 100):
        checkpoint.save(folder, Checkpoint({}, {}, {}, {}), images_seen)
    checkpoint.prune(folder, keep, best)
    assert checkpoint.available(folder) == left
    assert [entry.name for entry in folder.iterdir() if entry.name.startswith(".")] == []


def test_find(two: Path) -> None:
    checkpoint.mark_best(two, 2000)
    assert checkpoint.best(two) == 2000
    assert checkpoint.find(two, "last") == two / "10000"
    assert checkpoint.find(two, "best") == checkpoint.find(two, "2000") == two / "2000"


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("3000", "no 3000 checkpoint: there are 2000, 10000"),
        ("best", "no checkpoint is marked best; use last, or a number: there are 2000, 10000"),
        ("latest", "must be last, best or a number of images seen; there are 2000, 10000"),
        ("../x", "must be last, best or a number of images seen"),
    ],
)
def test_find_lists_what_exists(two: Path, which: str, expected: str) -> None:
    with pytest.raises(BadInput) as error:
        checkpoint.find(two, which)
    assert expected in message(error)


@pytest.mark.parametrize("which", ["last", "best", "7"])
def test_find_in_a_run_without_checkpoints(folder: Path, which: str) -> None:
    with pytest.raises(BadInput, match="there are none yet"):
        checkpoint.find(folder, which)


def test_a_broken_best_mark_is_told(two: Path) -> None:
    (two / "best").write_text("soon")
    with pytest.raises(BadInput, match="best: must hold one of the checkpoints' numbers"):
        checkpoint.find(two, "best")


# --- Damage ----------------------------------------------------------------------------------------------------


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-9] ^= 4
    file.write_bytes(content)


def fill_with_garbage(file: Path) -> None:
    file.write_bytes(random.Random(0).randbytes(file.stat().st_size))


def fill_with_pickle(file: Path) -> None:
    file.write_bytes(pickle.dumps({"weights": [1.0]}))


def fill_with_torch_save(file: Path) -> None:
    torch.save({"conv": torch.ones(2)}, file)


DAMAGES = (truncate, flip_a_bit, fill_with_garbage, fill_with_pickle, fill_with_torch_save, Path.unlink)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_refused_in_one_line(two: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(two / "10000" / name)
    with pytest.raises(BadInput) as error:
        checkpoint.load(two / "10000")
    text = message(error)
    assert text.startswith(str(two / "10000" / name))
    assert text.endswith(f"remove {two / '10000'} to fall back to checkpoint 2000")
    assert checkpoint.find(two, "last") == two / "10000"  # never passed over in silence
    checkpoint.load(two / "2000")


def test_every_bit_of_the_state_is_guarded(folder: Path) -> None:
    file = checkpoint.save(folder, Checkpoint({}, {}, {}, {"update": 17, "rate": 0.25}), 8) / "state.json"
    whole = file.read_bytes()
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        if _same_meaning(flipped, whole):
            continue  # white space for white space
        file.write_bytes(flipped)
        with pytest.raises(BadInput):
            checkpoint.load(folder / "8")


def _same_meaning(a: bytes | bytearray, b: bytes) -> bool:
    try:
        return json.loads(a) == json.loads(b)
    except ValueError:
        return False


def test_the_only_checkpoint_damaged(folder: Path) -> None:
    truncate(checkpoint.save(folder, make(), 8) / "ema.safetensors")
    with pytest.raises(BadInput, match="to begin anew"):
        checkpoint.load(folder / "8")


def test_a_pickle_is_called_one(two: Path) -> None:
    fill_with_pickle(two / "10000" / "weights.safetensors")
    with pytest.raises(BadInput, match=re.escape("a pickle, which is never loaded")):
        checkpoint.load_weights(two / "10000", "raw")


@pytest.mark.parametrize("name", ["weights.pt", "optimizer.pkl", "model.ckpt"])
def test_a_pickle_in_the_folder_is_refused(two: Path, name: str) -> None:
    (two / "10000" / "weights.safetensors").rename(two / "10000" / name)
    with pytest.raises(BadInput, match=f"{name}: pickles are never loaded"):
        checkpoint.load(two / "10000")


def test_a_pickle_with_a_forged_seal_is_never_opened(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = pickle.dumps(Checkpoint)

    def forged(_: object) -> bytes:
        return evil

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save", forged)
        path = checkpoint.save(two, make(), 20000)
    with pytest.raises(BadInput, match="not a safetensors file"):
        checkpoint.load(path)


def test_what_is_no_checkpoint(two: Path) -> None:
    (two / "model.pt").write_bytes(b"\x80")
    with pytest.raises(BadInput, match="a checkpoint is a folder"):
        checkpoint.load(two / "model.pt")
    with pytest.raises(BadInput, match="no such checkpoint; there are 2000, 10000"):
        checkpoint.load(two / "7")
    (two / "2000").rename(two / "3000")
    with pytest.raises(BadInput, match="holds checkpoint 2000; rename it"):
        checkpoint.load(two / "3000")


# --- Disks that refuse, processes that die ------------------------------------------------------------------------


@pytest.mark.parametrize("call", range(6))
def test_a_full_disk_leaves_everything_as_it_was(two: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    calls = iter(range(100))
    really = os.fsync

    def full(descriptor: int) -> None:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFailed) as error:
        checkpoint.save(two, make(3), 20000)
    assert message(error) == f"{two / '20000'}: can't be written (No space left on device)"
    complete = call == 5  # the last sync is after the rename
    assert checkpoint.available(two) == [2000, 10000, 20000][: 3 if complete else 2]
    assert all(not entry.name.startswith(".") for entry in two.iterdir())
    for images_seen in checkpoint.available(two):
        checkpoint.load(two / str(images_seen))


def test_a_failed_replacement_keeps_the_old_one(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.name.startswith(".tmp-"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return really(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(RunFailed):
        checkpoint.save(two, make(3), 2000)
    assert_same(checkpoint.load(two / "2000").ema, make(2000).ema)


def test_a_limit_of_the_system_on_file_size(two: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = Checkpoint({"w": torch.zeros(100_000)}, {}, {}, {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # Python ignores the signal: write() fails
    try:
        with pytest.raises(RunFailed, match="can't be written"):
            checkpoint.save(two, big, 20000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(entry.name for entry in two.iterdir()) == ["10000", "2000"]


def test_a_folder_that_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file in the way")
    with pytest.raises(RunFailed, match="can't be written"):
        checkpoint.save(tmp_path / "checkpoints", make(), 1)


SAVE_FOREVER = """
import sys, torch
from itertools import count
from pathlib import Path
from mezzotint.runs import checkpoint
folder = Path(sys.argv[1])
checkpoint.recover(folder)
first = max(checkpoint.available(folder), default=0) + 1
print("ready", flush=True)
for n in count(first):
    tensors = {"w": torch.full((50_000,), float(n))}
    for again in range(2):  # the second time replaces
        checkpoint.save(folder, checkpoint.Checkpoint(tensors, tensors, tensors, {"n": n}), n)
    checkpoint.prune(folder, 3, None)
"""


def test_recovers_a_folder_killed_between_its_two_names(folder: Path) -> None:
    """A new one is unfinished beside the one it replaces: both belong to checkpoint 5, which is put back."""
    checkpoint.save(folder, checkpoint.Checkpoint({}, {}, {}, {"n": 5}), 5)
    (folder / "5").rename(folder / ".replaced-5")
    (folder / ".tmp-5").mkdir()
    checkpoint.recover(folder)
    assert [entry.name for entry in folder.iterdir()] == ["5"]


def test_killed_while_saving(folder: Path) -> None:
    moments = random.Random(1)
    last = 0
    folder.mkdir(parents=True)
    for _ in range(6):
        command = [sys.executable, "-c", SAVE_FOREVER, str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.05 + moments.random() * 0.3)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        for n in checkpoint.available(folder):
            loaded = checkpoint.load(folder / str(n))
            assert loaded.state == {"n": n}
            assert torch.equal(loaded.optimizer["w"], torch.full((50_000,), float(n)))
        checkpoint.recover(folder)
        assert all(not entry.name.startswith(".") for entry in folder.iterdir())
        assert max(checkpoint.available(folder)) >= last
        last = max(checkpoint.available(folder))
    assert last > 6
