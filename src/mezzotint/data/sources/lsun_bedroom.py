"""Bedrooms: three million photographs, unlabelled (LSUN), as folder, hub copy or original LMDB."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mezzotint.data.sources import (
    Card,
    Item,
    Listing,
    Original,
    Source,
    chosen_splits,
    existing,
    fingerprint,
    printable,
)
from mezzotint.data.sources.archives import Picture, is_picture, listing, members
from mezzotint.data.sources.parquet import Parquet, holds_parquet
from mezzotint.errors import BadInput

_CARD = Card(
    title="LSUN bedroom",
    pictures={"train": 3_033_042, "val": 300},
    labels="none",
    licence="research only; photographers keep their rights",
    citation="Yu, Seff, Zhang, Song, Funkhouser, Xiao: LSUN, arXiv:1506.03365",
    size=43_000_000_000,
    layout="a folder of JPEG files, Parquet files, or the LMDB folder bedroom_train_lmdb",
    originals=(
        Original(
            "http://dl.yf.io/lsun/scenes/bedroom_train_lmdb.zip",
            md5="f2c5d904a82a6295dbdccb322b4b0a99",
            splits=("train",),
            unpack=True,
        ),
        Original("http://dl.yf.io/lsun/scenes/bedroom_val_lmdb.zip", splits=("val",), unpack=True),
    ),
    pages=(
        "https://www.kaggle.com/datasets/jhoward/lsun_bedroom",
        "https://huggingface.co/datasets/pcuenq/lsun-bedrooms",
    ),
)
_KEYS = 1 << 16  # turned into an array at a time


class LSUNBedroom(Source):
    """Kaggle's nested folders of JPEG files, the hub's Parquet, or the original LMDB (extra `lmdb`).

    Only the LMDB and the Parquet files have splits; a folder of pictures is read whole.
    """

    card = _CARD

    def open(self, path: Path | None, split: str) -> Listing:
        """List the pictures, sorted by file name or LMDB key, without labels."""
        if holds_parquet(path):
            return Parquet(labelled=False).open(path, split)
        path = existing(path, _CARD.wanted)
        if folders := _lmdb_folders(path, split):
            return _lmdb_listing(path, folders)
        files = members(path, _CARD.wanted)
        if files.find("data.mdb"):
            raise BadInput(
                f"data.path: {path} holds an LMDB, which can't be read inside another folder; unpack or name it"
            )
        return listing(files, [Picture(name) for name in files.names if is_picture(name)], (), _CARD)


def _lmdb_folders(path: Path, split: str) -> list[Path]:
    """Return the folders of a split's LMDBs: the path itself, or those below it; none where there aren't any."""
    if (path / "data.mdb").is_file():
        return [path]
    known = {name: path / f"bedroom_{name}_lmdb" for name in _CARD.pictures}
    there = {name: folder for name, folder in known.items() if (folder / "data.mdb").is_file()}
    return [there[name] for name in chosen_splits(split, there)] if there else []


# --- The original LMDB: sorted keys, values are encoded pictures (JPEG or WebP) ---------------------------------


def _lmdb() -> Any:  # noqa: ANN401  (the package is untyped)
    try:
        import lmdb  # noqa: PLC0415  # pyright: ignore[reportMissingImports]  (an extra)
    except ImportError:
        raise BadInput("data.source: reading an LMDB needs the package lmdb: pip install 'mezzotint[lmdb]'") from None
    return lmdb


@contextmanager
def _reading(folder: Path) -> Iterator[Any]:
    """Give a transaction on an LMDB that is only read; `BadInput` where it is damaged."""
    lmdb = _lmdb()
    try:
        # No lock file: the folder may be read-only, and nobody writes to a published data set.
        with lmdb.open(str(folder), readonly=True, lock=False, readahead=False) as opened, opened.begin() as reading:
            yield reading
    except lmdb.Error as error:
        raise BadInput(f"data.path: {folder} is not a whole LMDB ({error})") from None


def _keys(folder: Path) -> np.ndarray:
    """Every key, ascending, as fixed-width bytes [N]: a third of the memory of Python objects."""
    with _reading(folder) as reading:
        keys = reading.cursor().iternext(keys=True, values=False)
        blocks = list(iter(lambda: list(islice(keys, _KEYS)), []))
    return np.concatenate([np.array(block) for block in blocks]) if blocks else np.array([], "S1")


def _lmdb_listing(path: Path, folders: list[Path]) -> Listing:
    keys = [_keys(folder) for folder in folders]
    starts = np.cumsum([0, *map(len, keys)])

    def read(indices: np.ndarray) -> Iterator[Item]:
        for folder, names, start, end in zip(folders, keys, starts[:-1], starts[1:], strict=True):
            with _reading(folder) as reading:
                for key in names[indices[(indices >= start) & (indices < end)] - start]:
                    yield Item(key.decode("utf-8", "replace"), None, bytes(reading.get(bytes(key)) or b""))

    identity = fingerprint(folder / "data.mdb" for folder in folders)
    provenance = {"path": printable(path), "revision": identity, "licence": _CARD.licence}
    return Listing(int(starts[-1]), (), identity, provenance, read)
