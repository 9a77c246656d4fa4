"""Find a published weights file, or fetch it once; nothing is used whose SHA-256 isn't the expected one."""

import os
import pickle
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mezzotint.disk import home, whole_file
from mezzotint.errors import BadInput


@dataclass(frozen=True)
class Published:
    """A weights file as its authors publish it: its name, its SHA-256 or the leading digits of it, its address."""

    file: str
    sha256: str
    url: str | None = None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _checked(path: Path, expected: Sequence[str]) -> Path:
    found = file_sha256(path)
    if not any(found.startswith(prefix) for prefix in expected):
        raise BadInput(f"{path}: wrong weights file, SHA-256 {found}, expected {' or '.join(expected)}")
    return path


def _fetch(published: Published, folder: Path, searched: Sequence[Path]) -> Path:
    path = folder / published.file
    try:
        with whole_file(path) as temporary:
            with urllib.request.urlopen(str(published.url), timeout=30) as answer, temporary.open("wb") as file:
                while block := answer.read(1 << 20):
                    file.write(block)
            _checked(temporary, [published.sha256])
    except (OSError, HTTPException) as error:
        raise BadInput(
            f"no weights file {published.file} in {', '.join(map(str, searched))}, and {published.url} can't be "
            f"fetched ({error}): put it there, or name it with the extractor's option `weights`"
        ) from None
    return path


def find_weights(given: Path | None, expected: str | None, published: Sequence[Published]) -> Path:
    """Return a checked weights file: the given one, else one of $MEZZOTINT_WEIGHTS or the cache, else fetched.

    `expected` (leading digits of a SHA-256) replaces the published hashes, for weights of one's own.
    """
    hashes = [expected] if expected else [file.sha256 for file in published]
    if given is not None:
        if not given.is_file():
            raise BadInput(f"weights: there is no file {given}")
        return _checked(given, hashes)
    cache = home() / "weights"
    folders = [Path(os.environ["MEZZOTINT_WEIGHTS"])] if os.environ.get("MEZZOTINT_WEIGHTS") else []
    for folder in [*folders, cache]:
        for file in published:
            if (folder / file.file).is_file():
                return _checked(folder / file.file, [expected or file.sha256])
    return _fetch(next(file for file in published if file.url), cache, [*folders, cache])


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from .safetensors or .pth; a .pth that holds anything but tensors is refused."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, SafetensorError) as error:
        raise BadInput(f"{path}: not a readable weights file ({str(error).partition(chr(10))[0]})") from None
    except pickle.UnpicklingError:
        raise BadInput(f"{path}: refused, it holds pickled objects besides tensors") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadInput(f"{path}: must hold named tensors only")
    return state
