"""The idx format of MNIST and its relatives, plain or gzipped: two files per split, pictures and labels."""

import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mezzotint.data.sources import Card, Item, Listing, chosen_splits, existing, fingerprint, printable
from mezzotint.errors import BadInput

SPLITS = {"train": "train", "test": "t10k"}
_UBYTE = 8  # the idx code of unsigned bytes
_GZIP = b"\x1f\x8b"


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Return a file's uint8 array: magic 0, 0, 8, number of dimensions, their sizes (big endian uint32), content."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content.startswith(_GZIP) else content
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"data.path: {path} can't be read ({error})") from None
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, _UBYTE, dimensions]):
        raise BadInput(f"data.path: {path} ({len(content):,} bytes) is no idx file of bytes in {dimensions} dimensions")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    if len(content) != header + math.prod(shape):
        raise BadInput(f"data.path: {path} should hold {math.prod(shape):,} bytes, has {len(content) - header:,}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def idx_listing(path: Path | None, split: str, class_names: Sequence[str], card: Card) -> Listing:
    """List a split's pictures in a folder of `train-images-idx3-ubyte[.gz]` and its like."""
    folder = existing(path, card.wanted)
    if not folder.is_dir():
        raise BadInput(f"data.path: {folder} is a file, must be {card.wanted}")
    stems = [SPLITS[chosen] for chosen in chosen_splits(split, SPLITS)]
    files = [(_file(folder, f"{stem}-images", 3, card), _file(folder, f"{stem}-labels", 1, card)) for stem in stems]
    pixels = np.concatenate([read_idx(pictures, 3) for pictures, _ in files])
    labels = np.concatenate([read_idx(numbers, 1) for _, numbers in files])
    if len(pixels) != len(labels):
        raise BadInput(f"data.path: {folder} has {len(pixels):,} pictures and {len(labels):,} labels")

    def read(indices: np.ndarray) -> Iterator[Item]:
        for index in indices.tolist():
            yield Item(f"{split} {index}", int(labels[index]), pixels[index])

    identity = fingerprint(file for pair in files for file in pair)
    provenance = {"path": printable(folder), "revision": identity, "licence": card.licence}
    return Listing(len(pixels), tuple(class_names), identity, provenance, read)


def _file(folder: Path, stem: str, dimensions: int, card: Card) -> Path:
    """Find one file among the spellings in use: a dash or a dot before `idx`, gzipped or not."""
    kind = f"idx{dimensions}-ubyte"
    spellings = [f"{stem}{mark}{kind}{ending}" for ending in ("", ".gz") for mark in "-."]
    found = next((folder / name for name in spellings if (folder / name).is_file()), None)
    if found is None:
        raise BadInput(f"data.path: {folder} holds no {spellings[0]}[.gz], must be {card.wanted}")
    return found
