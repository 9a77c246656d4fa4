"""`mezzotint list`: what can be chosen, read without importing it."""

import json
from typing import Annotated

import typer

from mezzotint.cli.menu import KINDS, summaries


def _show(kind: str, found: dict[str, str]) -> str:
    width = max((len(name) for name in found), default=0)
    lines = [f"  {name:{width}}  {summary}".rstrip() for name, summary in found.items()]
    return "\n".join([kind, *lines])


def command(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print {kind: {name: summary}} as JSON.")] = False,
) -> None:
    """List what can be chosen by name.

    `mezzotint list` shows every kind of part: recipes, samplers, networks, metrics and more. `mezzotint list samplers`
    shows one kind.
    """
    found = {kind: summaries(kind) for kind in ctx.args or KINDS}
    text = "\n\n".join(_show(kind, parts) for kind, parts in found.items())
    typer.echo(json.dumps(found, indent=2) if as_json else text)
