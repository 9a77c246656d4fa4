"""Blocks of a stream: rows decoded and shuffled together, the next block while the present one is used."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from mezzotint.data.decode import Decoded, Decoder, Skipped
from mezzotint.data.loading import Turn
from mezzotint.data.rows import Rows, philox
from mezzotint.data.sources import Item
from mezzotint.data.writing import picture_digest

_ITEMS = 256  # encoded pictures in memory at a time

Block = tuple[np.ndarray, np.ndarray | None]
"""Pixels uint8 [n, C, H, W] and labels int64 [n] or None."""


@dataclass(frozen=True)
class Rules:
    """What a block is made by: decoding, channels, size in rows, which pictures to leave out, and counting the bad.

    `spare` gives other pictures for a block in which none can be used.
    """

    decoder: Decoder
    channels: int
    size: int
    held_out: frozenset[bytes]
    skipped: Counter[str]
    spare: Callable[[int], Block]


class Blocks:
    """A process's rows as blocks, by number, of `rules.size` pictures each."""

    def __init__(self, rows: Rows, rules: Rules, seed: int) -> None:
        self._rows, self._rules, self._seed = rows, rules, seed
        self._items: Iterator[Item] = iter(())
        self._next = -1  # the number of the block that `_items` goes on with
        self._reader = ThreadPoolExecutor(1)
        self._decoders = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
        self._made: dict[int, Future[Block]] = {}

    def block(self, number: int) -> Block:
        """Return a block, and begin with the one after it."""
        self._made = {n: self._made.get(n) or self._reader.submit(self._make, n) for n in (number, number + 1)}
        return self._made[number].result()

    def _make(self, number: int) -> Block:
        """Read and shuffle a block; pictures come twice in the places of those left out, so that it is always full."""
        size = self._rules.size
        if number != self._next:
            self._items = self._rows.since(number * size)
        self._next = -1  # if this fails, nothing goes on from here
        good = self._good()
        self._next = number + 1
        if not good:
            return self._rules.spare(size)
        order = philox(self._seed, "block", number).permutation(np.resize(np.arange(len(good)), size))
        planes = (self._rules.channels, *good[0].pixels.shape[1:])
        pixels = np.stack([np.broadcast_to(picture.pixels, planes) for picture in good])
        labels = np.array([-1 if picture.label is None else picture.label for picture in good], np.int64)
        return pixels[order], labels[order] if self._rules.decoder.num_classes else None

    def _good(self) -> list[Decoded]:
        """Decode the next block's rows, without what can't be used and what is held out."""
        good: list[Decoded] = []
        for start in range(0, self._rules.size, _ITEMS):
            items = list(islice(self._items, min(_ITEMS, self._rules.size - start)))
            for result in self._decoders.map(self._rules.decoder, items):
                if isinstance(result, Skipped):
                    self._rules.skipped[result.reason] += 1
                elif picture_digest(result.pixels) not in self._rules.held_out:
                    good.append(result)
        return good


@dataclass(frozen=True)
class Feed:
    """A process's chunks out of its blocks."""

    turn: Turn
    blocks: Blocks
    size: int

    def __call__(self, position: int, length: int) -> tuple[Tensor, Tensor | None]:
        """Pixels uint8 [length, C, H, W] and labels int64 [length] or None at positions position.. of a training."""
        at, parts = self.turn.taken(position), list[Block]()
        end = at + length
        while at < end:
            number, place = divmod(at, self.size)
            count = min(self.size - place, end - at)
            pixels, labels = self.blocks.block(number)
            chosen = slice(place, place + count)
            parts.append((pixels[chosen], None if labels is None else labels[chosen]))
            at += count
        found = [labels for _, labels in parts if labels is not None]
        pixels = np.concatenate([pixels for pixels, _ in parts])
        return torch.from_numpy(pixels), torch.from_numpy(np.concatenate(found)) if found else None
