"""`mezzotint data inspect`: what is in a pack and how it came to be."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    pack: Annotated[Path, typer.Argument(help="A pack's folder.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print pack.json's content, without the block hashes.")
    ] = False,
) -> None:
    """Say what a pack holds and how it was made.

    With the files that were skipped, and why.
    """
    from mezzotint.cli.packs import describe
    from mezzotint.data.pack import Pack

    opened = Pack.open(pack)
    if as_json:
        typer.echo(opened.info.model_dump_json(indent=2, exclude={"block_hashes"}))
    else:
        typer.echo(describe(opened))
