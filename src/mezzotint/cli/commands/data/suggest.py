"""`mezzotint data suggest`: noise, schedule and resolution for a data set, with the measurement behind each."""

import json
from dataclasses import asdict
from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A pack, a recipe, a source, a folder or a .parquet.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="e.g. image_size=64, unless it is a pack.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other pictures where not all are measured.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print advice and measurements as JSON.")] = False,
) -> None:
    """Measure a data set and say what to set for it.

    sigma_data, training noise, sigma_max, schedule, noise shift, image size, mirroring: a value each, and why. The last
    line can be put behind `mezzotint train RECIPE`.
    """
    from mezzotint.cli.exploring import advice_text, pack_of
    from mezzotint.exploration.advice import advise, measured
    from mezzotint.exploration.advice import overrides as written
    from mezzotint.exploration.dataset import measurements
    from mezzotint.exploration.originals import originals

    pack = pack_of(target, overrides or ())
    known = measured(pack, originals(pack, seed), seed=seed)
    advice = advise(known)
    if as_json:
        rows = [asdict(row) for row in advice]
        typer.echo(json.dumps({"advice": rows, "overrides": written(advice), **measurements(known)}))
    else:
        typer.echo(advice_text(advice))
