"""From whatever a picture file holds to a square of grey levels: decode, turn upright, flatten, crop, resize."""

import io
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import IO, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mezzotint.data.crops import Crop, Region
from mezzotint.data.sources import Item

Filter = Literal["lanczos", "bicubic", "box", "area"]

_SMALLER = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "area": Image.Resampling.BOX,
}
_LARGER = _SMALLER | {"area": Image.Resampling.BILINEAR}  # as OpenCV's INTER_AREA
# Formats of still pictures alone: others that Pillow knows start programs (EPS) or take nearly any bytes for a picture.
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
_MOST_PIXELS = 2**27  # 134 megapixels, above any camera in common use: more is an attack or a mistake
_LEAST_SIDE = 4  # pixels
_MOST_ENLARGED = 4  # times
_PART = 32  # items a thread decodes at a time: to hand each over by itself costs a fifth of its decoding


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture as uint8 [C, size, size], C = 1 if all its pixels are grey, else 3, and what is odd about it."""

    pixels: np.ndarray
    label: int | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Skipped:
    """One item that can't be used: its name, a reason to count by, and the particulars."""

    name: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Decoder:
    """How pictures become squares.

    crop: chooses the part that is scaled. Padding has the median colour of the picture's corners.
    grey: convert colour to luma (ITU-R BT.601); otherwise colours are kept.
    """

    size: int
    crop: Crop
    filter: Filter
    grey: bool
    num_classes: int

    def __call__(self, item: Item) -> Decoded | Skipped:
        """Decode one item; never raises."""
        if self.num_classes and not 0 <= (-1 if item.label is None else item.label) < self.num_classes:
            return Skipped(item.name, "no class", f"its label {item.label} is none of {self.num_classes} classes")
        try:
            picture, notes = _open(item)
            return self._fit(item, picture, notes)
        except _Unusable as error:
            return Skipped(item.name, error.reason, error.detail)
        except Exception as error:  # a decoder fed with arbitrary bytes raises arbitrary errors
            return Skipped(item.name, "corrupt", " ".join(str(error).split())[:160] or type(error).__name__)

    def decode(self, items: list[Item]) -> list[Decoded | Skipped]:
        """Decode some items in turn."""
        return [self(item) for item in items]

    def _fit(self, item: Item, picture: Image.Image, notes: tuple[str, ...]) -> Decoded:
        region = self.crop.region(*picture.size, item)
        if min(picture.size) < _LEAST_SIDE or region.side * _MOST_ENLARGED < self.size:
            raise _Unusable("tiny", f"{region.side:.0f} of {picture.width}x{picture.height} pixels, for {self.size}")
        grows = region.side < self.size
        notes = (*notes, *region.notes, *(("enlarged",) if grows and region.enlarged else ()))
        picture = _flatten(picture)
        picture = picture.convert("L") if self.grey else picture
        square = _square(picture, self.size, region, (_LARGER if grows else _SMALLER)[self.filter])
        return Decoded(_planes(square), item.label, notes)


