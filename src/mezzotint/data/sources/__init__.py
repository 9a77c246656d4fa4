"""Where pictures come from: one file per source. A source lists what it has, then reads any of it in order.

Adding a source is adding a file with an `Options` subclass named like it and one method, `open`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np

from mezzotint.errors import BadInput, nearest
from mezzotint.options import Options
from mezzotint.registry import Folder

SOURCES = Folder("mezzotint.data.sources", "source")
_VALIDATION = ("validation", "valid", "val")
SPLIT_WORDS = ("train", "test", *_VALIDATION)


@dataclass(frozen=True, slots=True)
class Item:
    """One picture as found: encoded bytes, a file that holds them, or uint8 [H, W] or [H, W, 3].

    box: x, y (of the left upper corner), width and height of what the picture shows, in its own pixels.
    """

    name: str
    label: int | None
    content: bytes | Path | np.ndarray
    box: tuple[float, float, float, float] | None = None


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


@dataclass(frozen=True, slots=True)
class Original:
    """A file as the data set's authors publish it: its address, its size in bytes (0: unknown), its MD5 if known."""

    url: str
    size: int = 0
    md5: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a published data set without having it.

    `pictures` counts each split; `size` is what must be downloaded, in bytes (about, where files are repacked);
    `layout` says what `data.path` must be. Written with literals alone: `mezzotint list` reads them from the text.
    """

    title: str
    pictures: Mapping[str, int]
    labels: str
    licence: str
    citation: str
    size: int
    layout: str
    originals: tuple[Original, ...]

    @property
    def wanted(self) -> str:
        """What `data.path` must be, and where to get it, as part of one line."""
        return f"{self.layout} (from {self.originals[0].url}, about {gigabytes(self.size)} in all)"


def gigabytes(count: int) -> str:
    """Bytes in decimal units, three digits: `162 MB`, `2.75 GB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


class Source(Options):
    """A kind of place that pictures come from, with its own options; published data sets have a card."""

    card: ClassVar[Card | None] = None

    def open(self, path: Path | None, split: str) -> Listing:
        """List the pictures of a split at a path; raise `BadInput` where there are none."""
        raise NotImplementedError(f"{type(self).__name__} must say how it is opened")


def chosen_splits(split: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the splits that `split` means, `all` meaning every one; raise `BadInput` that lists them.

    Data sets call their validation split val, valid or validation; any of these words is understood.
    """
    known = tuple(known)
    if split in _VALIDATION:
        split = next((name for name in known if name in _VALIDATION), split)
    if split not in (*known, "all"):
        raise BadInput(f"data.split: there is no split {split!r} here; {nearest(split, [*known, 'all'])}")
    return known if split == "all" else (split,)


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
