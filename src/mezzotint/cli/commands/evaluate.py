"""`mezzotint evaluate`: how close pictures come to real ones."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from mezzotint.cli.drawing import CHECKPOINT, note


def command(
    target: Annotated[Path, typer.Argument(help="A run, a pack, a folder of pictures, a .parquet or an .npz.")],
    against: Annotated[
        str,
        typer.Option(
            help="Real images: a pack, .parquet, folder, .npz (of pixels or statistics) or SOURCE:SPLIT. To look for "
            "copies (memorisation): held-out images for a run, whose own training images are known; else these."
        ),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. sampling.steps=50.")
    ] = None,
    protocol: Annotated[list[str] | None, typer.Option(help="e.g. fid-50k, fd-squeezenet-5k; repeatable.")] = None,
    sampler: Annotated[str | None, typer.Option(help="See `mezzotint list samplers`.")] = None,
    steps: Annotated[int | None, typer.Option(help="Moves from noise to picture.")] = None,
    weights: Annotated[Literal["ema", "raw"], typer.Option(help="ema (averaged) or raw.")] = "ema",
    checkpoint: Annotated[str, typer.Option(help=CHECKPOINT)] = "auto",
    held_out: Annotated[str | None, typer.Option(help="Further real images, for the floor.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON score a line.")] = False,
) -> None:
    """Score pictures against real ones; a run's scores are kept in its scores.jsonl."""
    from mezzotint.cli.scoring import followed, lines
    from mezzotint.runs.judge import judge, open_case
    from mezzotint.runs.run import drawing_overrides

    changes = [*drawing_overrides(sampler, steps), *(overrides or ())]
    case = open_case(
        target,
        against,
        protocol or (),
        which=checkpoint,
        weights=weights,
        changes=changes,
        device=device,
        held_out=held_out,
    )
    if case.drawing and case.machine.is_main:
        typer.echo(case.drawing.run.told(case.drawing.which), err=True)
        note(case.drawing.run.changed(case.drawing.changes))
    found = followed("evaluate", judge(case), case.machine)
    for score in found if case.machine.is_main else ():
        typer.echo(json.dumps(score.to_json()) if as_json else "\n".join(lines(score)))
    case.machine.part()
