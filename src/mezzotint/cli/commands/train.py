"""`mezzotint train`: a new run from a recipe, or an existing one resumed."""

import time
from pathlib import Path
from typing import Annotated

import typer


def command(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (`mezzotint list recipes`) or a .yaml file.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Recipe overrides.")] = None,
    name: Annotated[str | None, typer.Option(help="The run's name; the recipe's name without it.")] = None,
    budget: Annotated[str | None, typer.Option(help="Wall-clock time, e.g. 90s, 10m, 2h: plans the length.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    runs: Annotated[Path, typer.Option(help="The folder that holds runs.")] = Path("runs"),
) -> None:
    """Train a recipe into runs/NAME, or resume that run; Ctrl-C saves and stops."""
    started = time.monotonic()  # a budget counts from the command, so before torch is imported
    from mezzotint.cli.duration import seconds
    from mezzotint.cli.stopping import stoppable
    from mezzotint.cli.training import follow, preparation_shown
    from mezzotint.runs.drive import drive
    from mezzotint.runs.run import enter

    deadline = started + seconds(budget) if budget else None
    # Until the run exists there is nothing to save: Ctrl-C ends the preparation at once.
    with (
        preparation_shown() as show,
        enter(runs, name, recipe, overrides or (), device, deadline, show) as run,
        stoppable() as should_stop,
    ):
        stopped = follow(run, drive(run, run.loader(), should_stop))
    if stopped:
        raise typer.Exit(130)
