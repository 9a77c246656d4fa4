"""`mezzotint data inspect`: what is in a pack and how it came to be, or what a data set would be."""

import json
from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A pack's folder, or a source's name (`mezzotint list data`).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. dataset=OWNER/NAME split=test, for hub.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print pack.json's content, without the block hashes; or the card.")
    ] = False,
) -> None:
    """Say what a pack holds and how it was made.

    With the files that were skipped, and why. For the name of a data set: what would have to be downloaded, how large
    it is, and what may be done with it; for `hub dataset=OWNER/NAME` (or a folder in the hub's layout), what the hub
    tells of it. No picture is downloaded.
    """
    from mezzotint.cli.cards import card_of, is_source
    from mezzotint.cli.packs import describe, opened

    if is_source(target):
        tree, text = card_of(target, overrides or ())
        typer.echo(json.dumps(tree, indent=2) if as_json else text)
        return
    pack = opened(target, overrides or ())
    if as_json:
        typer.echo(pack.info.model_dump_json(indent=2, exclude={"block_hashes"}))
    else:
        typer.echo(describe(pack))
