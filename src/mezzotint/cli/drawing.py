"""What the commands which train, or draw from a run, share: words, and notes of what is hardly meant."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mezzotint.runs.recipe import Recipe

CHECKPOINT = (
    "last, best (by the monitored score), images seen, or auto: for a GAN the best if it was monitored, else the last."
)


def note(recipe: "Recipe") -> None:
    """Print what a recipe asks for that is allowed but hardly meant, a line each."""
    for caution in recipe.cautions():
        typer.echo(f"note: {caution}", err=True)
