"""Which rows of a stream a process reads, in which order: from any row on, for ever."""

from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path

import numpy as np

from mezzotint.data.loading import Turn
from mezzotint.data.sources import Flow, Item, Shard
from mezzotint.disk import home, write_text
from mezzotint.errors import RunFailed
from mezzotint.seeds import mix


class Rows:
    """The endless order of rows that one process reads: its own shards, in another order each time all were read."""

    def __init__(self, flow: Flow, seed: int, turn: Turn) -> None:
        self._seed, self._counts = seed, _Counts(flow.identity)
        parts = -(-turn.world // len(flow.shards))  # where there are fewer shards than processes they are divided
        pieces = [piece for shard in flow.shards for piece in _pieces(shard, parts)]
        order = philox(seed, "whose shards").permutation(len(pieces))
        self._shards = [pieces[place] for place in order[turn.rank :: turn.world].tolist()]

    def since(self, row: int) -> Iterator[Item]:
        """Yield the items from a row on; shards before it are passed over unread where their size is known."""
        epoch, left = self._epoch(row)
        while True:
            order = philox(self._seed, "order of shards", epoch).permutation(len(self._shards))
            passed = 0
            for shard in (self._shards[place] for place in order.tolist()):
                count = yield from self._from(shard, left)
                left, passed = max(0, left - count), passed + count
            if not passed:
                raise RunFailed("data.stream: its shards hold no rows")
            epoch += 1

    def _from(self, shard: Shard, start: int) -> "Iterator[Item]":
        """Yield a shard's items from one on; return how many it has, those before included."""
        size = self._counts.of(shard)
        if size is not None and size <= start:
            return size
        seen = 0 if size is None else start
        for item in shard.read(seen):
            seen += 1
            if seen > start:
                yield item
        self._counts.learn(shard, seen)
        return seen

    def _epoch(self, row: int) -> tuple[int, int]:
        """How often all shards were read before a row, and the row's place since; the whole way where sizes lack."""
        sizes = [self._counts.of(shard) for shard in self._shards]
        total = sum(size for size in sizes if size)
        return (0, row) if None in sizes or not total else divmod(row, total)


def philox(*words: int | str) -> np.random.Generator:
    """Return random numbers that follow from a path of numbers and names alone."""
    return np.random.Generator(np.random.Philox(mix(*words)))


def _pieces(shard: Shard, count: int) -> list[Shard]:
    """Divide a shard: piece k has rows k, k + count, ..."""

    def piece(first: int) -> Shard:
        def read(start: int) -> Iterator[Item]:
            return islice(shard.read(first + start * count), 0, None, count)

        size = None if shard.count is None else len(range(first, shard.count, count))
        return Shard(f"{shard.name} {first}/{count}", size, read)

    return [shard] if count == 1 else [piece(first) for first in range(count)]


class _Counts:
    """How many rows each shard has: as it says, or as was found when it was last read to its end."""

    def __init__(self, identity: str) -> None:
        self._folder = home() / "streams" / sha256(identity.encode()).hexdigest()[:16]
        self._known: dict[str, int | None] = {}

    def of(self, shard: Shard) -> int | None:
        if shard.name not in self._known:
            self._known[shard.name] = shard.count if shard.count is not None else self._written(shard)
        return self._known[shard.name]

    def learn(self, shard: Shard, count: int) -> None:
        if self.of(shard) is None:
            self._known[shard.name] = count
            write_text(self._file(shard), str(count))

    def _written(self, shard: Shard) -> int | None:
        try:
            return int(self._file(shard).read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def _file(self, shard: Shard) -> Path:
        return self._folder / sha256(shard.name.encode()).hexdigest()[:16]
