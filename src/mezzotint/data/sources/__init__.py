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
    items at ascending int64 indices below `count`, in that order, holding few of them at a time. `shards` counts the
    items of each part that is read quickest from front to back, where a source is made of such: only those stream.
    """

    count: int
    class_names: tuple[str, ...]
    identity: str
    provenance: Mapping[str, str]
    read: Callable[[np.ndarray], Iterator[Item]]
    shards: tuple[int, ...] = ()

    def shard(self, number: int) -> "Shard":
        """Return one of the shards by itself."""
        begin, count = sum(self.shards[:number]), self.shards[number]
        return Shard(
            f"{self.identity} {number}", count, lambda start: self.read(np.arange(begin + start, begin + count))
        )


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a source: its name, how many items it holds (None: unknown before that), those from one on."""

    name: str
    count: int | None
    read: Callable[[int], Iterator[Item]]


@dataclass(frozen=True, slots=True)
class Flow:
    """What a source holds, to be read from where it lies while training; nothing of it is kept.

    `total` counts its items; None where that is unknown. `identity` changes when they do.
    """

    shards: tuple[Shard, ...]
    total: int | None
    class_names: tuple[str, ...]
    identity: str
    provenance: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Original:
    """A file as the data set's authors publish it: its address, its size in bytes (0: unknown), its MD5 if known.

    `splits` are those it is needed for, none meaning every one. A zip that can't be read in place is to `unpack`.
    """

    url: str
    size: int = 0
    md5: str | None = None
    splits: tuple[str, ...] = ()
    unpack: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a published data set without having it.

    `pictures` counts each split; `size` is what must be downloaded, in bytes (about, where files are repacked);
    `layout` says what `data.path` must be. Without one the `originals` are fetched, else the `hub`'s copy (an id, read
    through `datasets`); where there is neither, people fetch it from `pages`, which name other copies too.
    Written with literals alone: `mezzotint list` reads them from the text.
    """

    title: str
    pictures: Mapping[str, int]
    labels: str
    licence: str
    citation: str
    size: int
    layout: str
    originals: tuple[Original, ...] = ()
    hub: str | None = None
    pages: tuple[str, ...] = ()

    @property
    def wanted(self) -> str:
        """What `data.path` must be, and where to get it, as part of one line."""
        place = self.originals[0].url if self.originals else self.pages[0]
        return f"{self.layout} (from {place}, about {gigabytes(self.size)} in all)"


@dataclass(frozen=True, slots=True)
class Offer:
    """What is told of a data set before any of its pictures is fetched.

    `pictures` counts each split, None where that isn't told. `size` is what would be downloaded, in bytes, None where
    that isn't told; of a data set that is `here` it is what lies on the disk, and nothing is downloaded.
    """

    name: str
    pictures: Mapping[str, int | None]
    size: int | None
    here: bool
    licence: str | None
    columns: tuple[str, ...]
    image: str
    label: str | None
    class_names: tuple[str, ...]


def gigabytes(count: int) -> str:
    """Bytes in decimal units, three digits: `162 MB`, `2.75 GB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


class Source(Options):
    """A kind of place that pictures come from, with its own options; published data sets have a card.

    Sources of your own files have a `layout` instead: what `data.path` must be.
    """

    card: ClassVar[Card | None] = None
    layout: ClassVar[str | None] = None

    def open(self, path: Path | None, split: str) -> Listing:
        """List the pictures of a split at a path; raise `BadInput` where there are none."""
        raise NotImplementedError(f"{type(self).__name__} must say how it is opened")

    def stream(self, path: Path | None, split: str) -> Flow:
        """Return the shards of a split, unread; raise `BadInput` where the source isn't made of shards."""
        found = self.open(path, split)
        if not found.shards:
            raise BadInput("data.stream: these pictures are in no shards; prepare them, or choose hub or webdataset")
        shards = tuple(found.shard(number) for number, count in enumerate(found.shards) if count)
        return Flow(shards, found.count, found.class_names, found.identity, found.provenance)

    def originals(self, split: str) -> tuple[Original, ...]:
        """Return the published files that make up `data.path` for a split; none where they can't be fetched."""
        published = self.card.originals if self.card else ()
        known = list(dict.fromkeys(name for original in published for name in original.splits))
        wanted = chosen_splits(split, known) if known else ()
        return tuple(original for original in published if not original.splits or {*original.splits} & {*wanted})

    def offered(self, path: Path | None, split: str) -> Offer | None:
        """Return what is told of a split by whoever publishes it; None where nobody has to be asked."""
        return None

    def hub_copy(self) -> "Source | None":
        """Return the source that reads the hub's copy as these options ask, where originals can't be fetched."""
        return None


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
