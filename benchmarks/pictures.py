"""What the benchmarks train on and are judged against: CIFAR-10 where the development data are, else random pixels."""

import os
from pathlib import Path

from mezzotint.data.loading import Loader
from mezzotint.data.prepare import DataOptions, ensure_pack
from mezzotint.options import parse
from mezzotint.runs.workload import random_pixels
from mezzotint.training.loop import Feed

ROOT = Path(__file__).resolve().parents[1]


def shared() -> Path:
    """Return the folder of development data; it need not exist."""
    return (ROOT / os.environ.get("MEZZOTINT_TEST_DATA", "../shared")).resolve()


def cifar10(split: str = "train") -> Path | None:
    """Return CIFAR-10's Parquet file, or None."""
    path = shared() / "data" / f"cifar10_jpeg_{split}.parquet"
    return path if path.is_file() else None


def feed() -> tuple[Feed, str]:
    """Return a feed of uint8 [n, 3, 32, 32] in training order, and what it is."""
    path = cifar10()
    if path is None:
        return random_pixels(32), "random pixels"
    options = parse(DataOptions, {"source": "parquet", "path": path, "image_size": 32, "channels": 3})
    return Loader(ensure_pack(options), seed=0).chunk, "CIFAR-10"
