"""`mezzotint weights verify`: are the weights here what their authors published?"""

import json
from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="Which weights; without it, all.")] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Hash the weights that are here: ok, wrong or absent, with file and SHA-256."""
    from mezzotint.cli.published import checks, chosen
    from mezzotint.errors import BadInput

    wrong = []
    for check in checks(chosen(name)):
        typer.echo(json.dumps(check.tree) if as_json else check.line)
        wrong += [check.path] if check.state == "wrong" else []
    if wrong:
        raise BadInput(f"wrong weights, delete and fetch again: {', '.join(map(str, wrong))}")
