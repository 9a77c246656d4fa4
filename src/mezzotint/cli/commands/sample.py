"""`mezzotint sample`: pictures from a trained run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mezzotint.cli.drawing import CHECKPOINT, note


def command(
    run: Annotated[Path, typer.Argument(help="A run's folder, e.g. runs/digits-edm.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. sampling.clip_x0=true.")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="How many pictures.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="The first picture's seed; the next has the next seed.")] = 0,
    label: Annotated[int | None, typer.Option(help="One class for all; without it, seed mod classes.")] = None,
    sampler: Annotated[str | None, typer.Option(help="See `mezzotint list samplers`.")] = None,
    steps: Annotated[int | None, typer.Option(help="Moves from noise to picture.")] = None,
    weights: Annotated[Literal["ema", "raw"], typer.Option(help="ema (averaged) or raw.")] = "ema",
    checkpoint: Annotated[str, typer.Option(help=CHECKPOINT)] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures drawn at once.")] = 64,
    device: Annotated[str, typer.Option(help="auto (where it was trained), cpu, cuda, mps.")] = "auto",
    out: Annotated[
        Path | None, typer.Option("-o", help="A folder (PNG files and a sheet), .png (sheet) or .npz.")
    ] = None,
) -> None:
    """Draw pictures from a run: picture k depends on seed k alone."""
    from mezzotint.cli.progress import Progress
    from mezzotint.generation.grid import class_columns
    from mezzotint.generation.saving import SHEET, check_destination, saved
    from mezzotint.generation.stream import stream
    from mezzotint.runs.folder import RunFolder
    from mezzotint.runs.run import drawing_overrides, open_run

    opened = open_run(RunFolder.open(run), device)
    checkpoint = opened.chosen(checkpoint).name  # now: a run that goes on has another last or best one soon
    changes = [*drawing_overrides(sampler, steps), *(overrides or ())]
    generator = opened.generator(checkpoint, weights, changes)
    note(opened.changed(changes))
    seeds = range(seed, seed + count)
    own = opened.drawn_folder(checkpoint, weights, changes, label) / f"{seed}-to-{seeds[-1]}"
    destination = check_destination(out or own, seeds)
    labels = None if label is None else [label] * count
    columns = class_columns(generator.num_classes, count) if label is None else None
    with Progress("sample", count) as progress:
        drawn = stream(generator, seeds, batch_size=batch_size, device=opened.machine.device, labels=labels)
        for batch in saved(drawn, destination, columns):
            progress.advance(len(batch.seeds))
    typer.echo(opened.told(checkpoint), err=True)
    typer.echo(str(destination if destination.suffix else destination / SHEET))
