"""`mezzotint data verify`: is a pack what it was when it was prepared, and does it share pictures with another?"""

from pathlib import Path
from typing import Annotated

import typer


def command(
    pack: Annotated[Path, typer.Argument(help="A pack's folder.")],
    against: Annotated[
        Path | None, typer.Option(help="Another pack, e.g. of the test split: pictures in both are a leak.")
    ] = None,
) -> None:
    """Hash a whole pack and say what has changed; with --against also which of its pictures another pack has too."""
    from mezzotint.cli.packs import shared
    from mezzotint.data.pack import Pack
    from mezzotint.errors import RunFailed

    opened = Pack.open(pack, check=False)
    problems = opened.verify()
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise RunFailed(f"{pack}: changed in {len(problems)} places; restore it, or delete it and prepare it again")
    typer.echo(f"{pack}: intact, {len(opened):,} pictures, content {opened.content_hash[:12]}")
    if against is not None:
        typer.echo(shared(opened, Pack.open(against)))
