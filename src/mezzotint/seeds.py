"""Randomness as a function of where you are: one stream per image, and training streams computed, never skipped."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor


def mix(*words: int | str) -> int:
    """Hash any path of numbers and names to a 63-bit seed; the same path gives the same seed everywhere."""
    text = "\x1f".join(f"{'str' if isinstance(word, str) else 'int'}:{word}" for word in words)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


class SeededNoise:
    """Standard normal noise drawn on the CPU, one stream per seed: row i depends on seed i alone."""

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._streams = [torch.Generator().manual_seed(mix("image", seed)) for seed in seeds]

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Draw float32 noise [N, *]; each call goes on along every stream."""
        if shape[0] != len(self._streams):
            raise ValueError(f"{len(self._streams)} streams can't fill a batch of {shape[0]}")
        rows = [torch.randn(tuple(shape[1:]), generator=stream) for stream in self._streams]
        return torch.stack(rows).to(self.device)


class AmbientNoise:
    """Standard normal noise from torch's default generator on a device: what training draws from."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Draw float32 noise [N, *]."""
        return torch.randn(*shape, device=self.device)


def seed_generators(*words: int | str) -> None:
    """Seed torch's default generators, on every device, with a path such as (seed, update, phase, chunk)."""
    torch.manual_seed(mix(*words))


@contextmanager
def forked(*words: int | str) -> Iterator[None]:
    """Run a block under generators seeded with a path, and put the outer ones back afterwards."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    kind = accelerator.type if accelerator else "cpu"
    devices = list(range(torch.accelerator.device_count())) if accelerator else []
    with torch.random.fork_rng(devices=devices, device_type=kind if accelerator else "cuda"):
        seed_generators(*words)
        yield


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    order = np.random.Generator(np.random.Philox(mix(seed, "order", epoch))).permutation(count)
    return order.astype(np.min_scalar_type(count))  # a million pictures: 4 MB, not 8, for each order that is kept


def shuffled(count: int, seed: int, start: int, length: int) -> np.ndarray:
    """Return int64 [length], which of `count` items stand at positions start.. of an endless reshuffled order.

    Each run of `count` positions (an epoch) holds every item once; any position is computed without the ones before.
    """
    positions = np.arange(start, start + length)
    epochs = positions // count
    return np.concatenate(
        [_order(count, seed, int(epoch))[positions[epochs == epoch] % count] for epoch in np.unique(epochs)],
        dtype=np.int64,
    )
