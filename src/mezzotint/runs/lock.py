"""One process at a time: an operating system lock on a file, gone with the process that held it."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mezzotint.errors import BadInput
from mezzotint.runs.files import writing

if sys.platform == "win32":
    import msvcrt

    def _take(file: BinaryIO) -> None:
        file.seek(1 << 20)  # Windows forbids reading locked bytes, and the holder's name is at the start
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(file: BinaryIO) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read(4096))
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"  # it has the lock and has not yet written its name


@contextmanager
def locked(path: Path, what: Path) -> Iterator[None]:
    """Hold the lock file `path` on behalf of `what`; `BadInput` names the process that holds it already."""
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    with os.fdopen(descriptor, "r+b") as file:
        with writing(path):
            try:
                _take(file)
            except (BlockingIOError, PermissionError):
                raise BadInput(f"{what}: in use by {_holder(file)}; wait for it or stop it") from None
            # The file stays: removing it would let a third process lock a new one while a second holds the old.
            file.truncate(0)
            file.seek(0)
            file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
            file.flush()
        yield
