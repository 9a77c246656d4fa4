"""A pack in a few lines of text."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mezzotint.data.overlap import overlap
from mezzotint.data.pack import Pack, PackInfo
from mezzotint.data.sources import SOURCES
from mezzotint.errors import BadInput, RunFailed, nearest

_NAMES_SHOWN = 20
_COLOURS = {1: "grayscale", 3: "colour"}


def opened(target: str, assignments: Sequence[str]) -> Pack:
    """Open a pack; `BadInput` for overrides, which it can't have, and for names of nothing, with those near them."""
    path = Path(target)
    if len(path.parts) <= 2 and not path.exists():
        raise BadInput(f"{target}: does not exist {_meant(path)}; a pack is a folder made by `mezzotint data prepare`")
    pack = Pack.open(path)
    if assignments:
        raise BadInput(f"override {assignments[0]!r}: {target} is a pack, its pictures are prepared already")
    return pack


def _meant(path: Path) -> str:
    """Say which packs or sources are near, or how a data set of the hub is looked at."""
    if len(path.parts) == 2 and not path.parent.exists():
        return f"(a data set of the hub is looked at by `mezzotint data inspect hub dataset={path}`)"
    beside = [entry.name for entry in path.parent.iterdir() if (entry / "pack.json").is_file()]
    return f"({nearest(path.name, beside if len(path.parts) == 2 else [*SOURCES, *beside])})"


def _per_class(pack: Pack) -> str:
    labels = pack.labels(np.arange(len(pack)))
    if labels is None:
        return "none"
    counts = np.bincount(labels.numpy(), minlength=pack.num_classes)
    named = [f"{name} {count:,}" for name, count in zip(pack.class_names, counts, strict=True)]
    more = f", and {len(named) - _NAMES_SHOWN} more" if len(named) > _NAMES_SHOWN else ""
    return ", ".join(named[:_NAMES_SHOWN]) + more


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in found.items()) or "none"


def _equal(duplicates: tuple[tuple[int, ...], ...] | None) -> str:
    if duplicates is None:
        return "unknown (prepared by an earlier version)"
    spare = sum(len(group) - 1 for group in duplicates)
    return f"{spare:,} pictures repeat others; equal ones are held out together" if spare else "none"


def _skipped_names(info: PackInfo) -> list[str]:
    return [f"  {skipped.name}: {skipped.reason}" for skipped in info.skipped_names]


def shared(pack: Pack, other: Pack) -> str:
    """Say that two packs share no picture; `RunFailed` with counts and places where they do."""
    found = overlap(pack, other)
    if found:
        places = ", ".join(map(str, found.ours[:_NAMES_SHOWN].tolist()))
        more = ", ..." if len(found.ours) > _NAMES_SHOWN else ""
        raise RunFailed(
            f"{pack.path}: {len(found.ours):,} of its {len(pack):,} pictures are {len(found.theirs):,} of the "
            f"{len(other):,} of {other.path} (places {places}{more})"
        )
    return f"{pack.path}: shares no picture with the {len(other):,} of {other.path}"


def describe(pack: Pack) -> str:
    """Return what a pack holds, where it came from, what was done, and what was left out and why."""
    info = pack.info
    source = {key: value for key, value in info.source.items() if value is not None}
    rows = {
        "pack": str(pack.path),
        "pictures": f"{info.count:,} of {info.offered:,} offered, {info.image_size} px, {_COLOURS[info.channels]}",
        "source": ", ".join(f"{key} {value}" for key, value in {**source, **info.provenance}.items()),
        "split": info.split,
        "made by": f"crop {info.crop}, resize {info.filter}",
        "classes": _per_class(pack),
        "mean": " ".join(f"{value:.4f}" for value in info.mean),
        "std": " ".join(f"{value:.4f}" for value in info.std),
        "content": info.content_hash,
        "equal": _equal(info.duplicates),
        "notes": _counts(info.notes),
        "skipped": _counts(info.skipped),
    }
    return "\n".join([*(f"{name:9} {value}" for name, value in rows.items()), *_skipped_names(info)])
