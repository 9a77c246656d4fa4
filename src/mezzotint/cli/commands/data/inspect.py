"""`mezzotint data inspect`: what is in a pack and how it came to be, or what a published data set would be."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    pack: Annotated[Path, typer.Argument(help="A pack's folder, or a data set's name (`mezzotint list data`).")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print pack.json's content, without the block hashes; or the card.")
    ] = False,
) -> None:
    """Say what a pack holds and how it was made.

    With the files that were skipped, and why. For the name of a data set: what would have to be downloaded, how large
    it is, and what may be done with it. Nothing is downloaded.
    """
    from mezzotint.cli.cards import card_named, card_tree, describe_card

    if not pack.exists() and (card := card_named(str(pack))) is not None:
        typer.echo(json.dumps(card_tree(card), indent=2) if as_json else describe_card(str(pack), card))
        return
    from mezzotint.cli.packs import describe
    from mezzotint.data.pack import Pack

    opened = Pack.open(pack)
    if as_json:
        typer.echo(opened.info.model_dump_json(indent=2, exclude={"block_hashes"}))
    else:
        typer.echo(describe(opened))
