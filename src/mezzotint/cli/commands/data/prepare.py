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

    The result is a pack: a folder that training reads without decoding anything again. A published data set whose
    files aren't here (no path=...) is fetched first: `mezzotint data inspect NAME` says from where and how large it is.
    A preparation that was interrupted goes on where it stopped.
    """
    from mezzotint.cli.packs import describe
    from mezzotint.cli.preparing import data_options, prepared

    typer.echo(describe(prepared(data_options(target, overrides or ()), out)))
