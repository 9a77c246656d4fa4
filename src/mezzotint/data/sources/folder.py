"""Your own files: a folder of pictures, its subfolders being the classes, or flat; read recursively."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from mezzotint.data.sources import SPLIT_WORDS, Item, Listing, Source, existing, fingerprint, printable
from mezzotint.errors import BadInput, nearest

_WANTED = "a folder of pictures"


class Folder(Source):
    """Every file below a folder, in sorted order, labelled by the first subfolder it lies in.

    Where all subfolders are called train, test, val..., they are the splits, and the classes lie inside them.
    Hidden files and folders are passed over; links are followed, each folder once.
    """

    layout = _WANTED

    labelled: bool = Field(default=True, description="whether subfolders are classes; false reads all as unlabelled")

    def open(self, path: Path | None, split: str) -> Listing:
        """List a folder's files; raise `BadInput` if it is missing, empty, or lacks the split."""
        path = existing(path, _WANTED)
        if not path.is_dir():
            raise BadInput(f"data.path: {path} is a file, must be {_WANTED} (or choose data.source=parquet)")
        if not os.access(path, os.R_OK | os.X_OK):
            raise BadInput(f"data.path: {path} may not be read by this user")
        roots = _split_roots(path, split)
        names = sorted({folder.name for root in roots for folder in _subfolders(root)}) if self.labelled else []
        number = {name: label for label, name in enumerate(names)}
        files = [(file, number.get(file.relative_to(root).parts[0])) for root in roots for file in _walk(root)]
        if not files:
            raise BadInput(f"data.path: {path} holds no files, must be {_WANTED}")
        if all(label is None for _, label in files):
            names = []

        def read(indices: np.ndarray) -> Iterator[Item]:
            for file, label in (files[int(index)] for index in indices):
                yield Item(printable(file.relative_to(path)), label, file)

        provenance = {"path": printable(path), "revision": fingerprint(file for file, _ in files)}
        return Listing(len(files), tuple(printable(name) for name in names), provenance["revision"], provenance, read)


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _subfolders(folder: Path) -> list[Path]:
    return [entry for entry in _visible(folder) if entry.is_dir()]


def _split_roots(path: Path, split: str) -> list[Path]:
    """Return the folders that hold a split: the path itself unless all its subfolders are named like splits."""
    folders = _subfolders(path)
    if not folders or any(folder.name.lower() not in SPLIT_WORDS for folder in folders):
        return [path]
    chosen = [folder for folder in folders if split in (folder.name.lower(), "all")]
    if not chosen:
        known = [*(folder.name for folder in folders), "all"]
        raise BadInput(f"data.split: {path} has no split {split!r}; {nearest(split, known)}")
    return chosen


def _walk(root: Path) -> Iterator[Path]:
    """Yield files below a folder in sorted order; a folder reached twice through links is read once."""
    seen: set[tuple[int, int]] = set()

    def below(folder: Path) -> Iterator[Path]:
        try:
            place = os.stat(folder)
            entries = _visible(folder)
        except OSError:
            yield folder  # reading it as a picture fails later, which counts and names it
            return
        if (place.st_dev, place.st_ino) in seen:
            return
        seen.add((place.st_dev, place.st_ino))
        for entry in entries:
            if entry.is_dir():
                yield from below(entry)
            else:
                yield entry

    return below(root)
