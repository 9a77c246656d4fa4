"""Batches from a pack by computed position; held-out pictures are never among them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mezzotint.data.pack import Pack
from mezzotint.errors import BadInput
from mezzotint.seeds import mix, shuffled


@dataclass(frozen=True, slots=True)
class Turn:
    """Which chunks of every batch one of several processes takes: chunk `rank` and each `world`-th after it."""

    rank: int = 0
    world: int = 1
    batch_size: int = 1
    chunk_size: int = 1

    def taken(self, position: int) -> int:
        """How many images this process has taken before the one at a position of the training, the start of a chunk."""
        batches, place = divmod(position, self.batch_size)
        return batches * self._own(self.batch_size) + self._own(place)

    def _own(self, end: int) -> int:
        starts = range(self.rank * self.chunk_size, end, self.world * self.chunk_size)
        return sum(min(self.chunk_size, end - start) for start in starts)


class Loader:
    """The training pictures of a pack in an endless reshuffled order, and the held-out ones in a fixed order.

    Which are held out depends on the pack's content and the fraction alone: every run on a pack agrees.
    """

    def __init__(self, pack: Pack, seed: int, held_out: float = 0.02) -> None:
        self.pack, self.seed = pack, seed
        self.held_out_indices, self.train_indices = divide(pack, held_out)

    def __len__(self) -> int:
        return len(self.train_indices)

    def chunk(self, position: int, length: int) -> tuple[Tensor, Tensor | None]:
        """Pixels uint8 [length, C, H, W] and labels int64 [length] at positions position.. of the order."""
        places = shuffled(len(self.train_indices), self.seed, position, length)
        return _at(self.pack, self.train_indices[places])

    def feed(self, turn: Turn) -> Callable[[int, int], tuple[Tensor, Tensor | None]]:
        """Return what gives a process its chunks; whose turn it is makes no difference to a pack."""
        return self.chunk

    def trouble(self) -> dict[str, int]:
        """Counts of what was wrong with pictures as they were read: nothing, as a pack was made of the good ones."""
        return {}

    def held_out(self, count: int) -> tuple[Tensor, Tensor | None]:
        """The first `count` held-out pictures (fewer if there are fewer), the same at every call and in every run."""
        return _at(self.pack, self.held_out_indices[:count])


def divide(pack: Pack, held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 indices of held-out pictures, in random order, and of training pictures, ascending.

    At least one is held out unless the fraction is 0. Equal pictures are all held out or all trained on, so that
    none is both; where that can't be had, `BadInput`.
    """
    count = max(1, round(held_out * len(pack))) if held_out > 0 else 0
    if count >= len(pack):
        raise BadInput(f"{pack.path}: {len(pack)} pictures leave none to train on with data.held_out={held_out}")
    chosen = _whole_groups(pack, count)
    if count and not len(chosen):
        raise BadInput(f"{pack.path}: too many pictures are equal to hold {count} out; set data.held_out=0")
    kept = np.ones(len(pack), bool)
    kept[chosen] = False
    return chosen, np.flatnonzero(kept)


def _whole_groups(pack: Pack, count: int) -> np.ndarray:
    """Take pictures in random order, each with all its equals, until there are `count`; skip larger groups."""
    seed = mix("held out", pack.content_hash)
    groups = {place: group for group in pack.info.duplicates or () for place in group}
    chosen: dict[int, None] = {}
    for place in map(int, shuffled(len(pack), seed, 0, len(pack))) if groups else ():
        group = groups.get(place, (place,))
        if place not in chosen and len(chosen) + len(group) <= count:
            chosen.update(dict.fromkeys(group))
        if len(chosen) == count:
            break
    return np.array(list(chosen), np.int64) if groups else shuffled(len(pack), seed, 0, max(count, 1))[:count]


def iterate(pack: Pack, batch_size: int, indices: np.ndarray) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield pixels uint8 [n, C, H, W] and labels int64 [n] or None of a pack's images at the indices, in order."""
    for start in range(0, len(indices), batch_size):
        yield _at(pack, indices[start : start + batch_size])


def _at(pack: Pack, indices: np.ndarray) -> tuple[Tensor, Tensor | None]:
    return pack.pixels(indices), pack.labels(indices)
