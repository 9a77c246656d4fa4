"""Training straight from a source too large to prepare: shards read in order, decoded ahead, shuffled in blocks.

Each process has shards of its own. What it reads is an endless order of rows, cut into blocks of the shuffle buffer's
size, and a block is shuffled by its number: so where a run stopped says which rows come next, and nothing else need
be saved. A shard whose size isn't known is counted as it is read, once, into `$MEZZOTINT_HOME/streams`.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice

import numpy as np
from torch import Tensor

from mezzotint.data.blocks import Block, Blocks, Feed, Rules
from mezzotint.data.building import Progress, Work
from mezzotint.data.decode import ready
from mezzotint.data.loading import Loader, Turn, divide
from mezzotint.data.pack import Pack
from mezzotint.data.prepare import DataOptions, ensure_pack, in_cache, pack_name, shown, work_of
from mezzotint.data.rows import Rows
from mezzotint.data.sources import Flow, Item, Listing, Shard
from mezzotint.data.writing import picture_digest
from mezzotint.seeds import mix

_SAMPLED = 1024  # pictures looked at before training: their moments, and the held-out ones among them
_SAMPLED_SHARDS = 8
_MOST_HELD_OUT = 0.5  # of the sample


def open_loader(options: DataOptions, seed: int, on_progress: Callable[[Progress], None] | None = None) -> Loader:
    """Open what these options name for training: its pack, prepared if need be, or its stream."""
    if not options.stream:
        return Loader(ensure_pack(options, on_progress), seed, options.held_out)
    source = (options.source.hub_copy() if options.path is None else None) or options.source
    flow = source.stream(options.path, options.split)
    return StreamLoader(flow, _sample(options, flow, on_progress), options, seed)


class StreamLoader(Loader):
    """A stream for training. Its pack is a sample of it, a part of which is held out.

    Held-out pictures are known by their content and left out wherever they come again.
    """

    def __init__(self, flow: Flow, sample: Pack, options: DataOptions, seed: int) -> None:
        self.pack, self.seed, self._flow, self._options = sample, seed, flow, options
        wanted = options.held_out * flow.total / len(sample) if flow.total else options.held_out and _MOST_HELD_OUT
        self.held_out_indices, self.train_indices = divide(sample, min(wanted, _MOST_HELD_OUT))
        self._skipped: Counter[str] = Counter()

    def __len__(self) -> int:
        """Images to train on; 0 where that is unknown."""
        return max(0, (self._flow.total or 0) - len(self.held_out_indices))

    def feed(self, turn: Turn) -> Callable[[int, int], tuple[Tensor, Tensor | None]]:
        """Return what gives one process its chunks, from shards that no other process reads."""
        ready()
        warnings.filterwarnings("ignore", module=r"PIL\.")  # odd files are counted; decoding is in threads
        channels, size = self.pack.channels, self._options.shuffle_buffer
        decoder = self._options.but(channels=channels).decoder(self.pack.num_classes)
        held_out = frozenset(map(picture_digest, self.pack.pixels(self.held_out_indices).numpy()))
        rules = Rules(decoder, channels, size, held_out, self._skipped, self._spare)
        return Feed(turn, Blocks(Rows(self._flow, self.seed, turn), rules, mix(self.seed, turn.rank)), size)

    def chunk(self, position: int, length: int) -> tuple[Tensor, Tensor | None]:
        """Pixels uint8 [length, C, H, W] and labels int64 [length] at positions position.., for a process alone."""
        return self._alone(position, length)

    @cached_property
    def _alone(self) -> Callable[[int, int], tuple[Tensor, Tensor | None]]:
        return self.feed(Turn())

    def trouble(self) -> dict[str, int]:
        """Counts of the pictures of this session that couldn't be read, by reason."""
        return {f"skipped/{reason}": count for reason, count in self._skipped.items()}

    def _spare(self, count: int) -> Block:
        """Training pictures of the sample."""
        rows = np.resize(self.train_indices, count)
        labels = self.pack.labels(rows)
        return self.pack.pixels(rows).numpy(), None if labels is None else labels.numpy()


# --- The sample --------------------------------------------------------------------------------------------------


def _sample(options: DataOptions, flow: Flow, on_progress: Callable[[Progress], None] | None) -> Pack:
    """Prepare the first pictures of some shards, once, as a small pack."""
    name = pack_name(options, _listed(flow, []))
    return shown(in_cache(name, lambda: _sample_work(options, flow)), on_progress)


def _sample_work(options: DataOptions, flow: Flow) -> Work:
    shards = _spread(flow.shards, _SAMPLED_SHARDS)
    each = -(-_SAMPLED // len(shards))
    work = work_of(options, _listed(flow, [item for shard in shards for item in islice(shard.read(0), each)]))
    # Marked, so that nobody who looks up where the pack came from takes the sample for all of it and reads that.
    work.about.source["stream"] = True
    return work


def _listed(flow: Flow, items: list[Item]) -> Listing:
    def read(indices: np.ndarray) -> Iterator[Item]:
        return (items[index] for index in indices.tolist())

    return Listing(len(items), flow.class_names, f"{_SAMPLED} of {flow.identity}", flow.provenance, read)


def _spread(shards: Sequence[Shard], count: int) -> list[Shard]:
    places = np.linspace(0, len(shards) - 1, min(count, len(shards))).round().astype(int)
    return [shards[place] for place in places.tolist()]
