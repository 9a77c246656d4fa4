"""A run's folder: names, atomic files, the lock, a log that survives crashes."""

import errno
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mezzotint.errors import BadInput, RunFailed
from mezzotint.runs.folder import RunFolder, check_name, run_names
from mezzotint.runs.records import read_lines


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path / "runs", "trial")
    made.write_recipe("seed: 0\n")
    return made


# --- Making and opening ----------------------------------------------------------------------------------------


def test_create_then_open(tmp_path: Path) -> None:
    made = RunFolder.create(tmp_path / "runs", "trial")
    assert made.path == tmp_path / "runs" / "trial"
    assert made.checkpoints.is_dir()
    assert made.samples.is_dir()
    assert not made.exists
    made.write_recipe("seed: 0\n")
    assert made.exists
    assert RunFolder.open(made.path) == made
    assert made.recipe.read_text() == "seed: 0\n"
    names = [made.recipe, made.environment, made.log, made.scores]
    assert [path.name for path in names] == ["recipe.yaml", "environment.json", "log.jsonl", "scores.jsonl"]
    assert made.name == "trial"


def test_create_again(run: RunFolder) -> None:
    with pytest.raises(BadInput, match="already a run"):
        RunFolder.create(run.path.parent, run.name)


def test_create_after_a_kill_before_the_recipe(tmp_path: Path) -> None:
    killed = RunFolder.create(tmp_path, "trial")
    (killed.path / ".lock").touch()
    (killed.path / ".tmp-0a1b2c3d-recipe.yaml").write_text("half")
    assert RunFolder.create(tmp_path, "trial") == killed


def test_create_never_takes_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    (tmp_path / "file").write_text("")
    for name in ("thesis", "file"):
        with pytest.raises(BadInput, match="exists and is not a run"):
            RunFolder.create(tmp_path, name)


def test_create_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailed, match="can't be written"):
        RunFolder.create(tmp_path / "file", "trial")


def test_open_names_the_nearest_runs(run: RunFolder) -> None:
    other = RunFolder.create(run.path.parent, "cifar")
    (run.path.parent / "trial3").mkdir()
    with pytest.raises(BadInput) as error:
        RunFolder.open(run.path.with_name("trail"))
    assert str(run.path.with_name("trail")) in str(error.value)
    assert "no such run" in str(error.value)
    assert "did you mean trial?" in str(error.value)
    with pytest.raises(BadInput, match=r"has no recipe\.yaml, so it is not a run"):
        RunFolder.open(other.path)
    with pytest.raises(BadInput, match="there are none"):
        RunFolder.open(run.path.parent / "absent" / "trial")
    with pytest.raises(BadInput, match=f"in {re.escape(str(run.path.parent))}: there are trial"):
        RunFolder.open(run.path.parent)  # the folder of the runs in place of one of them
    assert run_names(run.path.parent) == ["trial"]


