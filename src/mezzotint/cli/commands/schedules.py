"""`mezzotint schedules`: noise schedules as curves."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Option("-o", help="The picture's .png.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SCHEDULE]...", help="e.g. cosine '{kind: sigmoid, tau: 0.5}'; without any, all."),
    ] = None,
    points: Annotated[int, typer.Option(min=3, max=100_000, help="Points of a curve.")] = 1001,
    as_json: Annotated[bool, typer.Option("--json", help="Print the curves as JSON.")] = False,
) -> None:
    """Draw noise schedules: sigma, log-SNR and alpha over u, and how densely training visits each sigma.

    Any that a recipe takes as family.schedule; `mezzotint list schedules` names them.
    """
    from mezzotint.cli.exploring import curves_text
    from mezzotint.disk import write_bytes
    from mezzotint.errors import BadInput
    from mezzotint.exploration.figures import overview, png
    from mezzotint.exploration.schedules import named_schedules, schedules

    if out.suffix != ".png":
        raise BadInput(f"-o {out}: the curves are a picture, end its name in .png")
    found = schedules(named_schedules(words or ()), points)
    write_bytes(out, png(overview(found)), durable=False)
    curves = {curve.name: curve.numbers() for curve in found}
    typer.echo(json.dumps({"picture": str(out), "schedules": curves}) if as_json else curves_text(found, out))
