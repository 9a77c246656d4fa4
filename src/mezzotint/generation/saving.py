"""Drawn pictures on disk: a folder of PNG files with a sheet, one sheet, or one .npz; the name's ending decides."""

import os
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

import numpy as np
import torch

from mezzotint.disk import whole_file, writing
from mezzotint.errors import BadInput
from mezzotint.generation.grid import grid
from mezzotint.generation.stream import Drawn
from mezzotint.pixels import write_png

SHEET = "sheet.png"
SHEET_SIZE = 256
"""At most so many pictures on a sheet: the first ones."""


def check_destination(out: Path, seeds: Iterable[int]) -> Path:
    """Refuse a place that can't be written, or holds other files, before anything is drawn."""
    if out.suffix in (".npz", ".png"):
        if out.is_dir():
            raise BadInput(f"-o {out}: is a folder; name a file, or a folder without that ending")
    elif out.suffix:
        raise BadInput(f"-o {out}: must be a folder, or end in .png (one sheet) or .npz")
    elif out.exists() and not out.is_dir():
        raise BadInput(f"-o {out}: is a file; name a folder, or end it in .png or .npz")
    else:
        _refuse_strangers(out, {SHEET, *map(_name, seeds)})
    standing = next(parent for parent in out.absolute().parents if parent.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK):
        raise BadInput(f"-o {out}: {standing} is not a folder that can be written to")
    return out


def _refuse_strangers(folder: Path, ours: Set[str]) -> None:
    """Refuse a folder with other pictures: nothing is deleted, and old ones among the new would be scored with them."""
    inside = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")} if folder.exists() else set()
    strangers = sorted(inside - ours)
    if strangers:
        raise BadInput(f"-o {folder}: holds {strangers[0]}, which is not drawn now; name another folder or empty it")


def _name(seed: int) -> str:
    return f"{seed:06d}.png"


def saved(batches: Iterable[Drawn], out: Path, columns: int | None = None) -> Iterator[Drawn]:
    """Hand the batches through while writing them; sheet (of so many columns) and .npz appear after the last."""
    kept: list[Drawn] = []
    count = 0
    for batch in batches:
        if not out.suffix:
            for seed, pixels in zip(batch.seeds, batch.pixels, strict=True):
                write_png(out / _name(seed), pixels)
        if out.suffix == ".npz" or count < SHEET_SIZE:
            kept.append(batch)
        count += len(batch.seeds)
        yield batch
    if kept:
        _write_whole(kept, out, columns)


def _write_whole(batches: list[Drawn], out: Path, columns: int | None) -> None:
    pixels = torch.cat([batch.pixels for batch in batches])
    if out.suffix == ".npz":
        _write_npz(batches, pixels, out)
    else:
        write_png(out if out.suffix else out / SHEET, grid(pixels[:SHEET_SIZE], columns))


def _write_npz(batches: list[Drawn], pixels: torch.Tensor, out: Path) -> None:
    """Write `pixels` uint8 [N, C, H, W], `seeds` int64 [N] and, if there are classes, `labels` int64 [N]."""
    arrays = {"pixels": pixels.numpy(), "seeds": np.array([seed for batch in batches for seed in batch.seeds])}
    labels = [batch.labels for batch in batches if batch.labels is not None]
    if labels:
        arrays["labels"] = torch.cat(labels).numpy()
    with writing(out), whole_file(out) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
