"""Images from elsewhere, as batches for evaluation: a folder of pictures or a NumPy archive."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from mezzotint.errors import BadInput
from mezzotint.evaluation.extractors import Batches
from mezzotint.generation.saving import SHEET
from mezzotint.pixels import from_pillow

_ENDINGS = (".png", ".jpg", ".jpeg")
_MODES = ("1", "L", "P", "RGB")


def open_images(path: Path, batch_size: int = 64) -> Batches:
    """Open a folder of PNG or JPEG files, or an .npz, as batches that can be read again and again."""
    if path.is_dir():
        return PictureFolder.open(path, batch_size)
    if path.suffix == ".npz" and path.is_file():
        return PixelArray.open(path, batch_size)
    raise BadInput(f"{path}: must be a folder of PNG or JPEG files, or an .npz with pixels")


@dataclass(frozen=True)
class PictureFolder:
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

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[tuple[Tensor, None]]:
        """Read batches uint8 [N, 3, H, W]; raise `BadInput` naming the first file that doesn't fit."""
        first = _picture(self.files[0])
        for start in range(0, len(self.files), self.batch_size):
            yield torch.stack([self._like(first, f) for f in self.files[start : start + self.batch_size]]), None

    def _like(self, first: Tensor, file: Path) -> Tensor:
        pixels = _picture(file)
        if pixels.shape != first.shape:
            found, expected = (f"{p.shape[2]}x{p.shape[1]}" for p in (pixels, first))
            raise BadInput(f"{file}: is {found} px, but {self.files[0].name} is {expected}; all must have one size")
        return pixels


def _picture(file: Path) -> Tensor:
    try:
        with Image.open(file) as picture:
            if picture.mode not in _MODES:
                raise BadInput(f"{file}: has mode {picture.mode}, must be 8-bit gray or RGB without transparency")
            return from_pillow(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInput(f"{file}: not a readable picture ({error})") from None


@dataclass(frozen=True)
class PixelArray:
    """Pixels in memory, with labels if there are any."""

    pixels: np.ndarray  # uint8 [N, C, H, W]
    labels: np.ndarray | None  # int64 [N]
    batch_size: int

    @classmethod
    def open(cls, path: Path, batch_size: int) -> "PixelArray":
        """Read `pixels` (or `arr_0`), uint8 [N, C, H, W] or [N, H, W, C], and `labels` if present."""
        arrays = _arrays(path)
        name = next((name for name in ("pixels", "arr_0") if name in arrays), None)
        if name is None:
            raise BadInput(f"{path}: holds {', '.join(arrays) or 'nothing'}, must hold `pixels` or `arr_0`")
        pixels, labels = _channels_first(arrays[name], f"{path}: `{name}`"), arrays.get("labels")
        if labels is not None and (labels.shape != (len(pixels),) or labels.dtype.kind not in "iu"):
            raise BadInput(f"{path}: `labels` must be {len(pixels)} integers, is {labels.dtype} {list(labels.shape)}")
        return cls(pixels, None if labels is None else labels.astype(np.int64), batch_size)

    def __len__(self) -> int:
        return len(self.pixels)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Read batches uint8 [N, C, H, W] and labels int64 [N] or None."""
        for start in range(0, len(self.pixels), self.batch_size):
            rows = slice(start, start + self.batch_size)
            labels = None if self.labels is None else torch.from_numpy(self.labels[rows])
            yield torch.from_numpy(np.ascontiguousarray(self.pixels[rows])), labels


def _arrays(path: Path) -> dict[str, np.ndarray]:
    wanted = ("pixels", "arr_0", "labels")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name in wanted}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path}: not a readable .npz of plain arrays ({error})") from None


def _channels_first(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype != np.uint8:
        raise BadInput(f"{where} is {array.dtype}, must be uint8 0..255")
    if array.ndim == 4 and array.shape[1] in (1, 3):
        return array
    if array.ndim == 4 and array.shape[3] in (1, 3):
        return array.transpose(0, 3, 1, 2)
    raise BadInput(f"{where} has shape {list(array.shape)}, must be [N, C, H, W] or [N, H, W, C] with C = 1 or 3")
