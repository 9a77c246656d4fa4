"""Judging: a run, a pack, a folder, Parquet file or .npz against real images, by the protocols asked for."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from mezzotint.data.pack import Pack
from mezzotint.data.prepare import DataOptions
from mezzotint.errors import BadInput, nearest
from mezzotint.evaluation.evaluate import Prepared, check_count, prepare, scored
from mezzotint.evaluation.extractors import EXTRACTORS, Batches, ExtractorOptions
from mezzotint.evaluation.given import Statistics
from mezzotint.evaluation.identity import Images
from mezzotint.evaluation.images import DrawnPictures, open_images
from mezzotint.evaluation.metrics import METRICS
from mezzotint.evaluation.passes import Progress
from mezzotint.evaluation.protocols import Protocol
from mezzotint.evaluation.score import Provenance, Score
from mezzotint.machine import Machine
from mezzotint.options import parse
from mezzotint.runs.folder import RunFolder
from mezzotint.runs.references import BATCH, Packed, Real, open_real, provenance
from mezzotint.runs.run import Run, open_run

Weights = Literal["ema", "raw"]


@dataclass(frozen=True)
class Drawing:
    """How a run's pictures come about: written beside its scores, with what they are measured against."""

    run: Run
    which: str  # a checkpoint's number
    weights: Weights
    changes: tuple[str, ...]
    against: str

    def record(self) -> dict[str, object]:
        """Return what stands beside a score in `scores.jsonl`."""
        changes = list(self.changes)
        return {"checkpoint": int(self.which), "weights": self.weights, "changes": changes, "against": self.against}

    def known(self, prepared: Prepared, protocol: Protocol) -> Score | None:
        """Return the latest score that the run has of the same pictures, and that would come out the same again."""
        folder, wanted = self.run.folder, self.record()
        lines = folder.read_scores() if folder.scores.exists() else []
        same = [line for line in lines if {key: line.get(key) for key in wanted if key != "against"} == _but(wanted)]
        for line in reversed(same):
            try:
                score = Score.from_json(line)
            except BadInput:  # written by another version: measured again
                continue
            if prepared.would_be(score, protocol):
                return score
        return None


def _but(record: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in record.items() if key != "against"}  # the fingerprint tells better


@dataclass(frozen=True)
class Case:
    """What is judged, against what, and real images kept apart from both."""

    protocols: tuple[str, ...]
    generated: Images
    reference: Batches | Statistics
    provenance: Provenance
    held_out: Batches | None
    labelled: Batches | None
    machine: Machine
    extractors: tuple[ExtractorOptions, ...] = ()
    drawing: Drawing | None = None

    def prepare(self) -> Generator[Progress, None, Prepared]:
        """Find the real side's features; what can't be judged is refused before."""
        check_count(self.generated, self.protocols)
        prepared = yield from prepare(
            self.reference,
            self.protocols,
            held_out=self.held_out,
            labelled=self.labelled,
            extractors=self.extractors,
            provenance=self.provenance,
            machine=self.machine,
        )
        return prepared

    def score(self, prepared: Prepared, protocols: Sequence[Protocol] | None = None) -> Iterator[Progress | Score]:
        """Score by the prepared protocols, or by some; a run's scores go to its `scores.jsonl`."""
        for found in scored(self.generated, prepared, protocols=protocols):
            if isinstance(found, Score) and self.drawing and self.machine.is_main:
                self.drawing.run.folder.append_score(found.to_json() | self.drawing.record())
            yield found


def open_case(
    target: Path,
    against: str,
    protocols: Sequence[str] = (),
    *,
    which: str = "auto",
    weights: Weights = "ema",
    changes: Sequence[str] = (),
    device: str = "auto",
    held_out: str | None = None,
) -> Case:
    """Open what is judged and the real images; `held_out` names further real ones for the floor."""
    folder = RunFolder(target)
    if not folder.exists:
        _check_files(target, protocols, changes)
        return _files_case(target, against, protocols, device, held_out)
    run = open_run(folder, device)
    which = run.chosen(which).name  # now: a run that goes on has another last one soon
    protocols = protocols or [run.changed(changes).evaluation.protocol]
    return _run_case(protocols, Drawing(run, which, weights, tuple(changes), against), held_out)


def _run_case(protocols: Sequence[str], drawing: Drawing, held_out: str | None) -> Case:
    """Draw from a run. Its training images give the floor and teach an extractor that learns, half of them each."""
    run = drawing.run
    real = _roles(run, protocols, open_real(drawing.against, run.recipe.data), drawing.against, held_out)
    count = max(Protocol.parse(protocol).count for protocol in protocols)
    generator = run.generator(drawing.which, drawing.weights, drawing.changes)
    generated = DrawnPictures(generator, run.machine, count, BATCH)
    return Case(
        tuple(protocols),
        generated,
        real.reference,
        real.provenance,
        real.held_out,
        real.labelled,
        run.machine,
        run.changed(drawing.changes).evaluation.extractors,
        drawing,
    )


