"""Files and folders that appear whole or not at all, one process at a time, and the folder of the cache.

What is being written is called `.tmp-...` and lies beside the place where it will appear, so that the last step is
a renaming. Blocks that write belong inside `writing`, which tells a full disk in one line.
"""

import json
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mezzotint.errors import BadInput, RunFailed

_PATIENCE_SECONDS = 0.1  # between two tries for a lock

if sys.platform == "win32":
    import msvcrt

    def _try(file: BinaryIO) -> None:
        file.seek(1 << 20)  # Windows forbids reading locked bytes, and the holder's name is at the start
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def home() -> Path:
    """Return the folder of everything that can be made again: $MEZZOTINT_HOME, else ~/.cache/mezzotint."""
    return Path(os.environ.get("MEZZOTINT_HOME") or "~/.cache/mezzotint").expanduser().absolute()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into `RunFailed`, one line that names `path`."""
    try:
        yield
    except OSError as error:
        raise RunFailed(f"{path}: can't be written ({error.strerror or error})") from error


def sync(path: Path) -> None:
    """Wait until the disk has a file's content, or the names in a folder."""
    if os.name == "nt" and path.is_dir():
        return  # Windows keeps the names by itself and opens no folders
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- Files -----------------------------------------------------------------------------------------------------


@contextmanager
def whole_file(path: Path, durable: bool = True) -> Iterator[Path]:
    """Give a temporary file to write, which becomes `path` if the block ends well, and vanishes if it doesn't.

    Any number of processes may write one path: the last one wins. `durable` waits until the disk has it; without
    that a power failure may lose it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        if durable:
            sync(temporary)
        os.replace(temporary, path)
        if durable:
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, durable: bool = True) -> None:
    """Write a file whole or not at all; `RunFailed` where the disk refuses."""
    with writing(path), whole_file(path, durable) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all; `RunFailed` where the disk refuses."""
    write_bytes(path, text.encode())


# --- Folders ---------------------------------------------------------------------------------------------------


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which becomes `path` if the block ends well, and vanishes if it doesn't.

    A folder that is there already is replaced. Only one process at a time may do so: hold a lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    recover(path)
    temporary, replaced = _unfinished(path)
    try:
        temporary.mkdir()
        yield temporary
        for part in (*temporary.rglob("*"), temporary):
            sync(part)
        if path.exists():  # a folder can't be renamed onto another: step aside, `recover` removes or restores it
            path.rename(replaced)
        temporary.rename(path)
        sync(path.parent)
    finally:
        recover(path)


def recover(path: Path) -> None:
    """Undo what a killed `whole_folder` left half done: remove the unfinished, put the replaced back."""
    temporary, replaced = _unfinished(path)
    shutil.rmtree(temporary, ignore_errors=True)
    if replaced.exists() and not path.exists():
        replaced.rename(path)
    shutil.rmtree(replaced, ignore_errors=True)


def recover_all(folder: Path) -> None:
    """`recover` whatever was to appear in a folder, files too; only where nobody else writes meanwhile."""
    for unfinished in (*folder.glob(".tmp-*"), *folder.glob(".replaced-*")):
        if unfinished.is_dir():
            recover(folder / unfinished.name.partition("-")[2])
        else:
            unfinished.unlink(missing_ok=True)  # the folder it belonged to may just have taken it away


def _unfinished(path: Path) -> tuple[Path, Path]:
    """Names beside a folder: the one under which it is filled, and the one of the folder that it replaces."""
    return path.with_name(f".tmp-{path.name}"), path.with_name(f".replaced-{path.name}")


# --- One process at a time -------------------------------------------------------------------------------------


@contextmanager
def locked(path: Path, refusal: Callable[[str], str] | None = None) -> Iterator[None]:
    """Hold the lock file `path`, which the system frees if this process dies; wait while another process holds it.

    With `refusal` there is no waiting, but `BadInput` with what it makes of the holder ("process 7 on host").
    """
    while isinstance(file := _take(path), str):
        if refusal is not None:
            raise BadInput(refusal(file))
        time.sleep(_PATIENCE_SECONDS)
    with file:
        with writing(path):
            file.truncate(0)
            file.seek(0)
            file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
            file.flush()
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no open files; one that stays is no hindrance
                path.unlink()


def _take(path: Path) -> BinaryIO | str:
    """Return the lock file, locked, or the name of the process that holds it."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            _try(file)
        except (BlockingIOError, PermissionError):
            with file:
                return _holder(file)
        if _is_at(path, file):
            return file
        file.close()
    return _take(path)


def _is_at(path: Path, file: BinaryIO) -> bool:
    """Whether a lock file is still the one at its path: its last holder may have removed it after we opened it."""
    try:
        return os.name == "nt" or os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _holder(file: BinaryIO) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read(4096))
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"  # it has the lock and has not yet written its name
