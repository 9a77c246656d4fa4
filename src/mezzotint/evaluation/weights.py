"""Find a published weights file, or fetch it once; nothing is used whose SHA-256 isn't the expected one."""

import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mezzotint.disk import home
from mezzotint.download import Download, Fetched
from mezzotint.errors import BadInput

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Published:
    """A weights file as its authors publish it: its name, its SHA-256 or the leading digits of it, its address."""

    file: str
    sha256: str
    url: str | None = None


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
    yield from Download(
        url=str(file.url),
        path=cache_folder() / file.file,
        check=lambda path: _checked(path, [file.sha256]),
        absent=f"no weights file {file.file} in {', '.join(map(str, weights_folders()))}",
        instead=f"put it there, or name it with the {name} extractor's option `weights`",
        again=f"`mezzotint weights fetch {name}`",
    ).fetch()


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
