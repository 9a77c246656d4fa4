"""`mezzotint data prepare`: decode, crop and resize once, into a pack."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A recipe, a source (`mezzotint list sources`), a folder, a .parquet.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. image_size=64 crop=center.")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", help="The pack's folder; in the cache without it.")] = None,
) -> None:
    """Decode, crop and resize images once, into a pack that training reads without decoding."""
    from mezzotint.cli.packs import describe
    from mezzotint.cli.preparing import data_options
    from mezzotint.cli.progress import Progress
    from mezzotint.data.prepare import PrepareProgress, ensure_pack, prepare

    options = data_options(target, overrides or ())
    with Progress("prepare", None) as progress:

        def show(state: PrepareProgress) -> None:
            progress.update(state.done, f"{state.skipped} skipped" if state.skipped else "")

        pack = prepare(options, out, show) if out else ensure_pack(options, show)
    typer.echo(describe(pack))
