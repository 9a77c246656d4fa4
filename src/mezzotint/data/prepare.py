"""Preparing: from a source to a pack, once; every picture decoded, cropped, resized, or named with why it wasn't."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from mezzotint.data.crops import CROPS, Center, Crop
from mezzotint.data.decode import Decoded, Decoder, Filter, Skipped, decode_all
from mezzotint.data.pack import Origin, Pack, SkippedName
from mezzotint.data.sources import SOURCES, Item, Listing, Source
from mezzotint.data.sources.digits import Digits
from mezzotint.data.writing import PackWriter
from mezzotint.disk import home, locked, whole_folder, writing
from mezzotint.errors import BadInput, nearest
from mezzotint.options import Choice, Count, Options
from mezzotint.seeds import mix, shuffled

_SUBSET = ("classes", "limit", "fraction")  # options that leave pictures of a source out
_LATER = ("classes", "fraction", "subset_seed")  # not in the names of packs that were prepared before they came
_ITEMS = 256  # decoded between two records of progress
_MOST_NAMES = 1000  # of skipped items in pack.json; the counts are always whole


class DataOptions(Options):
    """Which pictures to learn from, and what a pack makes of them."""

    source: Annotated[Source, Choice(SOURCES)] = Field(
        default_factory=Digits, description="kind of place the pictures come from"
    )
    path: Path | None = Field(
        default=None, description="file, folder or pattern that the source reads; null for digits"
    )
    pack: Path | None = Field(default=None, description="a prepared folder, used instead of source and path")
    split: str = Field(default="train", description="part of the source: train, test, all, or a name of its own")
    image_size: int = Field(
        default=32, ge=8, le=512, description="height and width of the prepared pictures, in pixels"
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1 makes all gray, 3 all RGB; null: 1 if every picture is gray, else 3"
    )
    crop: Annotated[Crop, Choice(CROPS)] = Field(default=Center(), description="which part of a picture is used")
    filter: Filter = Field(default="lanczos", description="resampling filter, always antialiased")
    classes: tuple[int | str, ...] = Field(
        default=(), description="use only these classes, by name or number from 0; empty: all"
    )
    limit: Count | None = Field(default=None, ge=1, description="use only this many pictures, a fixed random choice")
    fraction: float | None = Field(default=None, gt=0, le=1, description="use only this part of the pictures")
    subset_seed: int = Field(default=0, ge=0, description="another seed, another choice by limit or fraction")
    held_out: float = Field(
        default=0.02, ge=0, le=0.5, description="fraction never trained on, for the validation loss; chosen by content"
    )

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.limit is not None and self.fraction is not None:
            raise ValueError(f"limit={self.limit} and fraction={self.fraction} both say how many; give one of them")
        return self


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a preparation is, in pictures; `skipped` are among the `done`."""

    done: int
    total: int
    skipped: int


def prepare(options: DataOptions, destination: Path) -> Iterator[Progress | Pack]:
    """Prepare a source into a new folder, yielding progress and, last, the pack.

    The folder appears whole at the end, or not at all. Raises `BadInput` if it exists, is being made by another
    process, or if no picture can be used.
    """
    destination = destination.expanduser().absolute()
    listing = _listing(options)
    refusal = f"{destination}: another process is preparing it now; wait for it to end"
    with locked(_lock(destination), lambda _: refusal):
        if destination.exists():
            raise BadInput(f"{destination}: exists already; choose another folder or delete this one")
        yield from _build(options, listing, destination)
    yield Pack.open(destination)


def ensure_pack(options: DataOptions, on_progress: Callable[[Progress], None] | None = None) -> Pack:
    """Open the pack these options name, or prepare their source, once, into `$MEZZOTINT_HOME/packs`.

    Processes that ask for the same pack at the same time wait for the one that prepares it.
    """
    if options.pack is not None:
        return _given(options, options.pack.expanduser())
    listing = _listing(options)
    destination = home() / "packs" / _name(options, listing)
    if not destination.exists():
        with locked(_lock(destination)):
            records = iter(()) if destination.exists() else _build(options, listing, destination)
            for progress in records:
                if on_progress is not None:
                    on_progress(progress)
    return Pack.open(destination)


def _lock(destination: Path) -> Path:
    return destination.with_name(f".{destination.name}.lock")


# --- Which pictures, which pack --------------------------------------------------------------------------------


def _given(options: DataOptions, path: Path) -> Pack:
    pack = Pack.open(path)
    for name in _SUBSET:
        if getattr(options, name) not in (None, ()):
            raise BadInput(f"data.{name}: {path} is a pack and used whole; give it to `mezzotint data prepare`")
    for name, has in (("image_size", pack.image_size), ("channels", pack.channels)):
        wanted = getattr(options, name)
        if wanted not in (None, has):
            raise BadInput(f"data.pack: {path} has {name} {has}, the options ask for {wanted}; set data.{name}={has}")
    return pack


def _listing(options: DataOptions) -> Listing:
    listing = options.source.open(options.path, options.split)
    if listing.count == 0:
        raise BadInput(f"data.path: {options.path} holds no pictures")
    return listing


def _kind(options: DataOptions) -> str:
    return Choice(SOURCES).name_of(options.source)


