"""`mezzotint bench`: how fast this machine trains and draws, and how fast it could."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    seconds: Annotated[float, typer.Option(min=1, help="About how long to measure.")] = 60,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Also measure what compiling brings; a minute or two more.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a reference U-Net (9.0 M parameters, 32 px): updates, denoiser calls, convolutions alone.

    The numbers are kept for this machine: `doctor` shows them, and `compile: auto` follows them.
    """
    from mezzotint.cli.benching import lines
    from mezzotint.cli.diagnosis import competition, look
    from mezzotint.machine import Machine
    from mezzotint.runs.measured import Measured, remember
    from mezzotint.runs.workload import measure

    machine = Machine.detect(device).prepare()
    for warning in competition(look(machine, Path.cwd())):
        typer.echo(f"note: {warning}", err=True)
    for step in measure(machine, seconds, compiled):
        if not isinstance(step, Measured):
            typer.echo(f"bench: {step}", err=True)
            continue
        remember(machine, step)
        facts = machine.environment() | step.tree()
        typer.echo(json.dumps(facts, indent=2) if as_json else "\n".join(lines(machine.precision, step)))
