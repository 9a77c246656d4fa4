"""Find a published weights file, or fetch it once; nothing is used whose SHA-256 isn't the expected one."""

import os
import pickle
import urllib.request
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.response import addinfourl

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mezzotint.disk import home, locked, sync, writing
from mezzotint.errors import BadInput, RunFailed

_BLOCK_BYTES = 1 << 20
_PATIENCE_SECONDS = 30
_PARTIAL, _NOTHING_LEFT = 206, 416  # HTTP: part of the file follows; the part asked for begins at its end


@dataclass(frozen=True)
class Published:
    """A weights file as its authors publish it: its name, its SHA-256 or the leading digits of it, its address."""

    file: str
    sha256: str
    url: str | None = None


@dataclass(frozen=True)
class Fetched:
    """How much of a file has come: bytes, those of earlier tries included, and its size if the server says so."""

    done: int
    total: int | None


# --- On disk ----------------------------------------------------------------------------------------------------


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Return the folder where fetched weights are kept."""
    return home() / "weights"


def weights_folders() -> list[Path]:
    """Return the folders where weights are looked for: $MEZZOTINT_WEIGHTS if it is set, then the cache."""
    named = os.environ.get("MEZZOTINT_WEIGHTS")
    return [*([Path(named)] if named else []), cache_folder()]


def present(published: Sequence[Published]) -> Iterator[tuple[Path, Published]]:
    """Name the files that are there, in the order in which they are looked for."""
    for folder in weights_folders():
        for file in published:
            if (folder / file.file).is_file():
                yield folder / file.file, file


def _checked(path: Path, expected: Sequence[str]) -> Path:
    found = file_sha256(path)
    if not any(found.startswith(prefix) for prefix in expected):
        raise BadInput(f"{path}: wrong weights file, SHA-256 {found}, expected {' or '.join(expected)}")
    return path


def find_weights(name: str, published: Sequence[Published], given: Path | None, expected: str | None) -> Path:
    """Return a checked weights file: the given one, else one of $MEZZOTINT_WEIGHTS or the cache, else fetched.

    `expected` (leading digits of a SHA-256) replaces the published hashes, for weights of one's own.
    """
    hashes = [expected] if expected else [file.sha256 for file in published]
    if given is not None:
        if not given.is_file():
            raise BadInput(f"weights: there is no file {given}")
        if not hashes:
            raise BadInput(f"{name}: no hash is published; if you trust {given}, say sha256={file_sha256(given)}")
        return _checked(given, hashes)
    if not published:
        raise BadInput(f"{name}: no address is published; name a file with `weights` and its hash with `sha256`")
    if not any(present(published)):
        for _ in fetching(name, published):
            pass
    path, file = next(present(published))
    return _checked(path, [expected or file.sha256])


# --- Over the network -------------------------------------------------------------------------------------------


def fetching(name: str, published: Sequence[Published]) -> Iterator[Fetched]:
    """Fetch a file into the cache, going on where an earlier try was interrupted; yield how much has come.

    What has come lies in `<file>.part`, which becomes the file only if its SHA-256 is right and else vanishes.
    Raises `BadInput` if there is no way to fetch it or the hash is wrong, `RunFailed` if the connection breaks.
    """
    file = next((file for file in published if file.url), None)
    if file is None:
        raise BadInput(f"{name}: no address is published for {' or '.join(file.file for file in published)}")
    path = cache_folder() / file.file
    part = path.with_name(f"{path.name}.part")
    with locked(path.with_name(f".{path.name}.lock")):
        if path.is_file():  # another process has fetched it while this one waited
            return
        yield from _arriving(name, file, part)
        try:
            _checked(part, [file.sha256])
        except BadInput:
            part.unlink()
            raise
        with writing(path):
            sync(part)
            part.replace(path)


def _arriving(name: str, published: Published, part: Path) -> Iterator[Fetched]:
    start = part.stat().st_size if part.is_file() else 0
    with _answer(name, published, start) as answer:
        if answer.status == _NOTHING_LEFT:
            return  # the hash will tell whether that is all
        done = start if answer.status == _PARTIAL else 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else None
        with writing(part), part.open("ab" if done else "wb") as file:
            yield Fetched(done, total)
            for block in _blocks(name, answer):
                file.write(block)
                done += len(block)
                yield Fetched(done, total)


def _answer(name: str, published: Published, start: int) -> addinfourl:
    request = urllib.request.Request(str(published.url), headers={"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS)
    except HTTPError as error:
        if error.code == _NOTHING_LEFT:
            return error
        raise _unreachable(name, published, error) from None
    except (OSError, HTTPException) as error:
        raise _unreachable(name, published, error) from None


def _unreachable(name: str, published: Published, error: Exception) -> BadInput:
    return BadInput(
        f"no weights file {published.file} in {', '.join(map(str, weights_folders()))}, and {published.url} can't be "
        f"fetched ({error}): put it there, or name it with the {name} extractor's option `weights`"
    )


def _blocks(name: str, answer: addinfourl) -> Iterator[bytes]:
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
        raise RunFailed(
            f"{answer.url}: interrupted ({problem}); what has come is kept: `mezzotint weights fetch {name}` goes on"
        )


# --- Reading ----------------------------------------------------------------------------------------------------


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.partition("/")[2] == "constants.pkl" for name in archive.namelist())


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":
        return load_file(path)
    if _is_torchscript(path):  # OpenAI's CLIP: no Python in it, its own code isn't run
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            return dict(torch.jit.load(path, map_location="cpu").state_dict())
    return torch.load(path, map_location="cpu", weights_only=True)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from .safetensors, .pth or a TorchScript archive; objects besides tensors are refused."""
    try:
        state = _read(path)
    except (OSError, RuntimeError, EOFError, SafetensorError) as error:
        raise BadInput(f"{path}: not a readable weights file ({str(error).partition(chr(10))[0]})") from None
    except pickle.UnpicklingError:
        raise BadInput(f"{path}: refused, it holds pickled objects besides tensors") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadInput(f"{path}: must hold named tensors only")
    return state
