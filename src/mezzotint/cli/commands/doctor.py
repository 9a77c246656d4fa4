"""`mezzotint doctor`: the machine."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def command(
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what this machine offers and how fast it is.

    With what will be slow or short on it, why, and what helps.
    """
    from mezzotint.cli.benching import lines
    from mezzotint.cli.diagnosis import diagnose
    from mezzotint.machine import Machine

    found = diagnose(Machine.detect(device).prepare(), Path.cwd())
    if as_json:
        measured = found.measured and found.measured.tree()
        typer.echo(json.dumps({**asdict(found), "measured": measured}, indent=2))
        return
    for name, value in found.facts.items():
        typer.echo(f"{name:20} {value}")
    for name, gflops in found.gflops.items():
        typer.echo(f"{'convolution':20} {gflops:,.0f} GFLOP/s in {name}")
    spoken = lines(str(found.facts["precision"]), found.measured) if found.measured else ["nothing yet"]
    for line in spoken:
        typer.echo(f"{'mezzotint bench':20} {line}")
    for warning in found.warnings:
        typer.echo(f"{'note':20} {warning}")