def _name(options: DataOptions, listing: Listing) -> str:
    """Name a pack after all that decides its content."""
    idle = [key for key in _LATER if getattr(options, key) == type(options).model_fields[key].default]
    tree = {key: value for key, value in options.tree().items() if key not in ("path", "pack", "held_out", *idle)}
    if tree["crop"].keys() == {"kind"}:
        tree["crop"] = tree["crop"]["kind"]
    text = json.dumps([tree, listing.identity], sort_keys=True)
    return f"{_kind(options)}-{options.image_size}px-{sha256(text.encode()).hexdigest()[:12]}"


def _chosen(options: DataOptions, listing: Listing, classes: Mapping[int, int]) -> np.ndarray:
    """Choose which items to read, ascending: of the classes wanted, then as many as wanted.

    A smaller number chooses a subset of a larger one's.
    """
    among = np.arange(listing.count)
    if classes:  # one pass over the items: labels are known by reading them, and nothing is decoded
        among = among[[item.label in classes for item in listing.read(among)]]
        if not len(among):
            raise BadInput(
                f"data.classes: split {options.split} has no picture of {', '.join(map(str, options.classes))}"
            )
    count = options.limit or len(among)
    if options.fraction is not None:
        count = max(1, round(options.fraction * len(among)))
    if count >= len(among):
        return among
    words = ("limit", options.subset_seed) if options.subset_seed else ("limit",)
    return among[np.sort(shuffled(len(among), mix(*words), 0, count))]


def _classes(options: DataOptions, listing: Listing) -> dict[int, int]:
    """Map the source's number of every class wanted to its number in the pack, in the source's order; all: empty."""
    names = listing.class_names
    if options.classes and not names:
        raise BadInput(f"data.classes: the pictures have no classes; got {', '.join(map(str, options.classes))}")
    wanted = sorted({_class_number(given, names) for given in options.classes})
    return {number: place for place, number in enumerate(wanted)}


def _class_number(given: int | str, names: tuple[str, ...]) -> int:
    if isinstance(given, str):
        if given not in names:
            raise BadInput(f"data.classes: there is no class {given!r}; {nearest(given, names)}")
        return names.index(given)
    if not 0 <= given < len(names):
        raise BadInput(f"data.classes: there is no class number {given}, only 0 to {len(names) - 1}")
    return given


# --- Building ------------------------------------------------------------------------------------------------


class _Tally:
    """What happened to the items so far."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.names: list[SkippedName] = []

    def skip(self, item: Skipped) -> None:
        self.skipped[item.reason] += 1
        if len(self.names) < _MOST_NAMES:
            self.names.append(SkippedName(name=item.name, reason=f"{item.reason}: {item.detail}"))


def _build(options: DataOptions, listing: Listing, destination: Path) -> Iterator[Progress]:
    """Decode all chosen items on a few threads (Pillow frees them from the interpreter's lock), in order."""
    classes = _classes(options, listing)
    chosen, tally, done = _chosen(options, listing, classes), _Tally(), 0
    size, grey = options.image_size, options.channels == 1
    decoder = Decoder(size, options.crop, options.filter, grey, len(listing.class_names))
    with (
        writing(destination),
        whole_folder(destination) as folder,
        PackWriter(folder, size, options.channels) as writer,
        ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads,
    ):
        for items in _groups(listing.read(chosen)):
            for result in decode_all(threads, decoder, items):
                _take(result, writer, tally, classes)
            done += len(items)
            yield Progress(done, len(chosen), tally.skipped.total())
        if not len(writer):
            raise BadInput(_all_bad(options, tally))
        names = tuple(listing.class_names[number] for number in classes) or listing.class_names
        writer.finish(_origin(options, listing, tally, len(chosen), names))


def _groups(items: Iterator[Item]) -> Iterator[list[Item]]:
    while group := list(islice(items, _ITEMS)):
        yield group


def _take(result: Decoded | Skipped, writer: PackWriter, tally: _Tally, classes: Mapping[int, int]) -> None:
    if isinstance(result, Skipped):
        tally.skip(result)
        return
    tally.notes.update(result.notes)
    label = result.label
    writer.add(result.pixels, label if label is None or not classes else classes[label])


def _all_bad(options: DataOptions, tally: _Tally) -> str:
    counts = ", ".join(f"{count} {reason}" for reason, count in tally.skipped.most_common())
    first = tally.names[0]
    return f"data.path: none of the pictures in {options.path} can be used ({counts}); {first.name} is {first.reason}"


def _origin(
    options: DataOptions, listing: Listing, tally: _Tally, offered: int, class_names: tuple[str, ...]
) -> Origin:
    return Origin(
        source={"kind": _kind(options), **options.source.tree()},
        provenance=dict(listing.provenance),
        split=options.split,
        crop=_in_words(options.crop),
        filter=options.filter,
        class_names=class_names,
        offered=offered,
        skipped=dict(tally.skipped.most_common()),
        skipped_names=tuple(tally.names),
        notes=dict(tally.notes.most_common()),
    )


def _in_words(crop: Crop) -> str:
    name, options = Choice(CROPS).name_of(crop), crop.told()
    return f"{name} ({options})" if options else name
