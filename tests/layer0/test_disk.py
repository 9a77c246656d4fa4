"""Files and folders that appear whole or not at all, and one process at a time."""

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from mezzotint import disk
from mezzotint.disk import home, locked, recover, recover_all, sync, whole_file, whole_folder, write_text, writing
from mezzotint.errors import BadInput, RunFailed


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_home_is_where_the_user_says_or_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, expected in (("~/plates", "plates"), ("", ".cache/mezzotint")):
        monkeypatch.setenv("MEZZOTINT_HOME", given)
        assert home() == tmp_path / expected


def test_disk_needs_nothing_heavy() -> None:
    script = "import sys, mezzotint.disk; sys.exit(bool({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# --- Files ------------------------------------------------------------------------------------------------------


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "text"
    with whole_file(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    assert (path.read_text(), names(path.parent)) == ("one", ["text"])


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "text"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as temporary:
        _ = 1 / temporary.write_text("")
    assert (path.read_text(), names(tmp_path)) == ("old", ["text"])


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text"
    write_text(path, "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFailed) as error:
        write_text(path, "new")
    assert str(error.value) == f"{path}: can't be written (No space left on device)"
    assert (path.read_text(), names(tmp_path)) == ("old", ["text"])


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "text"
    with whole_file(path) as first, whole_file(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # its block ends last
    assert names(tmp_path) == ["text"]


def test_a_file_has_the_permissions_that_the_user_gives_new_files(tmp_path: Path) -> None:
    write_text(tmp_path / "ours", "")
    (tmp_path / "plain").write_text("")
    ours, plain = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain"))
    assert ours == plain


def test_only_durable_files_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with whole_file(tmp_path / "text", durable=False) as temporary:
        temporary.write_text("one")
    with pytest.raises(OSError, match="No space"):
        sync(tmp_path / "text")


def test_readers_see_the_old_text_or_the_new(tmp_path: Path) -> None:
    path, texts = tmp_path / "text", {"a" * 100_000, "b" * 70_000}
    write_text(path, min(texts))
    done = threading.Event()

    def rewrite() -> None:
        for _ in range(40):
            for text in texts:
                write_text(path, text)
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    while not done.is_set():
        assert path.read_text() in texts
    writer.join()


# --- Folders ----------------------------------------------------------------------------------------------------


def fill(path: Path, text: str) -> None:
    with writing(path), whole_folder(path) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "text").write_text(text)
        assert [entry.name for entry in path.parent.iterdir() if not entry.name.startswith(".")] in ([], [path.name])


def test_a_folder_appears_and_is_replaced(tmp_path: Path) -> None:
    for text in ("one", "two"):
        fill(tmp_path / "new" / "folder", text)
        assert (tmp_path / "new" / "folder" / "inner" / "text").read_text() == text
        assert names(tmp_path / "new") == ["folder"]


def test_a_full_disk_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "folder", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFailed, match=r"folder: can't be written \(No space left on device\)"):
        fill(tmp_path / "folder", "new")
    assert (tmp_path / "folder" / "inner" / "text").read_text() == "old"
    assert names(tmp_path) == ["folder"]


def test_recover_touches_only_its_own_folder(tmp_path: Path) -> None:
    for name in (".tmp-one", ".tmp-two", ".replaced-one"):
        (tmp_path / name).mkdir()
    recover(tmp_path / "one")
    assert names(tmp_path) == [".tmp-two", "one"]


def test_recover_all_removes_files_and_folders(tmp_path: Path) -> None:
    for name in (".tmp-one", ".replaced-two", ".replaced-three", "three", "tmp-four"):
        (tmp_path / name).mkdir()
    (tmp_path / ".tmp-0a1b2c3d-best").write_text("half")
    recover_all(tmp_path)
    assert names(tmp_path) == ["three", "tmp-four", "two"]


# --- One process at a time --------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from mezzotint.disk import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "new" / ".lock"


@pytest.fixture
def held(lock: Path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def busy(holder: str) -> str:
    return f"plate: in use by {holder}"


def test_a_lock_refuses_and_names_its_holder(lock: Path, held: "subprocess.Popen[bytes]") -> None:
    with pytest.raises(BadInput) as error, locked(lock, busy):
        pytest.fail("two processes hold one lock")
    assert str(error.value) == f"plate: in use by process {held.pid} on {socket.gethostname()}"
    held.send_signal(signal.SIGKILL)
    held.wait()
    with locked(lock, busy):
        assert lock.exists()
    assert names(lock.parent) == []


def test_a_lock_waits_for_its_holder(lock: Path, held: "subprocess.Popen[bytes]") -> None:
    threading.Timer(0.5, held.kill).start()
    start = time.monotonic()
    with locked(lock):
        assert time.monotonic() - start > 0.4


def test_a_lock_file_that_its_last_holder_removes_is_made_anew(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really, removals = disk._try, iter([lock.unlink])

    def after_the_removal(file: BinaryIO) -> None:
        for remove in removals:
            remove()
        really(file)

    monkeypatch.setattr(disk, "_try", after_the_removal)
    with locked(lock, busy), pytest.raises(BadInput, match="in use by process"), locked(lock, busy):
        pytest.fail("two hold one lock: the first holds a file that is gone")


def test_a_lock_that_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunFailed, match=r"lock: can't be written"), locked(tmp_path / "file" / "lock", busy):
        pytest.fail("no lock is held")
