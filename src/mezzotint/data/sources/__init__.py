"""Where pictures come from: one file per source. A source lists what it has, then reads any of it in order.

Adding a source is adding a file with an `Options` subclass named like it and one method, `open`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from mezzotint.errors import BadInput, nearest
from mezzotint.options import Options
from mezzotint.registry import Folder

SOURCES = Folder("mezzotint.data.sources", "source")
SPLIT_WORDS = ("train", "test", "validation", "valid", "val")


@dataclass(frozen=True, slots=True)
class Item:
    """One picture as found: encoded bytes, a file that holds them, or uint8 [H, W] or [H, W, 3]."""

    name: str
    label: int | None
    content: bytes | Path | np.ndarray


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source holds, before anything is decoded.

    `class_names` is empty where there are no labels. `identity` changes when the files do. `read` yields the
    items at ascending int64 indices below `count`, in that order, holding few of them at a time.
    """

    count: int
    class_names: tuple[str, ...]
    identity: str
    provenance: Mapping[str, str]
    read: Callable[[np.ndarray], Iterator[Item]]


class Source(Options):
    """A kind of place that pictures come from, with its own options."""

    def open(self, path: Path | None, split: str) -> Listing:
        """List the pictures of a split at a path; raise `BadInput` where there are none."""
        raise NotImplementedError(f"{type(self).__name__} must say how it is opened")


def existing(path: Path | None, wanted: str) -> Path:
    """Return an absolute path that exists; raise `BadInput` that says what `data.path` must be, and what is near."""
    if path is None:
        raise BadInput(f"data.path: is not set, must be {wanted}")
    path = path.expanduser().absolute()
    try:
        if path.exists():
            return path
        siblings = [entry.name for entry in path.parent.iterdir()][:1000] if path.parent.is_dir() else None
    except (OSError, ValueError) as error:
        raise BadInput(f"data.path: {path} can't be read ({error})") from None
    if siblings is None:
        raise BadInput(f"data.path: {path.parent} is not a folder, must be {wanted}")
    raise BadInput(f"data.path: {path} does not exist, must be {wanted}; beside it: {_few(path.name, siblings)}")


def _few(name: str, siblings: list[str]) -> str:
    hint = nearest(name, siblings)
    return hint if len(hint) < 200 else f"there are {len(siblings)} others"


def fingerprint(files: Iterable[Path]) -> str:
    """Digest of absolute paths, sizes (bytes) and modification times (ns): cheap, and changes when the files do."""
    digest = sha256()
    for file in files:
        try:
            found = file.stat()
            digest.update(f"{file}\0{found.st_size}\0{found.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        except OSError:
            digest.update(f"{file}\0missing\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def printable(name: object) -> str:
    """A path or name as text that any file can hold: bytes that are no UTF-8 become question marks."""
    return str(name).encode("utf-8", "replace").decode()
