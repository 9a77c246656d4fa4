"""`mezzotint reconstruct`: what an autoencoder makes of real images."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer


def command(
    run: Annotated[Path, typer.Argument(help="A folder of a vae or vq-vae run, e.g. runs/mnist-vq-vae.")],
    on: Annotated[str, typer.Option(help="Real images: a pack, .parquet, folder, .npz of pixels or SOURCE:SPLIT.")],
    count: Annotated[int, typer.Option("-n", min=1, max=1024, help="Pictures on the sheet; numbers are of all.")] = 16,
    weights: Annotated[Literal["ema", "raw"], typer.Option(help="ema (averaged) or raw.")] = "ema",
    checkpoint: Annotated[str, typer.Option(help="last, best (by the monitored score), or images seen.")] = "last",
    device: Annotated[str, typer.Option(help="auto (where it was trained), cpu, cuda, mps.")] = "auto",
    out: Annotated[Path | None, typer.Option("-o", help="The sheet's .png; without it, in the run's samples.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON record.")] = False,
) -> None:
    """Show images above what a run makes of them; say how far that is from them and what they cost."""
    from mezzotint.cli.scoring import followed
    from mezzotint.errors import BadInput
    from mezzotint.pixels import write_png
    from mezzotint.runs.folder import RunFolder
    from mezzotint.runs.reconstruct import default_place, reconstruct
    from mezzotint.runs.run import open_run

    if out is not None and out.suffix != ".png":
        raise BadInput(f"-o {out}: the sheet is a picture, end its name in .png")
    opened = open_run(RunFolder.open(run), device)
    place = out or default_place(opened, checkpoint, weights)
    found = followed("reconstruct", reconstruct(opened, on, count, checkpoint, weights), opened.machine)
    if opened.machine.is_main:
        (result,) = found
        write_png(place, result.sheet)
        lines = [f"{name:<14} {value:.5g}" for name, value in result.facts.items()]
        record = {"images": result.count, **result.facts, "sheet": str(place)}
        typer.echo(json.dumps(record) if as_json else "\n".join([f"{result.count:,} images", *lines, str(place)]))
    opened.machine.part()
