"""What a person sees of a training: a bar or plain lines, and where things are at the end."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from mezzotint.cli.drawing import note
from mezzotint.cli.duration import spoken
from mezzotint.cli.progress import Progress

if TYPE_CHECKING:
    from mezzotint.data.building import Progress as Prepared
    from mezzotint.runs.drive import Record
    from mezzotint.runs.run import Run


@contextmanager
def preparation_shown() -> "Iterator[Callable[[Prepared], None]]":
    """Give what shows files being fetched and a pack prepared: a bar for each, ended when it is done or has failed."""
    bars: dict[str, Progress] = {}  # one at most: a terminal shows one at a time

    def end() -> None:
        while bars:
            bars.popitem()[1].close()

    def show(state: "Prepared") -> None:
        if state.what not in bars:
            end()
            bars[state.what] = Progress(state.what, state.total, unit=state.unit)
            if state.note:
                bars[state.what].say(state.note)
        bars[state.what].update(state.done, f"{state.skipped:,} skipped" if state.skipped else "", total=state.total)
        if state.done == state.total:
            end()

    try:
        yield show
    finally:
        end()


def follow(run: "Run", records: Iterable["Record"]) -> bool:
    """Show a run's records as they come; return whether it was stopped before its end."""
    stopped, last, begun = False, None, run.images_seen()
    if run.machine.is_main:
        typer.echo(_heading(run), err=True)
        note(run.recipe)
    batch = run.recipe.training.batch_size
    whole = -(-run.recipe.training.images // batch) * batch  # the last update is a whole one
    with Progress("train", whole, done=begun) as progress:
        for record in records:
            if record.kind == "update":
                progress.update(record.images_seen, _losses(record))
            elif record.kind in ("validation", "sheet", "score", "monitor"):
                progress.say(f"{record.images_seen:,} images: {record.kind} {_values(record)}")
            stopped = record.kind == "stopped"
            last = record
    if last and run.machine.is_main:
        typer.echo(_ending(run, last, begun))
    return stopped


def _heading(run: "Run") -> str:
    machine, training, counted = run.machine, run.recipe.training, run.folder.read_environment().get("image_bytes")
    memory = f"about {counted / 2**20:.1f} MiB for each of {training.chunk_size} images at once; " if counted else ""
    return (
        f"{run.folder.path}: {training.images:,} images, batch {training.batch_size} "
        f"on {machine.device} in {machine.precision}, {machine.threads} threads; "
        f"{memory}compiling {machine.compilation.because}"
    )


def _losses(record: "Record") -> str:
    losses = {name: value for name, value in record.values.items() if name.endswith("/loss")}
    skipped = f", {record.values['skipped']} skipped" if record.values.get("skipped") else ""
    cut = f", chunks in {record.values['slices']} slices to fit into memory" if "slices" in record.values else ""
    return ", ".join(f"{name.partition('/')[0]} loss {value:.4g}" for name, value in losses.items()) + skipped + cut


def _values(record: "Record") -> str:
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in record.values.items())


def _ending(run: "Run", last: "Record", begun: int) -> str:
    from mezzotint.runs.recipe import family_class

    folder = run.folder.path
    if last.kind == "stopped":
        return f"stopped at {last.images_seen:,} images, saved; the same command resumes {folder}"
    took = spoken(float(last.values["seconds"]))
    places = f"sheets in {run.folder.samples}, log in {run.folder.log}"
    already = "nothing left to do: " if last.images_seen == begun else ""
    draws = family_class(run.recipe.family).draws
    use = f"draws by default: mezzotint sample {folder}" if draws else f"is shown by mezzotint reconstruct {folder}"
    return f"{already}trained {last.images_seen:,} images in {took}; {places}; {run.told('auto')}, {use}"
