"""Statistics of real images that others have published: an .npz with `mu` and `sigma` (pytorch-fid, clean-fid, EDM)."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.lib.npyio import NpzFile

from mezzotint.errors import BadInput
from mezzotint.evaluation.cache import tensors_hash
from mezzotint.evaluation.statistics import KnownMoments

_KEYS = ("mu", "sigma")
_ASYMMETRY = 1e-3  # relative; float32 statistics are symmetric to 1e-6


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of real features; the file says neither of how many images nor by which extractor."""

    path: Path
    mean: np.ndarray  # float64 [D]
    covariance: np.ndarray  # float64 [D, D]

    @classmethod
    def open(cls, path: Path) -> "Statistics":
        """Read `mu` [D] and `sigma` [D, D]; raise `BadInput` where they are no mean and covariance."""
        arrays = npz(path, _KEYS)
        if arrays.keys() != set(_KEYS):
            raise BadInput(f"{path}: holds {npz_names(path)}, must hold `mu` and `sigma`")
        mean, covariance = (arrays[key] for key in _KEYS)
        if mean.ndim != 1 or not mean.size or covariance.shape != (len(mean), len(mean)):
            shapes = f"{list(mean.shape)} and {list(covariance.shape)}"
            raise BadInput(f"{path}: `mu` and `sigma` must have shapes [D] and [D, D], are {shapes}")
        if not all(array.dtype.kind in "fiu" for array in (mean, covariance)):
            raise BadInput(f"{path}: `mu` and `sigma` must be real numbers, are {mean.dtype} and {covariance.dtype}")
        mean, covariance = mean.astype(np.float64), covariance.astype(np.float64)
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise BadInput(f"{path}: `mu` or `sigma` holds numbers that are not finite")
        if np.abs(covariance - covariance.T).max() > _ASYMMETRY * np.abs(covariance).max():
            raise BadInput(f"{path}: `sigma` is not symmetric, so it is no covariance")
        return cls(path, mean, (covariance + covariance.T) / 2)

    @cached_property
    def features(self) -> KnownMoments:
        """The reference that these statistics are."""
        mean, covariance = torch.from_numpy(self.mean), torch.from_numpy(self.covariance)
        return KnownMoments.of(mean, covariance, tensors_hash({"mu": mean, "sigma": covariance}))


def holds_statistics(path: Path) -> bool:
    """Whether an .npz holds statistics instead of pixels, judged by the names in it."""
    return bool(npz(path, _KEYS))


def npz(path: Path, wanted: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read those of the wanted arrays that an .npz holds; a damaged one is told in one line."""
    with _opened(path) as file:
        return {name: file[name] for name in file.files if name in wanted}


def npz_names(path: Path) -> str:
    """Name what an .npz holds."""
    with _opened(path) as file:
        return ", ".join(f"`{name}`" for name in file.files) or "nothing"


@contextmanager
def _opened(path: Path) -> Iterator[NpzFile]:
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("no whole zip file")  # of which numpy would say how to unpickle it
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise BadInput(f"{path}: not a readable .npz of plain arrays ({error})") from None
