"""Comparing: several runs or sets of pictures by the same protocols, and side by side at the same seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mezzotint.errors import BadInput
from mezzotint.evaluation.images import DrawnPictures
from mezzotint.evaluation.passes import Progress
from mezzotint.evaluation.score import Score
from mezzotint.generation.grid import grid, visible_scale
from mezzotint.pixels import from_pillow
from mezzotint.runs.folder import RunFolder
from mezzotint.runs.judge import Case, Drawing, Weights, open_case
from mezzotint.runs.run import open_run

_CAPTION = 14  # px


@dataclass(frozen=True)
class Entry:
    """One target's score by one protocol, and what it cost to get there."""

    name: str
    score: Score
    reused: bool  # from the run's scores.jsonl
    images_seen: int | None = None
    parameters: int | None = None
    training_seconds: float | None = None


@dataclass(frozen=True)
class Contender:
    """One of the things compared: its name and how it is judged."""

    name: str
    case: Case

    def entry(self, score: Score, reused: bool) -> Entry:
        """Return a score with the run's cost beside it."""
        drawing = self.case.drawing
        if drawing is None:
            return Entry(self.name, score, reused)
        parameters = sum(parameter.numel() for parameter in drawing.run.family().parameters())
        return Entry(self.name, score, reused, int(drawing.which), parameters, _training_seconds(drawing))


def _training_seconds(drawing: Drawing) -> float | None:
    """Read from the log how long the run had trained when this checkpoint was saved."""
    log = drawing.run.folder.read_log() if drawing.run.folder.log.exists() else []
    before = [line for line in log if line["kind"] == "update" and line["images_seen"] <= int(drawing.which)]
    return before[-1].get("seconds") if before else None


def contenders(
    targets: Sequence[Path],
    against: str,
    protocols: Sequence[str] = (),
    *,
    which: str = "auto",
    weights: Weights = "ema",
    device: str = "auto",
    held_out: str | None = None,
) -> list[Contender]:
    """Open everything that is compared; the first run's own protocol is the default for all.

    A target `RUN@CHECKPOINT` is judged at that checkpoint, the other runs at `which`.
    """
    if len(targets) < 2:
        raise BadInput(f"compare: {len(targets)} target has no rival, name two or more runs or sets of pictures")
    dated = [_dated(target, which) for target in targets]
    protocols = protocols or _own_protocol([target for target, _ in dated], device)
    found = []
    for name, (target, at) in zip(_names(targets), dated, strict=True):
        ways = {"which": at, "weights": weights} if RunFolder(target).exists else {}
        case = open_case(target, against, protocols, device=device, held_out=held_out, **ways)  # type: ignore[arg-type]
        found.append(Contender(name, case))
    return found


def _dated(target: Path, which: str) -> tuple[Path, str]:
    """Split `RUN@CHECKPOINT` into both; `which` is the checkpoint of a run that names none."""
    run, mark, named = str(target).rpartition("@")
    if mark and RunFolder(Path(run)).exists and not target.exists():
        return Path(run), named
    return target, which


def _own_protocol(targets: Sequence[Path], device: str) -> list[str]:
    runs = (RunFolder(target) for target in targets)
    return [open_run(folder, device).recipe.evaluation.protocol for folder in runs if folder.exists][:1]


def _names(targets: Sequence[Path]) -> list[str]:
    """Name targets by their last part where that tells them apart, else by their path."""
    short = [target.name for target in targets]
    return short if len(set(short)) == len(short) else [str(target) for target in targets]


def compare(found: Sequence[Contender]) -> Iterator[Progress | Entry]:
    """Score every contender by every protocol; scores that its scores.jsonl has already are not computed again."""
    for contender in found:
        case = contender.case
        prepared = yield from case.prepare()
        drawing = case.drawing
        known = {p: drawing.known(prepared, p) if drawing else None for p in prepared.protocols}
        yield from (contender.entry(score, True) for score in known.values() if score is not None)
        missing = [protocol for protocol, score in known.items() if score is None]
        for record in case.score(prepared, missing) if missing else ():
            yield record if isinstance(record, Progress) else contender.entry(record, False)


# --- Side by side ----------------------------------------------------------------------------------------------


def side_by_side(found: Sequence[Contender], count: int = 8) -> Tensor:
    """Draw one sheet uint8 [3, H, W]: a captioned row for each, runs at the same seeds 0.., files their first ones."""
    strips = [_strip(contender, count) for contender in found]
    width = max(strip.shape[2] for strip in strips)
    white = [torch.nn.functional.pad(strip, (0, width - strip.shape[2]), value=255) for strip in strips]
    return torch.cat(white, dim=1)


def _strip(contender: Contender, count: int) -> Tensor:
    generated = contender.case.generated
    if isinstance(generated, DrawnPictures):
        generated = DrawnPictures(generated.generator, generated.machine.alone(), count, count)
    pixels = generated.batch(0)[0][:count].expand(-1, 3, -1, -1)
    strip = grid(pixels, columns=count, scale=visible_scale(*pixels.shape[2:]))
    caption = Image.new("RGB", (strip.shape[2], _CAPTION), "white")
    ImageDraw.Draw(caption).text((2, 1), contender.name, fill="black")
    return torch.cat([from_pillow(caption), strip], dim=1)
