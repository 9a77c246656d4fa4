"""`mezzotint data verify`: is a pack what it was when it was prepared?"""

from pathlib import Path
from typing import Annotated

import typer


def command(pack: Annotated[Path, typer.Argument(help="A pack's folder.")]) -> None:
    """Hash a whole pack and say what has changed."""
    from mezzotint.data.pack import Pack
    from mezzotint.errors import RunFailed

    opened = Pack.open(pack, check=False)
    problems = opened.verify()
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise RunFailed(f"{pack}: changed in {len(problems)} places; restore it, or delete it and prepare it again")
    typer.echo(f"{pack}: intact, {len(opened):,} pictures, content {opened.content_hash[:12]}")
