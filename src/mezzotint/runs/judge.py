"""Judging: a run, a pack, a folder of pictures or an .npz against real images, by the protocols asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from mezzotint.contracts import Generator
from mezzotint.data.loading import iterate
from mezzotint.data.pack import Pack
from mezzotint.data.prepare import DataOptions, ensure_pack
from mezzotint.data.sources import SOURCES
from mezzotint.errors import BadInput, nearest
from mezzotint.evaluation.evaluate import Score, evaluate
from mezzotint.evaluation.extractors import Batches, ExtractorOptions
from mezzotint.evaluation.images import open_images
from mezzotint.evaluation.protocols import Protocol
from mezzotint.evaluation.statistics import Progress
from mezzotint.generation.stream import Drawn as Pictures
from mezzotint.generation.stream import stream
from mezzotint.machine import Machine
from mezzotint.options import parse
from mezzotint.runs import checkpoint
from mezzotint.runs.folder import RunFolder
from mezzotint.runs.run import Run, open_run

BATCH = 64


@dataclass(frozen=True)
class Drawn:
    """A run's pictures of seeds 0.. as batches, drawn while they are read."""

    generator: Generator
    machine: Machine
    count: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield pixels uint8 [n, C, H, W] and labels int64 [n] or None."""
        batches = stream(self.generator, range(self.count), batch_size=BATCH, device=self.machine.device)
        while (batch := self._next(batches)) is not None:
            yield batch.pixels, batch.labels

    def _next(self, batches: Iterator[Pictures]) -> Pictures | None:
        with self.machine.autocast():  # never held over a yield: the reader's extractor would run in it too
            return next(batches, None)


@dataclass(frozen=True)
class Packed:
    """Chosen images of a pack as batches, readable again and again."""

    pack: Pack
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield pixels uint8 [n, C, H, W] and labels int64 [n] or None."""
        return iterate(self.pack, BATCH, self.indices)


def data_options(text: str, like: DataOptions) -> DataOptions:
    """Read a data argument (a pack, a Parquet file, a folder, or SOURCE[:SPLIT]) as prepared like other images are."""
    path, (name, _, split) = Path(text), text.partition(":")
    tree = like.tree() | {"pack": None, "path": None, "limit": None}
    if (path / "pack.json").is_file():
        return parse(DataOptions, tree | {"pack": path, "channels": None})  # gray and RGB compare: gray is repeated
    if path.exists():
        source = "folder" if path.is_dir() else "parquet"
        return parse(DataOptions, tree | {"source": source, "path": path.absolute(), "split": "all"})
    if name in SOURCES:
        return parse(DataOptions, tree | {"source": name, "split": split or "test"})
    raise BadInput(f"data {text!r}: no such pack, file or folder, and no such source; {nearest(name, SOURCES)}")


@dataclass(frozen=True)
class Case:
    """What is judged, against what, and real images kept apart from both."""

    generated: Batches
    reference: Batches
    held_out: Batches | None
    labelled: Batches | None
    machine: Machine
    extractors: tuple[ExtractorOptions, ...] = ()


def run_case(
    run: Run, against: str, protocols: Sequence[str], which: str, weights: Literal["ema", "raw"], changes: Sequence[str]
) -> Case:
    """Draw from a run. Its training images give the floor and teach an extractor that learns, half of them each."""
    reference = ensure_pack(data_options(against, run.recipe.data))
    extractors = run.changed(changes).evaluation.extractors
    loader = run.loader()
    count = max(Protocol.parse(protocol).count for protocol in protocols)
    generated = Drawn(run.generator(which, weights, changes), run.machine, count)
    if reference.content_hash == loader.pack.content_hash:
        return Case(generated, _whole(reference), None, None, run.machine, extractors)
    even, odd = loader.train_indices[::2], loader.train_indices[1::2]
    labelled = Packed(loader.pack, odd) if loader.pack.num_classes else None
    held_out = Packed(loader.pack, even if labelled else loader.train_indices)
    return Case(generated, _whole(reference), held_out, labelled, run.machine, extractors)


def files_case(target: Path, against: str, device: str) -> Case:
    """Read pictures that are there already: a pack, a folder or an .npz."""
    machine = Machine.detect(device).prepare()
    if (target / "pack.json").is_file():
        pack = Pack.open(target)
        return Case(_whole(pack), _reference(against, pack.image_size, pack.channels), None, None, machine)
    generated = open_images(target, BATCH)
    channels, height, width = next(iter(generated))[0].shape[1:]
    if height != width:
        raise BadInput(f"{target}: pictures are {width}x{height} px, must be square")
    return Case(generated, _reference(against, height, channels), None, None, machine)


def _reference(against: str, image_size: int, channels: int) -> Batches:
    options = parse(DataOptions, {"image_size": image_size, "channels": channels})
    return _whole(ensure_pack(data_options(against, options)))


def _whole(pack: Pack) -> Packed:
    return Packed(pack, np.arange(len(pack)))


def _check_files(target: Path, protocols: Sequence[str], changes: Sequence[str]) -> None:
    """Refuse what only a run could answer."""
    if not target.exists():
        RunFolder.open(target)  # tells the nearest runs
    if changes:
        raise BadInput(f"override {changes[0]!r}: {target} is not a run, its pictures are drawn already")
    if not protocols:
        raise BadInput(f"--protocol: {target} is not a run, so say how to judge it, e.g. --protocol fd-squeezenet-1k")


def judge(
    target: Path,
    against: str,
    protocols: Sequence[str] = (),
    *,
    which: str = "last",
    weights: Literal["ema", "raw"] = "ema",
    changes: Sequence[str] = (),
    device: str = "auto",
) -> Iterator[Progress | Score]:
    """Yield progress, then one score per protocol (default: the run's own); a run's scores go to `scores.jsonl`."""
    folder = RunFolder(target)
    if folder.exists:
        run = open_run(folder, device)
        which = checkpoint.find(folder.checkpoints, which).name  # now: a run that goes on has another last one soon
        protocols = protocols or [run.changed(changes).evaluation.protocol]
        case = run_case(run, against, protocols, which, weights, changes)
    else:
        _check_files(target, protocols, changes)
        case = files_case(target, against, device)
    for found in evaluate(
        case.generated,
        case.reference,
        protocols,
        held_out=case.held_out,
        labelled=case.labelled,
        extractors=case.extractors,
        device=case.machine.device,
    ):
        if folder.exists and isinstance(found, Score):
            drawn = {"checkpoint": int(which), "weights": weights, "changes": list(changes), "against": against}
            folder.append_score(found.to_json() | drawn)
        yield found
