"""The pack: pictures decoded once, as one uint8 memory map with labels, provenance and hashes. It can be moved.

pixels.bin   uint8 [N, C, H, W], nothing else: np.memmap("pixels.bin", "uint8", "r", shape=(N, C, H, W))
labels.npy   int64 [N], only where there are classes
pack.json    `PackInfo`
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from torch import Tensor

from mezzotint.errors import BadInput, nearest

_SAMPLED_BLOCKS = 48  # hashed whenever a pack is opened: a tenth of a second, and all of a pack up to 48 MiB


class SkippedName(BaseModel):
    """One item that was left out of a pack, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    reason: str


class Origin(BaseModel):
    """Where the pictures of a pack came from, what was done to them, and what was left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: dict[str, JsonValue]
    provenance: dict[str, str]
    split: str
    crop: str
    filter: str
    class_names: tuple[str, ...]
    offered: int
    skipped: dict[str, int]
    skipped_names: tuple[SkippedName, ...]
    notes: dict[str, int]


class PackInfo(Origin):
    """What `pack.json` holds: the origin, what the pictures are, and the hashes of everything."""

    format: Literal["mezzotint pack 1"] = "mezzotint pack 1"
    image_size: int = Field(ge=1)
    channels: Literal[1, 3]
    count: int = Field(ge=1)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    duplicates: tuple[tuple[int, ...], ...] | None = None  # places of equal pictures; None: an older pack, unknown
    content_hash: str
    labels_hash: str | None
    block_bytes: int = Field(ge=1)
    block_hashes: tuple[str, ...]


class Pack:
    """A prepared data set on disk, read without loading it."""

    def __init__(self, path: Path, info: PackInfo, labels: np.ndarray | None) -> None:
        self.path, self.info = path, info
        shape = (info.count, info.channels, info.image_size, info.image_size)
        self._pixels = np.memmap(path / "pixels.bin", np.uint8, "r", shape=shape)
        self._labels = labels

    @classmethod
    def open(cls, path: Path, check: bool = True) -> "Pack":
        """Open a pack; raise `BadInput` if it is none, is incomplete, or a sampled block or label has changed.

        `check=False` looks at sizes only, so that `verify` can tell what is wrong with a changed pack.
        """
        info = _read_info(path)
        size = info.count * info.channels * info.image_size**2
        found = _size_of(path / "pixels.bin")
        if found != size:
            raise BadInput(f"{path}: pixels.bin holds {found} bytes, must hold {size}; {_AGAIN}")
        pack = cls(path, info, _read_labels(path, info))
        problems = list(pack._problems(_sampled(len(info.block_hashes)))) if check else []
        if problems:
            raise BadInput(f"{path}: {problems[0]} since it was prepared; {_AGAIN}")
        return pack

    def __len__(self) -> int:
        return self.info.count

    @property
    def channels(self) -> int:
        """1 for grayscale, 3 for RGB."""
        return self.info.channels

    @property
    def image_size(self) -> int:
        """Height and width in pixels."""
        return self.info.image_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by label; empty where there are no labels."""
        return self.info.class_names

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 where there are no labels."""
        return len(self.info.class_names)

    @property
    def content_hash(self) -> str:
        """SHA-256 of shape, pixels and labels, whatever they came from and wherever they lie."""
        return self.info.content_hash

    def pixels(self, indices: np.ndarray) -> Tensor:
        """Pictures at int64 [n] indices -> pixels uint8 [n, C, H, W], copied."""
        return torch.from_numpy(np.array(self._pixels[indices]))

    def labels(self, indices: np.ndarray) -> Tensor | None:
        """Labels at int64 [n] indices -> int64 [n]; None where there are none."""
        return None if self._labels is None else torch.from_numpy(self._labels[indices])

    def verify(self) -> list[str]:
        """Hash everything and return what has changed, one line each; empty if the pack is intact."""
        return list(self._problems(range(len(self.info.block_hashes))))

    def _problems(self, blocks: Sequence[int]) -> Iterator[str]:
        if content_hash(self.info) != self.info.content_hash:
            yield "pack.json has changed"
        if self._labels is not None and digest(self._labels) != self.info.labels_hash:
            yield "labels.npy has changed"
        size = self.info.block_bytes
        with (self.path / "pixels.bin").open("rb") as file:
            for block in blocks:
                file.seek(block * size)
                if sha256(file.read(size)).hexdigest() != self.info.block_hashes[block]:
                    yield f"pixels.bin has changed (bytes {block * size} to {(block + 1) * size})"


_AGAIN = "restore it, or delete it and prepare it again"


# --- Reading -------------------------------------------------------------------------------------------------


def _read_info(path: Path) -> PackInfo:
    if not path.is_dir():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        what = "is a file" if path.exists() else f"does not exist ({nearest(path.name, beside[:100])})"
        raise BadInput(f"{path}: {what}; a pack is a folder made by `mezzotint data prepare`")
    try:
        return PackInfo.model_validate_json((path / "pack.json").read_bytes())
    except FileNotFoundError:
        raise BadInput(f"{path}: is no pack (it has no pack.json); make one by `mezzotint data prepare`") from None
    except OSError as error:
        raise BadInput(f"{path}: pack.json can't be read ({error.strerror})") from None
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(key) for key in problem["loc"]) or "text"
        raise BadInput(f"{path}: pack.json is damaged ({place}: {problem['msg']}); {_AGAIN}") from None


def _size_of(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _read_labels(path: Path, info: PackInfo) -> np.ndarray | None:
    if info.labels_hash is None:
        return None
    try:
        labels = np.asarray(np.load(path / "labels.npy", mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError):
        raise BadInput(f"{path}: labels.npy is missing or damaged; {_AGAIN}") from None
    if labels.dtype != np.int64 or labels.shape != (info.count,):
        raise BadInput(f"{path}: labels.npy holds {labels.dtype} {labels.shape}, not {info.count} labels; {_AGAIN}")
    return labels


def _sampled(blocks: int) -> list[int]:
    """Choose blocks to look at: first, last, and evenly between; all of them if they are few."""
    return sorted({round(place) for place in np.linspace(0, blocks - 1, min(blocks, _SAMPLED_BLOCKS))})


# --- Hashing -------------------------------------------------------------------------------------------------


def digest(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes."""
    return sha256(np.ascontiguousarray(array).data).hexdigest()


def content_hash(info: PackInfo) -> str:
    """SHA-256 over shape, the hashes of all blocks of pixels, and the hash of the labels."""
    shape = (info.count, info.channels, info.image_size, info.block_bytes)
    lines = [*map(str, shape), *info.block_hashes, str(info.labels_hash)]
    return sha256("\n".join(lines).encode()).hexdigest()
