"""Folders that appear whole or not at all, made by one process at a time."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mezzotint.errors import BadInput, RunFailed


@contextmanager
def locked(destination: Path, wait: bool) -> Iterator[None]:
    """Be the only process that makes `destination`; a second one waits, or is refused with `BadInput`.

    The system drops the lock of a process that dies.
    """
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(destination.with_name(f".{destination.name}.lock"), timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout:
        raise BadInput(f"{destination}: another process is preparing it now; wait for it to end") from None
    except OSError as error:
        raise BadInput(f"{destination}: can't be made there ({error.strerror})") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextmanager
def appearing(destination: Path) -> Iterator[Path]:
    """Fill a temporary sibling that becomes `destination` if the block ends well, and vanishes if it doesn't.

    What an interrupted process left there is removed first, so this belongs inside `locked`.
    """
    temporary = destination.with_name(f".{destination.name}.preparing")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        yield temporary
        for part in (*temporary.iterdir(), temporary):
            _sync(part)
        temporary.rename(destination)
        _sync(destination.parent)
    except OSError as error:
        raise RunFailed(f"{destination}: can't be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    """Make sure that a file, or a folder's list of names, is on the disk and not only in memory."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no handles for folders
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