@pytest.mark.parametrize("name", ["trial", "digits-edm", "2024.1_a", "Übung", "_x", "a" * 100])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\\b", "-x", ".hidden", "a b", "a\n", "end.", "a" * 101])
def test_bad_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"run name .*: must be at most 100 letters"):
        RunFolder.create(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


# --- Atomic files ------------------------------------------------------------------------------------------------


def test_a_full_disk_keeps_the_old_file(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFailed) as error:
        run.write_recipe("seed: 1\n")
    assert str(error.value) == f"{run.recipe}: can't be written (No space left on device)"
    assert run.recipe.read_text() == "seed: 0\n"
    assert [entry.name for entry in run.path.iterdir() if entry.name.startswith(".")] == []


def test_environment(run: RunFolder) -> None:
    run.write_environment({"device": "cpu", "threads": 2})
    assert run.read_environment() == {"device": "cpu", "threads": 2}
    run.environment.write_text('{\n "device": cpu\n}')
    with pytest.raises(BadInput, match=r"environment.json, line 2: not valid JSON"):
        run.read_environment()
    run.environment.unlink()
    with pytest.raises(BadInput, match=r"environment.json: can't be read \(No such file"):
        run.read_environment()


# --- The lock ------------------------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from mezzotint.runs.folder import RunFolder
with RunFolder.open(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(run: RunFolder) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", HOLD, str(run.path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_process_is_refused_until_the_first_is_killed(run: RunFolder) -> None:
    process = hold(run)
    try:
        with pytest.raises(BadInput) as error, run.lock():
            pytest.fail("two processes hold one run")
        expected = f"{run.path}: in use by process {process.pid} on {socket.gethostname()}; wait for it or stop it"
        assert str(error.value) == expected
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    with run.lock():
        assert json.loads((run.path / ".lock").read_text())["pid"] == os.getpid()


def test_the_lock_is_free_after_an_error_inside(run: RunFolder) -> None:
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    with run.lock(), pytest.raises(BadInput, match="in use by"), run.lock():
        pass
    assert not hold(run).communicate()[0]


def test_a_lock_file_of_a_dead_process_or_of_garbage_is_no_hindrance(run: RunFolder) -> None:
    (run.path / ".lock").write_bytes(b'{"pid": 1, "host": "elsewhere"}' * 200)
    with run.lock(), pytest.raises(BadInput, match=f"in use by process {os.getpid()} on"), run.lock():
        pass


def test_a_holder_without_a_name_yet(run: RunFolder) -> None:
    with run.lock():
        (run.path / ".lock").write_bytes(b"")
        with pytest.raises(BadInput, match="in use by another process"), run.lock():
            pass


# --- The log -------------------------------------------------------------------------------------------------------


def test_log_is_valid_json_whatever_the_numbers(run: RunFolder) -> None:
    run.append_log({"images_seen": 128, "loss": math.nan, "inner": {"gradient": [math.inf, 1.5]}, "word": "é"})
    text = run.log.read_text("utf-8")  # flushed: visible at once
    assert json.loads(text, parse_constant=pytest.fail) == run.read_log()[0]
    expected = {"images_seen": 128, "loss": None, "inner": {"gradient": [None, 1.5]}, "word": "é"}
    assert run.read_log() == [expected]


def test_no_log_yet(run: RunFolder) -> None:
    assert run.read_log() == []
    assert run.read_scores() == []
    run.truncate_log(0)
    assert not run.log.exists()


def test_truncate_drops_what_came_after_the_checkpoint(run: RunFolder) -> None:
    for images_seen in (100, 200, 300):
        run.append_log({"images_seen": images_seen, "loss": 1 / images_seen})
    run.append_log({"event": "note"})
    before = run.log.read_bytes().splitlines(keepends=True)
    with run.log.open("ab") as file:
        file.write(b'{"images_seen": 400, "lo')
    run.truncate_log(200)
    assert run.log.read_bytes() == before[0] + before[1] + before[3]
    run.truncate_log(0)
    assert run.read_log() == [{"event": "note"}]


def test_truncate_leaves_a_log_alone_that_needs_nothing(run: RunFolder) -> None:
    run.append_log({"images_seen": 100})
    inode = run.log.stat().st_ino
    run.truncate_log(100)
    assert run.log.stat().st_ino == inode


def test_truncate_on_a_full_disk_keeps_the_log(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run.append_log({"images_seen": 100})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFailed, match="No space left"):
        run.truncate_log(50)
    assert run.read_log() == [{"images_seen": 100}]


@pytest.mark.parametrize("tail", [b'{"images_seen": 2', b"\x00\x00\x00", b"\xff\xfe", b'"text"', b"7"])
def test_a_last_line_cut_short_is_ignored_and_mended(run: RunFolder, tail: bytes) -> None:
    run.append_log({"images_seen": 1})
    with run.log.open("ab") as file:
        file.write(tail)
    assert run.read_log() == [{"images_seen": 1}]
    run.append_log({"images_seen": 3})
    assert run.read_log() == [{"images_seen": 1}, {"images_seen": 3}]
    assert len(read_lines(run.log)) == 2


def test_a_whole_last_line_without_its_end_is_kept(run: RunFolder) -> None:
    run.scores.write_text('{"fid": 3}')
    run.append_score({"fid": 4, "floor": math.nan})
    assert run.read_scores() == [{"fid": 3}, {"fid": 4, "floor": None}]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{broken", "line 3: not valid JSON"),
        (b"[1]", "line 3: must be a JSON object, is list"),
        (b"\xff", "line 3: not UTF-8"),
    ],
)
def test_a_broken_line_is_named(run: RunFolder, line: bytes, problem: str) -> None:
    run.log.write_bytes(b'{"images_seen": 1}\n\n' + line + b'\n{"images_seen": 2}\n')
    for read in (run.read_log, lambda: run.truncate_log(1)):
        with pytest.raises(BadInput) as error:
            read()
        assert str(error.value).startswith(f"{run.log}, {problem}")
        assert "\n" not in str(error.value)
    assert line in run.log.read_bytes()


def test_a_broken_position_is_named(run: RunFolder) -> None:
    run.log.write_bytes(b'\n{"images_seen": "many"}\n')
    with pytest.raises(BadInput, match="line 2: images_seen must be a number, is 'many'"):
        run.truncate_log(1)


def test_a_log_that_can_not_be_written(run: RunFolder) -> None:
    run.log.mkdir()
    with pytest.raises(RunFailed, match=r"log\.jsonl: can't be written"):
        run.append_log({"images_seen": 1})
    with pytest.raises(BadInput, match=r"log\.jsonl: can't be read"):
        run.read_log()
