"""Building a pack: every chosen item decoded and written, or counted with why it wasn't; gone on with after a kill."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import PIL

from mezzotint.data.decode import Decoded, Decoder, Skipped, decode_ahead
from mezzotint.data.pack import Origin, SkippedName
from mezzotint.data.sources import Item, Listing
from mezzotint.data.writing import Journal, PackWriter, journal, unfinished
from mezzotint.disk import writing
from mezzotint.errors import BadInput

_ITEMS = 256  # decoded between two records of progress
_JOURNAL_SECONDS = 5.0  # at most so much work is lost by a kill
_MOST_NAMES = 1000  # of skipped items in pack.json; the counts are always whole


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a preparation is, in pictures, `skipped` among the `done`; or a file that is fetched before, in MB.

    `note` is a line to show once, when it begins.
    """

    done: int
    total: int | None
    skipped: int = 0
    what: str = "prepare"
    unit: str = "images"
    note: str = ""


@dataclass(frozen=True)
class Work:
    """What becomes a pack: the items of a listing at `chosen`, decoded, with classes renumbered if any are named.

    `about` is the pack's origin but for the counts; `name` tells works apart that make different packs.
    """

    name: str
    listing: Listing
    chosen: np.ndarray
    classes: Mapping[int, int]
    decoder: Decoder
    channels: Literal[1, 3] | None
    about: Origin

    @property
    def key(self) -> str:
        """What an unfinished pack must be of to be gone on with."""
        return f"{self.name} by Pillow {PIL.__version__}"


class _Tally:
    """What happened to the items so far."""

    def __init__(self, start: Journal) -> None:
        self.done = start.done
        self.skipped: Counter[str] = Counter(start.skipped)
        self.notes: Counter[str] = Counter(start.notes)
        self.names: list[SkippedName] = list(start.names)

    def skip(self, item: Skipped) -> None:
        self.skipped[item.reason] += 1
        if len(self.names) < _MOST_NAMES:
            self.names.append(SkippedName(name=item.name, reason=f"{item.reason}: {item.detail}"))

    def journal(self, key: str) -> Journal:
        return Journal(key=key, done=self.done, skipped=self.skipped, notes=self.notes, names=tuple(self.names))


def build(work: Work, destination: Path) -> Iterator[Progress]:
    """Decode all chosen items on a few threads (Pillow frees them from the interpreter's lock), in order.

    What a killed process has journaled isn't made again. Raises `BadInput` where no picture can be used, `RunFailed`
    where the disk is full; either leaves nothing.
    """
    with (
        writing(destination),
        unfinished(destination) as folder,
        PackWriter(folder, work.decoder.size, work.channels, start := _start(work, folder)) as writer,
        ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads,
    ):
        tally, marked_at = _Tally(start), time.monotonic()
        groups = _groups(work.listing.read(work.chosen[start.done :]))
        for results in decode_ahead(threads, work.decoder, groups):
            for result in results:
                _take(result, writer, tally, work.classes)
            tally.done += len(results)
            if time.monotonic() - marked_at >= _JOURNAL_SECONDS:
                writer.mark(tally.journal(work.key))
                marked_at = time.monotonic()
            yield Progress(tally.done, len(work.chosen), tally.skipped.total())
        if not len(writer):
            raise BadInput(_all_bad(work.about, tally))
        writer.finish(_origin(work, tally))


def _start(work: Work, folder: Path) -> Journal:
    return journal(folder, work.key, work.decoder.size)


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


def _all_bad(about: Origin, tally: _Tally) -> str:
    counts = ", ".join(f"{count} {reason}" for reason, count in tally.skipped.most_common())
    first, place = tally.names[0], about.provenance.get("path", "this source")
    return f"data.path: none of the pictures in {place} can be used ({counts}); {first.name} is {first.reason}"


def _origin(work: Work, tally: _Tally) -> Origin:
    counts = {
        "offered": len(work.chosen),
        "skipped": dict(tally.skipped.most_common()),
        "skipped_names": tuple(tally.names),
        "notes": dict(tally.notes.most_common()),
    }
    return work.about.model_copy(update=counts)
