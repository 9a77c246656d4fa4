"""Reconstructing: what a run's autoencoder makes of real images, in numbers over all of them, and a sheet of a few."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mezzotint.contracts import Batch
from mezzotint.data.pack import Pack
from mezzotint.errors import BadInput
from mezzotint.evaluation.given import Statistics
from mezzotint.evaluation.identity import Images
from mezzotint.evaluation.passes import Progress
from mezzotint.options import Choice
from mezzotint.pixels import to_images, to_pixels
from mezzotint.runs import checkpoint
from mezzotint.runs.draw import beneath
from mezzotint.runs.recipe import FAMILIES, family_class
from mezzotint.runs.references import Packed, open_real
from mezzotint.runs.run import Run
from mezzotint.seeds import SeededNoise
from mezzotint.vae.autoencoding import Autoencoding


@dataclass(frozen=True)
class Reconstructed:
    """Numbers averaged over `count` images, by name (see `Autoencoding.facts`), and a sheet uint8 [C, H, W]."""

    count: int
    facts: dict[str, float]
    sheet: Tensor


def default_place(run: Run, which: str, weights: str) -> Path:
    """Return where a sheet goes that isn't told: another checkpoint, another file."""
    images_seen = checkpoint.find(run.folder.checkpoints, which).name
    return run.folder.samples / f"reconstructed-{weights}-{images_seen}.png"


def reconstruct(
    run: Run, on: str, count: int, which: str = "last", weights: Literal["ema", "raw"] = "ema"
) -> Iterator[Progress | Reconstructed]:
    """Yield progress, then the result: `count` of the images that `on` names are shown, all are averaged over.

    `BadInput` for a run that encodes no images, and for images that it can't read.
    """
    _check_kind(run)
    images = _images(run, on)
    family = run.trained(which, weights)
    assert isinstance(family, Autoencoding)
    totals: dict[str, Tensor] = {}
    shown: list[tuple[Tensor, Tensor]] = []
    ends = accumulate((len(pixels) for pixels, _ in images), initial=0)
    for (pixels, labels), (start, stop) in zip(images, pairwise(ends), strict=True):
        theirs, sums = _batch(run, family, pixels, labels, range(start, stop))
        totals = {name: totals.get(name, 0) + value for name, value in sums.items()}
        if start < count:
            shown.append((pixels[: count - start], theirs[: count - start]))
        yield Progress("reconstruct", stop, len(images))
    means = {name: total / len(images) for name, total in totals.items()}
    originals, theirs = (torch.cat(rows) for rows in zip(*shown, strict=True))
    yield Reconstructed(len(images), family.facts(means), beneath(originals, theirs))


def _batch(
    run: Run, family: Autoencoding, pixels: Tensor, labels: Tensor | None, numbers: range
) -> tuple[Tensor, dict[str, Tensor]]:
    """Reconstruct one batch: pixels, and sums of what its images come to; image k draws from seed k."""
    device = run.machine.device
    told = None if labels is None else labels.to(device)
    with run.machine.autocast():
        found = family.account(Batch(to_images(pixels.to(device)), told, None, 0, 0), SeededNoise(numbers, device))
    return to_pixels(found.images).cpu(), {name: row.cpu().double().sum(0) for name, row in found.rows.items()}


def _check_kind(run: Run) -> None:
    if not issubclass(family_class(run.recipe.family), Autoencoding):
        kind = Choice(FAMILIES).name_of(run.recipe.family)
        able = ", ".join(name for name in FAMILIES if issubclass(FAMILIES[name], Autoencoding))
        raise BadInput(
            f"run {run.folder.path}: family.kind={kind} has no encoder, it reconstructs nothing; runs of {able} do"
        )


def _images(run: Run, on: str) -> Images:
    held = open_real(on, run.recipe.data).held
    if isinstance(held, Statistics):
        raise BadInput(f"--on {on}: holds statistics; to reconstruct takes images")
    images = Packed.whole(held) if isinstance(held, Pack) else held
    (pixels, labels), data = images.batch(0), run.recipe.data
    wanted = (data.channels, data.image_size, data.image_size)
    if tuple(pixels.shape[1:]) != wanted:
        found, right = ("x".join(map(str, shape)) for shape in (pixels.shape[1:], wanted))
        raise BadInput(f"--on {on}: its images are {found} (channels, height, width), the run's are {right}")
    if run.recipe.family.class_conditional and labels is None:
        raise BadInput(f"--on {on}: has no labels, and this run is class conditional; name images with labels")
    if run.recipe.family.class_conditional:
        _check_labels(images, on, run.num_classes)
    return images


def _check_labels(images: Images, on: str, num_classes: int) -> None:
    most = max(int(labels.max()) for _, labels in images if labels is not None)
    if most >= num_classes:
        raise BadInput(f"--on {on}: has a class {most}, this run's classes are 0..{num_classes - 1}")
