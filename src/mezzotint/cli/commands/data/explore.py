"""`mezzotint data explore`: look at a data set before learning from it."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A pack, a recipe, a source, a folder or a .parquet.")],
    out: Annotated[Path, typer.Option("-o", help="The folder for the page and its pictures.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. image_size=64, unless it is a pack.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other pictures on the sheets.")] = 0,
    schedule: Annotated[list[str] | None, typer.Option(help="A noise schedule to draw; repeatable; else all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON.")] = False,
) -> None:
    """Write a page about a data set: index.html, which opens anywhere, and its pictures.

    Originals and prepared pictures, sizes, classes, grey levels, near-duplicates, broken files, the noise at which
    they drown, noise schedules and a picture's way through them.
    """
    from mezzotint.cli.exploring import pack_of, summary_text
    from mezzotint.errors import BadInput
    from mezzotint.exploration.dataset import look, summary
    from mezzotint.exploration.page import write
    from mezzotint.exploration.schedules import named_schedules

    if out.exists() and not out.is_dir():
        raise BadInput(f"-o {out}: is a file; name a folder")
    chosen = named_schedules(schedule or ())
    for found in look(pack_of(target, overrides or ()), seed):
        if isinstance(found, str):
            typer.echo(f"explore: {found}", err=True)
            continue
        page, numbers = write(found, chosen, out), summary(found)
        typer.echo(json.dumps({"page": str(page), **numbers}) if as_json else summary_text(numbers, page))
