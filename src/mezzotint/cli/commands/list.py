"""`mezzotint list`: what can be chosen, read without importing it, and what one choice asks."""

import json
from typing import Annotated

import typer

from mezzotint.cli.menu import KINDS, summaries


def _show(kind: str, found: dict[str, str]) -> str:
    found = found or {"(no options)": ""}
    width = max((len(name) for name in found), default=0)
    lines = [f"  {name:{width}}  {summary}".rstrip() for name, summary in found.items()]
    return "\n".join([kind, *lines])


def _details(word: str) -> dict[str, dict[str, str]]:
    from mezzotint.cli.details import details  # it imports the parts: only where one is asked for

    return details(word)


def command(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print {title: {name: text}} as JSON.")] = False,
) -> None:
    """List what can be chosen by name.

    `mezzotint list` shows every kind of part: recipes, samplers, networks, metrics and more. `mezzotint list samplers`
    shows one kind, `mezzotint list heun` one part's options with their defaults, `mezzotint list digits-edm` what a
    recipe says, `mezzotint list options` the keys of all recipes; also `families` and `protocols`.
    """
    found: dict[str, dict[str, str]] = {}
    for word in ctx.args or KINDS:
        found |= {word: summaries(word)} if word in KINDS else _details(word)
    text = "\n\n".join(_show(kind, parts) for kind, parts in found.items())
    typer.echo(json.dumps(found, indent=2) if as_json else text)
