"""`mezzotint compare`: which of several runs or sets of pictures is better, and how surely."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mezzotint.cli.drawing import CHECKPOINT


def command(
    targets: Annotated[
        list[Path], typer.Argument(help="Runs (RUN@CHECKPOINT: at that one), packs, folders, .parquet or .npz files.")
    ],
    against: Annotated[str, typer.Option(help="Real images: a pack, .parquet, folder, .npz or SOURCE:SPLIT.")],
    protocol: Annotated[
        list[str] | None, typer.Option(help="e.g. fid-50k; repeatable; without it the first run's own.")
    ] = None,
    form: Annotated[
        Literal["table", "csv", "markdown", "json"], typer.Option("--format", help="How the table is written.")
    ] = "table",
    checkpoint: Annotated[str, typer.Option(help=CHECKPOINT)] = "auto",
    weights: Annotated[Literal["ema", "raw"], typer.Option(help="ema (averaged) or raw.")] = "ema",
    held_out: Annotated[str | None, typer.Option(help="Further real images, for the floor.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    out: Annotated[
        Path | None, typer.Option("-o", help="A folder for the table and a sheet, side by side at the same seeds.")
    ] = None,
) -> None:
    """Compare runs or pictures: one table, best first, and nothing ranked that can't be."""
    from mezzotint.cli.comparing import FORMATS, groups
    from mezzotint.cli.scoring import followed
    from mezzotint.disk import write_text
    from mezzotint.errors import BadInput
    from mezzotint.pixels import write_png
    from mezzotint.runs.compare import compare, contenders, side_by_side

    if out is not None and out.exists() and not out.is_dir():
        raise BadInput(f"-o {out}: is a file; name a folder")
    ways = {"which": checkpoint, "weights": weights, "device": device, "held_out": held_out}
    found = contenders(targets, against, protocol or (), **ways)  # type: ignore[arg-type]
    machine = found[0].case.machine
    entries = followed("compare", compare(found), machine)
    ending, written = FORMATS[form]
    table = written(groups(entries))
    if machine.is_main:
        typer.echo(table)
    if machine.is_main and out is not None:
        write_text(out / f"scores{ending}", f"{table}\n")
        write_png(out / "sheet.png", side_by_side(found))
    machine.part()
