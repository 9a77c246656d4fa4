"""What `data explore` and `data suggest` look at; advice and schedules as text."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

from mezzotint.cli.preparing import data_options, prepared
from mezzotint.data.pack import Pack
from mezzotint.errors import BadInput
from mezzotint.exploration.advice import Advice, overrides
from mezzotint.exploration.schedules import Curve
from mezzotint.options import Tree

_MOST_COLUMNS = 110


def pack_of(target: str, assignments: Sequence[str]) -> Pack:
    """Open a pack, or prepare what else is named into the cache first."""
    if (Path(target) / "pack.json").is_file():
        if assignments:
            raise BadInput(f"override {assignments[0]!r}: {target} is a pack, its pictures are prepared already")
        return Pack.open(Path(target))
    return prepared(data_options(target, assignments), None)


def advice_text(advice: Sequence[Advice]) -> str:
    """Return advice as lines: about, value, and below it why; the overrides last."""
    width = min(_MOST_COLUMNS, shutil.get_terminal_size().columns) - 18
    lines: list[str] = []
    for row in advice:
        lines += [f"{row.about:16}  {row.value}", *(f"{'':18}{line}" for line in wrap(row.because, max(width, 30)))]
    return "\n".join([*lines, "", "overrides", overrides(list(advice))])


def curves_text(curves: Sequence[Curve], picture: Path) -> str:
    """Return schedules as lines, their highest, middle and lowest sigma, and the picture's path."""
    longest = max(len(curve.name) for curve in curves)
    lines = [f"{'':{longest}}  {'u = 0':>8}  {'0.5':>8}  {'1':>8}"]
    for curve in curves:
        ends = (curve.sigma[0], curve.sigma[len(curve.sigma) // 2], curve.sigma[-1])
        lines.append("  ".join([f"{curve.name:{longest}}", *(f"{float(sigma):8.4g}" for sigma in ends)]))
    return "\n".join([*lines, str(picture)])


def summary_text(found: Tree, page: Path) -> str:
    """Return what `data explore` found in a few lines, the page's path first."""
    pairs, shapes = found["near_duplicates"], found["originals"]
    least = "" if pairs["all_counted"] else "at least "
    rows = {
        "page": str(page),
        "pictures": f"{found['pictures']:,}, {found['image_size']} px, {found['channels']} channels",
        "classes": f"{len(found['classes'])}" if found["classes"] else "none",
        "originals": "not at hand" if shapes is None else f"{shapes['width'][2]} x {shapes['height'][2]} px (median)",
        "left out": ", ".join(f"{reason} {count:,}" for reason, count in found["skipped"].items()) or "none",
        "alike": f"{least}{pairs['pairs']:,} pairs among {pairs['compared']:,} pictures compared",
        "overrides": found["overrides"],
    }
    return "\n".join(f"{name:9} {value}" for name, value in rows.items())
