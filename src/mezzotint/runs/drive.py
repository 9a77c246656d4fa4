"""Driving a run: train, log, validate, draw, save, stop, resume. One generator, and a small function per record."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from mezzotint.contracts import Batch, Family
from mezzotint.data.loading import Loader
from mezzotint.errors import RunFailed
from mezzotint.memory import peak_bytes
from mezzotint.pixels import to_images, write_png
from mezzotint.runs import build, checkpoint
from mezzotint.runs.checkpoint import Checkpoint
from mezzotint.runs.draw import draw_sheet
from mezzotint.runs.monitor import Monitor
from mezzotint.runs.recipe import CADENCES
from mezzotint.runs.run import Run
from mezzotint.seeds import forked
from mezzotint.training.loop import Learner, Update

Values = dict[str, float | int | str]


@dataclass(frozen=True, slots=True)
class Record:
    """One line of `log.jsonl`: `kind` is update, validation, sheet, score, monitor, checkpoint or failed.

    A drive ends with `stopped` or `done`, which are not logged.
    """

    kind: str
    update: int
    images_seen: int
    values: Values = field(default_factory=dict)

    def json(self) -> Values:
        """Return one flat mapping."""
        return {"kind": self.kind, "update": self.update, "images_seen": self.images_seen, **self.values}


def drive(run: Run, loader: Loader, should_stop: Callable[[], bool] = lambda: False) -> Iterator[Record]:
    """Train a run from where it stands to its end, yielding every record it logs.

    When `should_stop()` turns true, the run saves itself after the present update and ends with a `stopped` record.
    """
    learner, seconds_before = resume(run)
    training, meter, monitor = run.recipe.training, Meter(seconds_before), Monitor.of(run, loader)
    for update in _updates(run, learner, loader):
        last = learner.images_seen >= training.images
        stopping = run.machine.agree(should_stop()) and not last
        if run.machine.is_main:
            took = meter.add(update, training.batch_size)
            if decided := monitor.watch(took, learner):
                yield _log(run, learner, "monitor", decided)
            due = _due(run, update.images_seen, last, stopping)
            if monitor.due(update.images_seen, last):
                due.add("score")
            yield from _records(run, learner, loader, meter, monitor, due)
            meter.resume()
        if stopping:
            yield Record("stopped", learner.update, learner.images_seen)
            return
    yield Record("done", learner.update, learner.images_seen, {"seconds": meter.seconds()})


def _updates(run: Run, learner: Learner, loader: Loader) -> Iterator[Update]:
    """Train; a failure is logged with its reason before it goes on to the caller."""
    try:
        yield from build.trainer(run.recipe, loader, run.machine).train(learner)
    except RunFailed as error:
        if run.machine.is_main:
            _log(run, learner, "failed", {"reason": str(error)})
        raise


def _records(
    run: Run, learner: Learner, loader: Loader, meter: "Meter", monitor: Monitor, due: set[str]
) -> Iterator[Record]:
    """Make the records that are due. The checkpoint comes last: a log cut back to it has lost nothing."""
    best = False
    if "log" in due:
        yield _log(run, learner, "update", {**meter.values(run), **loader.trouble()})
    if "validation" in due:
        yield _log(run, learner, "validation", validate(run, learner, loader))
    if "sheet" in due:
        yield _log(run, learner, "sheet", draw(run, learner, loader))
    if "score" in due:
        record = _log(run, learner, "score", monitor.score(learner))
        best = monitor.improves(record.json())
        yield record
    if "checkpoint" in due or best:
        yield _log(run, learner, "checkpoint", save(run, learner, meter.seconds(), best))


def _due(run: Run, images_seen: int, last: bool, stopping: bool) -> set[str]:
    """Name the cadences that the update which ended at `images_seen` has reached; all at the end of a run."""
    training = run.recipe.training
    before = images_seen - training.batch_size
    due = {what for what in CADENCES if images_seen // training.every(what) > before // training.every(what)}
    return set(CADENCES) if last else due | {"log", "checkpoint"} if stopping else due


def _log(run: Run, learner: Learner, kind: str, values: Values) -> Record:
    record = Record(kind, learner.update, learner.images_seen, values)
    run.folder.append_log(record.json())
    return record


@dataclass
class Meter:
    """Averages of what updates report between two log records, and the run's clock."""

    seconds_before: float
    started: float = field(default_factory=time.perf_counter)
    since: float = field(default_factory=time.perf_counter)
    busy_seconds: float = 0.0
    updates: list[Update] = field(default_factory=list)
    images: int = 0

    def add(self, update: Update, batch_size: int) -> float:
        """Take in one update; return the seconds it took."""
        took = time.perf_counter() - self.since
        self.busy_seconds += took
        self.updates.append(update)
        self.images += batch_size
        return took

    def resume(self) -> None:
        """Go on timing updates: what was drawn, judged and saved meanwhile is not in `images_per_second`."""
        self.since = time.perf_counter()

    def seconds(self) -> float:
        """Return the time this run has trained for, over all its sessions."""
        return round(self.seconds_before + time.perf_counter() - self.started, 3)

    def values(self, run: Run) -> Values:
        """Return averages since the last call, and start afresh."""
        good = [update for update in self.updates if not update.skipped]
        means = {name: _mean([u.parts[name] for u in good if name in u.parts]) for name in _names(good)}
        values: Values = {
            **means,
            "gradient_norm": sum(u.gradient_norm for u in good) / max(len(good), 1),
            "learning_rate": self.updates[-1].learning_rate,
            "skipped": len(self.updates) - len(good),
            **({"slices": self.updates[-1].slices} if self.updates[-1].slices > 1 else {}),
            "images_per_second": round(self.images / self.busy_seconds, 2),
            "seconds": self.seconds(),
            "memory_bytes": peak_bytes(run.machine.device),
        }
        self.updates, self.images, self.busy_seconds = [], 0, 0.0
        return values


