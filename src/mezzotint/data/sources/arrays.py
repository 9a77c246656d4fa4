"""Arrays in .npz files, read a few rows at a time, compressed or not, and never as pickle."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from mezzotint.errors import BadInput

_ROWS = 256  # held in memory at a time


@dataclass(frozen=True)
class Rows:
    """One array of an .npz file: its shape and dtype, and its rows on demand."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Yield rows at ascending indices, reading on from one to the next."""
        row_bytes = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        with _entry(self.file, self.name) as (stream, _, _):
            at = 0
            for first in range(0, self.shape[0], _ROWS):
                count = min(_ROWS, self.shape[0] - first)
                inside = indices[(indices >= first) & (indices < first + count)] - first
                if at + len(inside) > len(indices) or at == len(indices):
                    return
                content = _exactly(stream, count * row_bytes)
                block = np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])
                yield from (block[row] for row in inside)
                at += len(inside)

    def whole(self) -> np.ndarray:
        """Read all of it."""
        with _entry(self.file, self.name) as (stream, _, _):
            content = _exactly(stream, int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize)
        return np.frombuffer(content, self.dtype).reshape(self.shape)


def npz_arrays(file: Path) -> dict[str, Rows]:
    """Return the arrays of an .npz file by name; `BadInput` where it is none, or holds pickled objects."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except (zipfile.BadZipFile, OSError) as error:
        raise BadInput(f"data.path: {file} is not a whole .npz file ({error})") from None
    return {name: _described(file, name) for name in names}


def _described(file: Path, name: str) -> Rows:
    with _entry(file, name) as (_, shape, dtype):
        return Rows(file, name, shape, dtype)


@contextmanager
def _entry(file: Path, name: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype]]:
    """Give an array's bytes, standing behind its header, and its shape and dtype."""
    try:
        with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as stream:
            version = npy.read_magic(stream)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = header(stream)
            if dtype.hasobject:
                raise BadInput(f"data.path: {name} in {file} holds pickled objects: refused")
            if fortran and len(shape) > 1:
                raise BadInput(f"data.path: {name} in {file} is in Fortran order; save it in C order")
            yield stream, shape, dtype
    except BadInput:
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError) as error:
        raise BadInput(f"data.path: {name} in {file} is damaged ({error})") from None


def _exactly(stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) != count:
        raise EOFError(f"{len(content):,} of {count:,} bytes are there")
    return content
