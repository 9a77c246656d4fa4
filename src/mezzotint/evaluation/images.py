"""Images from elsewhere, as batches for evaluation: a folder, Parquet files, a NumPy archive, a generator."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from mezzotint.contracts import Generator
from mezzotint.data.sources import Listing
from mezzotint.data.sources.parquet import Parquet
from mezzotint.errors import BadInput
from mezzotint.evaluation.given import npz, npz_names
from mezzotint.evaluation.identity import Images, hint
from mezzotint.generation.saving import SHEET
from mezzotint.generation.stream import stream
from mezzotint.machine import Machine
from mezzotint.pixels import from_pillow

_ENDINGS = (".png", ".jpg", ".jpeg")
_ROWS = 512  # of a Parquet file at a time: its row groups are decoded from their start for each
_MODES = ("1", "L", "P", "RGB")


def open_images(path: Path, batch_size: int = 64) -> Images:
    """Open a folder of PNG or JPEG files, a Parquet file or an .npz; images are taken as they are, never resized."""
    if path.is_dir():
        return PictureFolder.open(path, batch_size)
    if path.suffix == ".parquet" and path.is_file():
        return ParquetPictures(path, Parquet(labelled=False).open(path, "all"), max(batch_size, _ROWS))
    if path.suffix == ".npz" and path.is_file():
        return PixelArray.open(path, batch_size)
    raise BadInput(f"{path}: must be a folder of PNG or JPEG files, a .parquet file, or an .npz with pixels")


@dataclass(frozen=True)
class PictureFolder(Images):
    """All PNG and JPEG files below a folder but `sheet.png`, in the order of their names, read as RGB."""

    files: tuple[Path, ...]
    batch_size: int

    @classmethod
    def open(cls, folder: Path, batch_size: int) -> "PictureFolder":
        """List the pictures; raise `BadInput` if there are none."""
        names = (file for file in folder.rglob("*") if file.suffix.lower() in _ENDINGS and file.is_file())
        files = tuple(sorted(file for file in names if not file.name.startswith(".") and file.name != SHEET))
        if not files:
            raise BadInput(f"{folder}: there are no PNG or JPEG files in it")
        return cls(files, batch_size)

    @property
    def format(self) -> str:
        """Say png, jpeg or both, by the files' endings."""
        endings = {file.suffix.lower().removeprefix(".").replace("jpg", "jpeg") for file in self.files}
        return " and ".join(sorted(endings))

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, number: int) -> tuple[Tensor, None]:
        """Read uint8 [n, 3, H, W]; raise `BadInput` naming the first file that doesn't fit."""
        start = number * self.batch_size
        files = self.files[start : start + self.batch_size]
        first = (_picture(self.files[0], str(self.files[0])), self.files[0].name)
        return torch.stack([_like(*first, _picture(file, str(file)), str(file)) for file in files]), None


def _like(first: Tensor, name: str, pixels: Tensor, where: str) -> Tensor:
    if pixels.shape != first.shape:
        found, expected = (f"{p.shape[2]}x{p.shape[1]}" for p in (pixels, first))
        raise BadInput(f"{where}: is {found} px, but {name} is {expected}; all must have one size")
    return pixels


def _picture(content: Path | io.BytesIO, where: str) -> Tensor:
    try:
        with Image.open(content) as picture:
            if picture.mode not in _MODES:
                raise BadInput(f"{where}: has mode {picture.mode}, must be 8-bit gray or RGB without transparency")
            return from_pillow(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInput(f"{where}: not a readable picture ({error})") from None


@dataclass(frozen=True)
class ParquetPictures(Images):
    """The pictures of a Parquet file in the order of its rows, read as RGB, without labels."""

    path: Path
    listing: Listing
    batch_size: int

    @property
    def format(self) -> str:
        """Name the format of the first picture."""
        try:
            (first,) = self.listing.read(np.arange(1))
            with Image.open(io.BytesIO(bytes(first.content))) as picture:  # type: ignore[arg-type]
                return str(picture.format).lower()
        except (OSError, UnidentifiedImageError):
            return "unknown"

    def __len__(self) -> int:
        return self.listing.count

    def batch(self, number: int) -> tuple[Tensor, None]:
        """Read uint8 [n, 3, H, W]; raise `BadInput` naming the first row that doesn't fit."""
        start = number * self.batch_size
        items = self.listing.read(np.arange(start, min(start + self.batch_size, len(self))))
        pixels = [(_picture(io.BytesIO(bytes(item.content)), item.name), item.name) for item in items]  # type: ignore[arg-type]
        return torch.stack([_like(*pixels[0], *one) for one in pixels]), None


@dataclass(frozen=True)
class DrawnPictures(Images):
    """A generator's pictures of seeds 0.., drawn when they are read: each batch by the process that reads it."""

    generator: Generator
    machine: Machine
    count: int
    batch_size: int = 64

    @property
    def format(self) -> str:
        """No file comes between the generator and its judge."""
        return "drawn"

    def __len__(self) -> int:
        return self.count

    def batch(self, number: int) -> tuple[Tensor, Tensor | None]:
        """Draw uint8 [n, C, H, W] and their labels int64 [n] or None."""
        start = number * self.batch_size
        seeds = range(start, min(start + self.batch_size, self.count))
        with self.machine.autocast():
            (drawn,) = stream(self.generator, seeds, batch_size=self.batch_size, device=self.machine.device)
        return drawn.pixels, drawn.labels


@dataclass(frozen=True)
class PixelArray(Images):
    """Pixels in memory, with labels if there are any."""

    pixels: np.ndarray  # uint8 [N, C, H, W]
    labels: np.ndarray | None  # int64 [N]
    batch_size: int

    @property
    def format(self) -> str:
        """Bare numbers, nothing is compressed."""
        return "array"

    @classmethod
    def open(cls, path: Path, batch_size: int) -> "PixelArray":
        """Read `pixels` (or `arr_0`), uint8 [N, C, H, W] or [N, H, W, C], and `labels` if present."""
        arrays = npz(path, ("pixels", "arr_0", "labels"))
        name = next((name for name in ("pixels", "arr_0") if name in arrays), None)
        if name is None:
            raise BadInput(f"{path}: holds {npz_names(path)}, must hold `pixels` or `arr_0`")
        pixels, labels = _channels_first(arrays[name], f"{path}: `{name}`"), arrays.get("labels")
        if labels is not None and (labels.shape != (len(pixels),) or labels.dtype.kind not in "iu"):
            raise BadInput(f"{path}: `labels` must be {len(pixels)} integers, is {labels.dtype} {list(labels.shape)}")
        return cls(pixels, None if labels is None else labels.astype(np.int64), batch_size)

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, number: int) -> tuple[Tensor, Tensor | None]:
        """Read uint8 [n, C, H, W] and labels int64 [n] or None."""
        rows = slice(number * self.batch_size, (number + 1) * self.batch_size)
        labels = None if self.labels is None else torch.from_numpy(self.labels[rows])
        return torch.from_numpy(np.ascontiguousarray(self.pixels[rows])), labels


def _channels_first(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype != np.uint8:
        known = hint(torch.from_numpy(array)) if array.dtype in (np.float32, np.float64) else ""
        raise BadInput(f"{where} is {array.dtype}, must be uint8 0..255{known}")
    if array.ndim == 4 and array.shape[1] in (1, 3):
        return array
    if array.ndim == 4 and array.shape[3] in (1, 3):
        return array.transpose(0, 3, 1, 2)
    raise BadInput(f"{where} has shape {list(array.shape)}, must be [N, C, H, W] or [N, H, W, C] with C = 1 or 3")
