"""Fetching a file over HTTP: gone on with where it broke off, checked, and only then given its name."""

import shutil
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.response import addinfourl

from mezzotint.disk import locked, sync, writing
from mezzotint.errors import BadInput, RunFailed

_BLOCK_BYTES = 1 << 20
_MB = 1_000_000
_PATIENCE_SECONDS = 30
_PARTIAL, _NOTHING_LEFT = 206, 416  # HTTP: part of the file follows; the part asked for begins at its end


@dataclass(frozen=True, slots=True)
class Fetched:
    """How much of a file has come: bytes, those of earlier tries included, and its size if the server says so."""

    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Download:
    """A file to fetch from `url` to `path`.

    `check` raises `BadInput` where what has come isn't the file. Of the rest errors are made: `absent` says what is
    missing, `instead` what a person can do about it, `again` which command goes on after an interruption. Beside the
    file `unpacked` times as much must fit on the disk: what will be made of it.
    """

    url: str
    path: Path
    check: Callable[[Path], object]
    absent: str
    instead: str
    again: str
    unpacked: int = 0

    @property
    def part(self) -> Path:
        """Where what has come lies until all of it has."""
        return self.path.with_name(f"{self.path.name}.part")

    def fetch(self) -> Iterator[Fetched]:
        """Fetch it unless it is there, going on where an earlier try was interrupted; yield how much has come.

        What has come becomes the file only if it is right, and else vanishes. Raises `BadInput` where it can't be
        reached, doesn't fit on the disk or is wrong, `RunFailed` if the connection breaks or the disk is full.
        Processes wait for each other.
        """
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            if self.path.is_file():
                return
            yield from self._arriving()
            try:
                self.check(self.part)
            except BadInput:
                self.part.unlink()
                raise
            with writing(self.path):
                sync(self.part)
                self.part.replace(self.path)

    def _arriving(self) -> Iterator[Fetched]:
        start = self.part.stat().st_size if self.part.is_file() else 0
        with self._answer(start) as answer:
            if answer.status == _NOTHING_LEFT:
                return  # the check will tell whether that is all
            done = start if answer.status == _PARTIAL else 0
            length = answer.headers.get("Content-Length")
            total = done + int(length) if length else None
            self._fits(done, total or done)
            with writing(self.part), self.part.open("ab" if done else "wb") as file:
                yield Fetched(done, total)
                for block in self._blocks(answer):
                    file.write(block)
                    done += len(block)
                    yield Fetched(done, total)

    def _fits(self, done: int, total: int) -> None:
        wanted, free = total * (1 + self.unpacked) - done, shutil.disk_usage(self.path.parent).free
        if wanted > free:
            more = ", unpacking included" if self.unpacked else ""
            raise BadInput(
                f"{self.path.parent}: {free / _MB:,.0f} MB are free, {wanted / _MB:,.0f} MB are needed for {self.url}"
                f"{more}; free some, or set MEZZOTINT_HOME to a folder on a larger disk"
            )

    def _answer(self, start: int) -> addinfourl:
        request = urllib.request.Request(self.url, headers={"Range": f"bytes={start}-"} if start else {})
        try:
            return urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS)
        except HTTPError as error:
            if error.code == _NOTHING_LEFT:
                return error
            raise self._unreachable(error) from None
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> BadInput:
        return BadInput(f"{self.absent}, and {self.url} can't be fetched ({error}): {self.instead}")

    def _blocks(self, answer: addinfourl) -> Iterator[bytes]:
        """Yield the bytes of an answer; `RunFailed` if they end too early."""
        came, promised = 0, answer.headers.get("Content-Length")
        problem: object = "the connection was closed"
        try:
            while block := answer.read(_BLOCK_BYTES):
                came += len(block)
                yield block
        except (OSError, HTTPException) as error:
            problem, promised = error, "more"
        if promised is not None and str(came) != promised:
            raise RunFailed(f"{answer.url}: interrupted ({problem}); what has come is kept: {self.again} goes on")
