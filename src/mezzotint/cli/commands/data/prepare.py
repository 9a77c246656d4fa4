"""`mezzotint data prepare`: decode, crop and resize once, into a pack."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A recipe, a source (`mezzotint list data`), a folder, a .parquet.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. image_size=64 crop=center.")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", help="The pack's folder; in the cache without it.")] = None,
) -> None:
    """Decode, crop and resize images, once.

    The result is a pack: a folder that training reads without decoding anything again.
    """
    from mezzotint.cli.packs import describe
    from mezzotint.cli.preparing import data_options, prepared
    from mezzotint.cli.progress import Progress

    options = data_options(target, overrides or ())
    with Progress("prepare", None) as progress:
        pack = prepared(options, out, progress)
    typer.echo(describe(pack))