class _Unusable(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings about odd files: they are counted and named instead. Not for use inside threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode_ahead(
    executor: Executor, decoder: Decoder, groups: Iterator[list[Item]]
) -> Iterator[list[Decoded | Skipped]]:
    """Decode groups of items on all threads, keeping their order; the next is begun before one is given out."""
    ready()
    begun: Iterator[list[Decoded | Skipped]] | None = None
    with quiet():
        for items in groups:
            parts = [items[start : start + _PART] for start in range(0, len(items), _PART)]
            before, begun = begun, executor.map(decoder.decode, parts)
            if before is not None:
                yield list(chain.from_iterable(before))
        if begun is not None:
            yield list(chain.from_iterable(begun))


def ready() -> None:
    """Register Pillow's formats: before threads ask for them."""
    _formats()


# --- Opening -------------------------------------------------------------------------------------------------


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _open(item: Item) -> tuple[Image.Image, tuple[str, ...]]:
    """Load the first frame, turned upright by its EXIF orientation, and note what is odd about the file."""
    if isinstance(item.content, np.ndarray):
        return Image.fromarray(item.content), ()
    with _handle(item.content) as handle, _identify(handle) as picture:
        if picture.width * picture.height > _MOST_PIXELS:
            raise _Unusable("too large", f"{picture.width}x{picture.height} pixels")
        picture.load()
        return _upright(picture), _notes(item.name, picture)


def _handle(content: bytes | Path) -> IO[bytes]:
    """Open bytes or a regular file that isn't empty."""
    if isinstance(content, bytes):
        if not content:
            raise _Unusable("empty", "zero bytes")
        return io.BytesIO(content)
    try:
        if not content.is_file():
            raise _Unusable("unreadable", "a broken link" if content.is_symlink() else "not a regular file")
        if not content.stat().st_size:
            raise _Unusable("empty", "zero bytes")
        return content.open("rb")
    except OSError as error:
        raise _Unusable("unreadable", str(error.strerror)) from None


def _identify(handle: IO[bytes]) -> Image.Image:
    try:
        return Image.open(handle, formats=_formats())
    except UnidentifiedImageError:
        raise _Unusable("not an image", f"its contents are none of {', '.join(_FORMATS)}") from None
    except Image.DecompressionBombError as error:
        raise _Unusable("too large", str(error)) from None


def _upright(picture: Image.Image) -> Image.Image:
    with suppress(Exception):  # the pixels are sound, only the metadata is broken
        ImageOps.exif_transpose(picture, in_place=True)
    return picture.copy() if _is_animated(picture) else picture  # Pillow would read its file again, closed by then


def _is_animated(picture: Image.Image) -> bool:
    return getattr(picture, "is_animated", False)  # as Pillow documents: only some formats know frames


def _notes(name: str, picture: Image.Image) -> tuple[str, ...]:
    suffix = Path(name).suffix.lower()
    said, found = Image.registered_extensions().get(suffix), picture.format
    same = said in (None, found) or {said, found} == {"JPEG", "MPO"}
    odd = {"named like another format": not same, "first of several frames": _is_animated(picture)}
    return tuple(note for note, applies in odd.items() if applies)


# --- Colours -------------------------------------------------------------------------------------------------


def _flatten(picture: Image.Image) -> Image.Image:
    """Any mode to L or RGB: deep levels scaled, transparency over white, CMYK and palettes converted."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _scale_levels(picture)
    if picture.has_transparency_data:
        layered = picture.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    mode = "L" if picture.mode in ("1", "L") else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


def _scale_levels(picture: Image.Image) -> Image.Image:
    """Integers are read as 0..65535, floats as 0..1 if none is above 1, else as 0..255; scaled, never cut off."""
    levels = np.asarray(picture).astype(np.float64)
    low, high = levels.min(), levels.max()
    top = 65535.0 if picture.mode != "F" else 1.0 if high <= 1 else 255.0
    if not 0 <= low <= high <= top:
        raise _Unusable("unknown range", f"levels {low:g}..{high:g} in mode {picture.mode}")
    return Image.fromarray(np.round(levels * (255 / top)).astype(np.uint8))


# --- Shapes --------------------------------------------------------------------------------------------------


def _square(picture: Image.Image, size: int, region: Region, method: Image.Resampling) -> Image.Image:
    if not region.padded:
        return picture.resize((size, size), method, box=(region.left, region.top, region.right, region.bottom))
    width, height = picture.size
    scale = size / max(width, height)
    scale = scale if region.enlarged else min(scale, 1.0)
    fitted = picture.resize((max(1, round(width * scale)), max(1, round(height * scale))), method)
    canvas = Image.new(picture.mode, (size, size), _corner_colour(fitted))
    canvas.paste(fitted, ((size - fitted.width) // 2, (size - fitted.height) // 2))
    return canvas


def _corner_colour(picture: Image.Image) -> tuple[int, ...]:
    array = np.atleast_3d(np.asarray(picture))
    corners = array[[0, 0, -1, -1], [0, -1, 0, -1]]
    return tuple(int(level) for level in np.median(corners, axis=0))


def _planes(picture: Image.Image) -> np.ndarray:
    """L or RGB to uint8 [C, H, W]; three equal planes become one."""
    planes = np.ascontiguousarray(np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1))
    return planes[:1] if all_grey(planes) else planes


def all_grey(planes: np.ndarray) -> bool:
    """Whether all planes of uint8 [C, H, W] are equal; a few pixels tell it of most coloured pictures."""
    return all((part == part[:1]).all() for part in (planes[:, ::8, ::8], planes))
