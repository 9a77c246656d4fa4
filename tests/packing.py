"""Packs made of arrays, through the same door as any other data set."""

from pathlib import Path

import numpy as np

from mezzotint.data.pack import Pack
from mezzotint.data.prepare import DataOptions, prepare
from mezzotint.options import parse


def pack_of(pixels: np.ndarray, folder: Path, labels: np.ndarray | None = None) -> Pack:
    """Pack uint8 [N, H, H, 1 or 3] as they are."""
    arrays = {"images": pixels} | ({} if labels is None else {"labels": labels})
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "pixels.npz", allow_pickle=False, **arrays)
    tree = {"source": "npz", "path": folder / "pixels.npz", "image_size": pixels.shape[1]}
    *_, pack = prepare(parse(DataOptions, tree), folder / "pack")
    assert isinstance(pack, Pack)
    return pack


def levels(images: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] -> the nearest grey levels, uint8."""
    return np.clip(np.round((images + 1) * 127.5), 0, 255).astype(np.uint8)


def smooth(random: np.random.Generator, count: int, size: int, channels: int) -> np.ndarray:
    """Draw pictures whose power falls with frequency like that of photographs: uint8 [N, size, size, C]."""
    frequency = np.fft.fftfreq(size)[:, None] ** 2 + np.fft.fftfreq(size)[None] ** 2
    falling = (frequency + 1 / size**2) ** -0.65
    waves = np.fft.fft2(random.normal(size=(count, channels, size, size))) * falling
    fields = np.fft.ifft2(waves).real
    return levels(0.35 * (fields / fields.std()).transpose(0, 2, 3, 1))