class Roles(NamedTuple):
    """What the real images at hand are taken for."""

    reference: Batches | Statistics
    provenance: Provenance
    held_out: Images | None
    labelled: Images | None


def _roles(run: Run, protocols: Sequence[str], real: Real, against: str, held_out: str | None) -> Roles:
    """Deal out the real images: to what looks for copies, the run's own training images are the reference."""
    seeking = [METRICS[Protocol.parse(protocol).metric].reference_is_training for protocol in protocols]
    if not any(seeking):
        spare, labelled = _spare(run, real.held)
        given = spare if held_out is None else _held_out(held_out, run.recipe.data)
        return Roles(_images(real.held), real.provenance, given, labelled)
    if not all(seeking):
        raise BadInput(f"{', '.join(protocols)}: what looks for copies has another reference, judge by it alone")
    if isinstance(real.held, Statistics):
        raise BadInput(f"--against {against}: holds statistics, to look for copies takes real images")
    return _copy_roles(run, protocols, real.held, held_out)


def _copy_roles(run: Run, protocols: Sequence[str], real: Pack | Images, held_out: str | None) -> Roles:
    """Return what was trained on as the reference; the images named, unless they are its pack, as held out."""
    loader = run.loader()
    trained, about = Packed(loader.pack, loader.train_indices, BATCH), provenance(loader.pack)
    about = replace(about, whole=about.whole and len(trained) == len(loader.pack))
    if isinstance(real, Pack) and real.content_hash == loader.pack.content_hash:
        spare = Packed(loader.pack, loader.held_out_indices, BATCH) if len(loader.held_out_indices) else None
        return Roles(trained, about, spare if held_out is None else _held_out(held_out, run.recipe.data), None)
    if held_out is not None:
        raise BadInput(f"--held-out {held_out}: to look for copies, the --against images are the held-out ones")
    learns = any(EXTRACTORS[Protocol.parse(protocol).extractor].learns for protocol in protocols)
    if learns and isinstance(real, Pack) and real.num_classes:
        every = np.arange(len(real))
        return Roles(trained, about, Packed(real, every[::2], BATCH), Packed(real, every[1::2], BATCH))
    return Roles(trained, about, Packed.whole(real) if isinstance(real, Pack) else real, None)


def _spare(run: Run, reference: Pack | Images | Statistics) -> tuple[Images | None, Images | None]:
    """Return training images for the floor, and others with labels, where the reference isn't made of them."""
    loader = run.loader()
    if isinstance(reference, Statistics):
        return None, None  # they may well be of the training images
    if isinstance(reference, Pack) and reference.content_hash == loader.pack.content_hash:
        return None, None
    even, odd = loader.train_indices[::2], loader.train_indices[1::2]
    labelled = Packed(loader.pack, odd, BATCH) if loader.pack.num_classes else None
    return Packed(loader.pack, even if labelled else loader.train_indices, BATCH), labelled


def _images(held: Pack | Images | Statistics) -> Images | Statistics:
    return Packed.whole(held) if isinstance(held, Pack) else held


def _held_out(text: str, like: DataOptions) -> Images:
    images = _images(open_real(text, like).held)
    if isinstance(images, Statistics):
        raise BadInput(f"--held-out {text}: holds statistics, a floor needs real images")
    return images


def _files_case(target: Path, against: str, protocols: Sequence[str], device: str, held_out: str | None) -> Case:
    """Read pictures that are there already."""
    machine = Machine.detect(device).prepare()
    generated = _pictures(target)
    channels, height, width = generated.batch(0)[0].shape[1:]
    if height != width:
        raise BadInput(f"{target}: pictures are {width}x{height} px, must be square")
    check_count(generated, protocols)
    like = parse(DataOptions, {"image_size": height, "channels": channels})
    real = open_real(against, like)
    spare = None if held_out is None else _held_out(held_out, like)
    return Case(tuple(protocols), generated, _images(real.held), real.provenance, spare, None, machine)


def _pictures(target: Path) -> Images:
    is_pack = (target / "pack.json").is_file()
    return Packed.whole(Pack.open(target)) if is_pack else open_images(target, BATCH)


def _check_files(target: Path, protocols: Sequence[str], changes: Sequence[str]) -> None:
    """Refuse what only a run could answer."""
    if not target.exists():
        names = nearest(target.name, [entry.name for entry in target.parent.glob("*")])
        raise BadInput(f"{target}: no such run, pack, folder of pictures, .npz or .parquet; beside it: {names}")
    if changes:
        raise BadInput(f"override {changes[0]!r}: {target} is not a run, its pictures are drawn already")
    if not protocols:
        raise BadInput(f"--protocol: {target} is not a run, so say how to judge it, e.g. --protocol fd-squeezenet-1k")


def judge(case: Case) -> Iterator[Progress | Score]:
    """Yield progress, then one score per protocol."""
    prepared = yield from case.prepare()
    yield from case.score(prepared)
