"""Small files packed as a folder, a zip or a tar, and photographs to put in them."""

import io
import os
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pyarrow import parquet as pq

from mezzotint.data.sources import Listing

SHARED = Path(__file__).resolve().parents[1] / os.environ.get("MEZZOTINT_TEST_DATA", "../shared") / "data"
Files = dict[str, bytes]


def items(listing: Listing, *indices: int):
    return list(listing.read(np.array(indices or range(listing.count), dtype=np.int64)))


def found(listing: Listing):
    return {item.name: (item.label, held(item.content)) for item in items(listing)}


def held(content: object) -> bytes:
    """The encoded bytes of an item, from its file if it has one."""
    encoded = content.read_bytes() if isinstance(content, Path) else content
    assert isinstance(encoded, bytes)
    return encoded


def decoded(listing: Listing, *indices: int) -> np.ndarray:
    """The arrays of items that are decoded already, stacked."""
    arrays = [item.content for item in items(listing, *indices) if isinstance(item.content, np.ndarray)]
    return np.stack(arrays)


def drawn(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG")
    return encoded.getvalue()


@cache
def photographs() -> list[bytes]:
    """Twelve encoded photographs, all different; drawn ones without development data."""
    file = SHARED / "cats_dogs_128.parquet"
    if not file.is_file():
        return [drawn(number) for number in range(12)]
    rows = next(pq.ParquetFile(file).iter_batches(12, columns=["image"])).column(0).to_pylist()
    return [row["bytes"] for row in rows]


# --- Ways to pack the same files -------------------------------------------------------------------------------


def as_folder(path: Path, files: Files) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def as_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path.with_suffix(".zip")


def as_tar(path: Path, files: Files, mode: Literal["w", "w:gz"] = "w:gz") -> Path:
    with tarfile.open(path.with_suffix(".tgz"), mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path.with_suffix(".tgz")
