"""Your own arrays: an .npz file of uint8 pictures and, if there are any, whole-number labels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from mezzotint.data.sources import Item, Listing, Source, chosen_splits, existing, fingerprint, printable
from mezzotint.data.sources.arrays import Rows, npz_arrays
from mezzotint.errors import BadInput, nearest

_WANTED = "an .npz file with an array of uint8 pictures"
_IMAGES = ("images", "image", "x", "data", "arr_0")
_LABELS = ("labels", "label", "y", "arr_1")


class NPZ(Source):
    """Arrays [N, H, W], [N, H, W, 1 or 3] or [N, 1 or 3, H, W], found by the names in common use.

    Names such as `x_train`, `y_train`, `x_test` or `train_images` are splits. Nothing is unpickled.
    """

    layout = _WANTED

    image: str | None = Field(default=None, description="array of pictures; null finds it by name (images, x, data...)")
    label: str | None = Field(default=None, description="array of labels; null finds it by name (labels, y...)")
    labelled: bool = Field(default=True, description="whether labels are read; false reads all as unlabelled")

    def open(self, path: Path | None, split: str) -> Listing:
        """List the rows of the array of a split; classes are the labels that occur, sorted."""
        path = existing(path, _WANTED)
        if path.is_dir():
            raise BadInput(f"data.path: {path} is a folder, must be {_WANTED}")
        arrays = npz_arrays(path)
        marked = _split_of(arrays, split)
        pictures = _array(arrays, self.image, "image", _spelled(_IMAGES, marked))
        if pictures is None:
            raise BadInput(f"data.source.image: {path} has no array of pictures; its arrays: {sorted(arrays)}")
        _check(pictures)
        labels = _array(arrays, self.label, "label", _spelled(_LABELS, marked)) if self.labelled else None
        numbers, names = _numbered(labels, pictures) if labels else (None, ())

        def read(indices: np.ndarray) -> Iterator[Item]:
            for row, pixels in zip(indices.tolist(), pictures.read(indices), strict=True):
                label = None if numbers is None else int(numbers[row])
                yield Item(f"{pictures.name}:{row}", label, _channels_last(pixels))

        identity = fingerprint([path])
        provenance = {"path": printable(path), "revision": identity}
        return Listing(pictures.shape[0], names, f"{identity} {marked}", provenance, read)


def _split_of(arrays: dict[str, Rows], split: str) -> str | None:
    """Return the split's word if the names of arrays hold such words; `BadInput` if none is this one."""
    words = [word for word in ("train", "test", "val") if any(word in name.split("_") for name in arrays)]
    if not words:
        return None
    (chosen, *more) = chosen_splits(split, words)
    if more:
        raise BadInput(f"data.split: an .npz file is read one split at a time: {nearest('', words)}")
    return chosen


def _spelled(names: tuple[str, ...], split: str | None) -> list[str]:
    if split is None:
        return list(names)
    return [spelling for name in names for spelling in (f"{name}_{split}", f"{split}_{name}")]


def _array(arrays: dict[str, Rows], wanted: str | None, role: str, spellings: list[str]) -> Rows | None:
    if wanted is None:
        return next((arrays[name] for name in spellings if name in arrays), None)
    if wanted not in arrays:
        raise BadInput(f"data.source.{role}: there is no array {wanted!r}; {nearest(wanted, arrays)}")
    return arrays[wanted]


def _check(pictures: Rows) -> None:
    shape = pictures.shape
    is_picture = len(shape) == 3 or (len(shape) == 4 and (shape[-1] in (1, 3) or shape[1] in (1, 3)))
    if pictures.dtype != np.uint8 or not is_picture:
        raise BadInput(
            f"data.source.image: {pictures.name} in {pictures.file} is {pictures.dtype} {list(shape)}, must be uint8 "
            f"[N, H, W], [N, H, W, C] or [N, C, H, W] with 1 or 3 channels"
        )


def _numbered(labels: Rows, pictures: Rows) -> tuple[np.ndarray, tuple[str, ...]]:
    values = labels.whole()
    if values.size != pictures.shape[0] or values.dtype.kind not in "iu":
        raise BadInput(
            f"data.source.label: {labels.name} in {labels.file} is {values.dtype} {list(values.shape)}, must hold "
            f"{pictures.shape[0]} whole numbers"
        )
    kinds, numbers = np.unique(values.ravel(), return_inverse=True)
    return numbers, tuple(str(kind) for kind in kinds)


def _channels_last(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W], [H, W, C] or [C, H, W] to [H, W] or [H, W, 3]."""
    if pixels.ndim == 3 and pixels.shape[-1] not in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    return np.ascontiguousarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)