def _names(updates: list[Update]) -> list[str]:
    return list(dict.fromkeys(name for update in updates for name in update.parts))


def _mean(values: list[Tensor]) -> float:
    return torch.stack(values).mean().item()


@torch.no_grad()
def validate(run: Run, learner: Learner, loader: Loader) -> Values:
    """Average what a family tells of held-out images, for raw and averaged weights, under fixed randomness."""
    if not len(loader.held_out_indices):
        return {}
    raw = _held_out(run, learner.family.eval(), loader)
    learner.family.train()
    averaged = _held_out(run, learner.ema.family, loader)
    return {**raw, **{f"{name}/ema": value for name, value in averaged.items()}}


def _held_out(run: Run, family: Family, loader: Loader) -> dict[str, float]:
    pixels, labels = loader.held_out(run.recipe.training.validation_size)
    count, least, means = len(pixels), family.told_together, dict[str, Tensor]()
    size = max(run.recipe.training.chunk_size or count, least)
    starts = [start for start in range(0, count, size) if start == 0 or count - start >= least]
    with forked(run.recipe.seed, "validation"), run.machine.autocast(), run.machine.plainly():
        for start, stop in pairwise([*starts, count]):
            chunk = _batch(run, pixels[start:stop], None if labels is None else labels[start:stop])
            share = len(chunk.images) / count
            for name, value in family.held_out(chunk).items():
                part = value.cpu().double() * share
                means[name] = means[name] + part if name in means else part
    return family.summarise(means)


def _batch(run: Run, pixels: Tensor, labels: Tensor | None) -> Batch:
    device, layout = run.machine.device, run.machine.memory_format
    images = to_images(pixels.to(device)).contiguous(memory_format=layout)
    return Batch(images, None if labels is None else labels.to(device), None, 0, 0)


def draw(run: Run, learner: Learner, loader: Loader) -> Values:
    """Write the sheets of raw and averaged weights; return their paths."""
    paths: Values = {}
    for name, family in (("raw", learner.family), ("ema", learner.ema.family)):
        path = run.folder.samples / f"{learner.images_seen:09d}-{name}.png"
        write_png(path, draw_sheet(family, run.recipe, run.machine, run.recipe.training.sheet_size, loader))
        paths[name] = str(path)
    return paths


def save(run: Run, learner: Learner, seconds: float, is_best: bool = False) -> Values:
    """Write a checkpoint, mark it if it is the best, drop the ones no longer kept; return its path."""
    state = {**learner.counters(), "seconds": seconds}
    whole = Checkpoint(learner.family.state_dict(), learner.ema.family.state_dict(), learner.optimizer_tensors(), state)
    path = checkpoint.save(run.folder.checkpoints, whole, learner.images_seen)
    if is_best:
        checkpoint.mark_best(run.folder.checkpoints, learner.images_seen)
    best = checkpoint.best(run.folder.checkpoints)
    checkpoint.prune(run.folder.checkpoints, run.recipe.training.keep_checkpoints, best)
    return {"path": str(path)}


def resume(run: Run) -> tuple[Learner, float]:
    """Return the learner as its last checkpoint left it, or before its first update; and its seconds so far."""
    learner = build.learner(run.recipe, run.num_classes, run.machine)
    if run.machine.is_main:
        checkpoint.recover(run.folder.checkpoints)
        run.folder.truncate_log(run.images_seen())
    if not checkpoint.available(run.folder.checkpoints):
        return learner, 0.0
    last = checkpoint.load(checkpoint.find(run.folder.checkpoints, "last"))
    build.load_weights(learner.family, last.weights)
    build.load_weights(learner.ema.family, last.ema)
    learner.load_optimizer_tensors(last.optimizer)
    for name, fresh in learner.counters().items():  # fresh: a checkpoint of an earlier version lacks some
        setattr(learner, name, last.state.get(name, fresh))
    return learner, float(last.state["seconds"])
