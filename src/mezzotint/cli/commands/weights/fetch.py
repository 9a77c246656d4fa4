"""`mezzotint weights fetch`: published weights into the cache, resumed where an earlier try broke off."""

from typing import Annotated

import typer


def command(
    name: Annotated[str | None, typer.Argument(help="Which weights, or `all`; without it, list what there is.")] = None,
) -> None:
    """Fetch an extractor's weights into the cache and check them.

    A broken connection costs nothing: the next try goes on from there.
    """
    from mezzotint.cli.published import brought, chosen, listing

    if name is None:
        typer.echo("\n".join(listing()))
        return
    for known, files in chosen(name).items():
        typer.echo(f"{known}: {brought(known, files)}")
