"""`mezzotint estimate`: what a recipe will need, before anything starts."""

from typing import Annotated

import typer


def command(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (`mezzotint list recipes`) or a .yaml file.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Recipe overrides.")] = None,
    classes: Annotated[int, typer.Option(min=1, help="Classes of the images, for class-conditional recipes.")] = 10,
    images: Annotated[int | None, typer.Option(min=1, help="Training images, for lengths such as 100ep.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what training a recipe needs: memory, operations, time.

    And what it would take on known GPUs. A few trial updates are timed; the images aren't needed.
    """
    import json
    from dataclasses import asdict

    from mezzotint.cli.drawing import note
    from mezzotint.cli.estimating import elsewhere, in_epochs, lines
    from mezzotint.machine import Machine
    from mezzotint.runs import build
    from mezzotint.runs import recipe as recipes
    from mezzotint.runs.estimate import estimate

    tree, checked = recipes.read(recipe, overrides or ())
    checked = in_epochs(tree, checked, images)
    build.check(checked, classes)
    note(checked)
    found = estimate(checked, classes, Machine.detect(device, checked.training.precision).prepare())
    if as_json:
        typer.echo(json.dumps(asdict(found) | {"gpus": elsewhere(found)}, indent=2))
        return
    for line in lines(found):
        typer.echo(line)
