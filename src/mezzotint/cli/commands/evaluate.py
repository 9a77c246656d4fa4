"""`mezzotint evaluate`: how close pictures come to real ones."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer


def command(
    target: Annotated[Path, typer.Argument(help="A run, a pack, a folder of pictures, or an .npz.")],
    against: Annotated[str, typer.Option(help="Real images: a pack, a Parquet file, a folder, or SOURCE:SPLIT.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. sampling.steps=50.")
    ] = None,
    protocol: Annotated[list[str] | None, typer.Option(help="e.g. fid-50k, fd-squeezenet-5k; repeatable.")] = None,
    sampler: Annotated[str | None, typer.Option(help="See `mezzotint list samplers`.")] = None,
    steps: Annotated[int | None, typer.Option(help="Moves from noise to picture.")] = None,
    weights: Annotated[Literal["ema", "raw"], typer.Option(help="ema (averaged) or raw.")] = "ema",
    checkpoint: Annotated[str, typer.Option(help="last, or a number of images seen.")] = "last",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON score a line.")] = False,
) -> None:
    """Score pictures against real ones; a run's scores are kept in its scores.jsonl."""
    from mezzotint.cli.progress import Progress
    from mezzotint.cli.scoring import lines
    from mezzotint.evaluation.evaluate import Score
    from mezzotint.runs.judge import judge
    from mezzotint.runs.run import drawing_overrides

    changes = [*drawing_overrides(sampler, steps), *(overrides or ())]
    protocols = protocol or ()
    scores = judge(target, against, protocols, which=checkpoint, weights=weights, changes=changes, device=device)
    with Progress("evaluate", None) as progress:
        found = []
        for record in scores:
            if isinstance(record, Score):
                found.append(record)
            else:
                progress.update(record.done, record.what, total=record.total)
    for score in found:
        typer.echo(json.dumps(score.to_json()) if as_json else "\n".join(lines(score)))
