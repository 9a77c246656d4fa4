"""What a person sees of a training: a bar or plain lines, and where things are at the end."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer

from mezzotint.cli.duration import spoken
from mezzotint.cli.progress import Progress

if TYPE_CHECKING:
    from mezzotint.data.prepare import Progress as Prepared
    from mezzotint.runs.drive import Record
    from mezzotint.runs.run import Run


def show_preparation() -> "Callable[[Prepared], None]":
    """Return what shows a pack being prepared: a bar that comes with the first pictures and goes with the last."""
    bar: list[Progress] = []

    def show(state: "Prepared") -> None:
        if not bar:
            bar.append(Progress("prepare", state.total))
        bar[0].update(state.done, f"{state.skipped:,} skipped" if state.skipped else "")
        if state.done == state.total:
            bar[0].close()

    return show


def follow(run: "Run", records: Iterable["Record"]) -> bool:
    """Show a run's records as they come; return whether it was stopped before its end."""
    stopped, last = False, None
    if run.machine.is_main:
        typer.echo(_heading(run), err=True)
    batch = run.recipe.training.batch_size
    whole = -(-run.recipe.training.images // batch) * batch  # the last update is a whole one
    with Progress("train", whole, done=run.images_seen()) as progress:
        for record in records:
            if record.kind == "update":
                progress.update(record.images_seen, _losses(record))
            elif record.kind in ("validation", "sheet", "score", "monitor"):
                progress.say(f"{record.images_seen:,} images: {record.kind} {_values(record)}")
            stopped = record.kind == "stopped"
            last = record
    if last and run.machine.is_main:
        typer.echo(_ending(run, last))
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


def _ending(run: "Run", last: "Record") -> str:
    folder = run.folder.path
    if last.kind == "stopped":
        return f"stopped at {last.images_seen:,} images, saved; the same command resumes {folder}"
    took = spoken(float(last.values["seconds"]))
    return f"trained {last.images_seen:,} images in {took}; sheets in {run.folder.samples}, log in {run.folder.log}"
