"""Preparing: from a source to a pack, once; every picture decoded, cropped, resized, or named with why it wasn't."""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import numpy as np
from pydantic import Field, model_validator

from mezzotint.data.building import Progress, Work, build
from mezzotint.data.crops import CROPS, Center, Crop
from mezzotint.data.decode import Decoder, Filter
from mezzotint.data.originals import fetch
from mezzotint.data.pack import Origin, Pack
from mezzotint.data.sources import SOURCES, Listing, Source
from mezzotint.data.sources.digits import Digits
from mezzotint.disk import home, locked
from mezzotint.errors import BadInput, nearest
from mezzotint.options import Choice, Count, Options
from mezzotint.seeds import mix, shuffled

_T = TypeVar("_T")
_SUBSET = ("classes", "limit", "fraction")  # options that leave pictures of a source out
_NO_CONTENT = ("path", "pack", "held_out", "stream", "shuffle_buffer")  # change nothing in a pack
_LATER = ("classes", "fraction", "subset_seed")  # not in the names of packs that were prepared before they came


class DataOptions(Options):
    """Which pictures to learn from, and what a pack makes of them."""

    source: Annotated[Source, Choice(SOURCES)] = Field(
        default_factory=Digits, description="kind of place the pictures come from"
    )
    path: Path | None = Field(
        default=None, description="file, folder or pattern that the source reads; null: what is published is fetched"
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
    stream: bool = Field(
        default=False, description="read hub, parquet or webdataset while training, for what is too large to prepare"
    )
    shuffle_buffer: int = Field(
        default=2048, ge=1, le=2**20, description="streamed images that are shuffled together; two as many are kept"
    )

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.limit is not None and self.fraction is not None:
            raise ValueError(f"limit={self.limit} and fraction={self.fraction} both say how many; give one of them")
        return self

    @model_validator(mode="after")
    def _streams_whole(self) -> Self:
        given = [name for name in ("pack", *_SUBSET) if getattr(self, name) not in (None, ())]
        if self.stream and given:
            raise ValueError(f"stream=true reads all of a source as it is; leave {', '.join(given)} out")
        return self

    def decoder(self, num_classes: int) -> Decoder:
        """Return how pictures become squares."""
        return Decoder(self.image_size, self.crop, self.filter, self.channels == 1, num_classes)


def prepare(options: DataOptions, destination: Path) -> Iterator[Progress | Pack]:
    """Prepare a source into a new folder, yielding progress and, last, the pack; what isn't here is fetched before.

    The folder appears whole at the end, or not at all. Raises `BadInput` if it exists, is being made by another
    process, or if no picture can be used.
    """
    destination = destination.expanduser().absolute()
    refusal = f"{destination}: another process is preparing it now; wait for it to end"
    with locked(_lock(destination), lambda _: refusal):
        if destination.exists():
            raise BadInput(f"{destination}: exists already; choose another folder or delete this one")
        listing = yield from opened(options)
        yield from build(work_of(options, listing), destination)
    yield Pack.open(destination, check=False)  # all of it was read back and hashed a moment ago


def ensure_pack(options: DataOptions, on_progress: Callable[[Progress], None] | None = None) -> Pack:
    """Open the pack these options name, or prepare their source, once, into `$MEZZOTINT_HOME/packs`.

    Processes that ask for the same pack at the same time wait for the one that prepares it.
    """
    if options.pack is not None:
        return _given(options, options.pack.expanduser())
    return shown(_ensured(options), on_progress)


def _ensured(options: DataOptions) -> Generator[Progress, None, Pack]:
    listing = yield from opened(options)
    return (yield from in_cache(pack_name(options, listing), lambda: work_of(options, listing)))


def in_cache(name: str, work: Callable[[], Work]) -> Generator[Progress, None, Pack]:
    """Open the pack of this name among those that can be made again, or build it."""
    destination = home() / "packs" / name
    if not destination.exists():
        with locked(_lock(destination)):
            if not destination.exists():
                yield from build(work(), destination)
    return Pack.open(destination)


def shown(records: Generator[Progress, None, _T], on_progress: Callable[[Progress], None] | None) -> _T:
    """Run a generator to its end, telling what it yields, and return what it returns."""
    while True:
        try:
            record = next(records)
        except StopIteration as end:
            return end.value
        if on_progress is not None:
            on_progress(record)


def _lock(destination: Path) -> Path:
    return destination.with_name(f".{destination.name}.lock")


def opened(options: DataOptions) -> Generator[Progress, None, Listing]:
    """List the pictures that options name; what is published and not here is fetched first."""
    source, path = options.source, options.path
    if path is None:
        path = yield from fetch(source, options.split)
        source = (source.hub_copy() if path is None else None) or source
    listing = source.open(path, options.split)
    if listing.count == 0:
        raise BadInput(f"data.path: {path} holds no pictures")
    return listing


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


def _kind(options: DataOptions) -> str:
    return Choice(SOURCES).name_of(options.source)


def pack_name(options: DataOptions, listing: Listing) -> str:
    """Name a pack after all that decides its content."""
    idle = [key for key in _LATER if getattr(options, key) == type(options).model_fields[key].default]
    tree = {key: value for key, value in options.tree().items() if key not in (*_NO_CONTENT, *idle)}
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


def work_of(options: DataOptions, listing: Listing) -> Work:
    """Return what is to be built from a listing."""
    classes = _classes(options, listing)
    return Work(
        pack_name(options, listing),
        listing,
        _chosen(options, listing, classes),
        classes,
        options.decoder(len(listing.class_names)),
        options.channels,
        _about(options, listing, tuple(listing.class_names[number] for number in classes) or listing.class_names),
    )


def _about(options: DataOptions, listing: Listing, class_names: tuple[str, ...]) -> Origin:
    return Origin(
        source={"kind": _kind(options), **options.source.tree()},
        provenance=dict(listing.provenance),
        split=options.split,
        crop=_in_words(options.crop),
        filter=options.filter,
        class_names=class_names,
        offered=0,
        skipped={},
        skipped_names=(),
        notes={},
    )


def _in_words(crop: Crop) -> str:
    name, options = Choice(CROPS).name_of(crop), crop.told()
    return f"{name} ({options})" if options else name
