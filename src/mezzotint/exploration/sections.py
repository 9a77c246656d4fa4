"""The parts of the page about a data set: what each one shows and, in a few plain words, what it means."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mezzotint.diffusion.schedules import Schedule
from mezzotint.exploration import figures
from mezzotint.exploration.dataset import Dataset
from mezzotint.exploration.duplicates import MOST_COMPARED, NEAR
from mezzotint.exploration.figures import Ink
from mezzotint.exploration.originals import shown
from mezzotint.exploration.schedules import POSITIONS, noised, schedules
from mezzotint.generation.grid import grid
from mezzotint.pixels import to_images, to_pixels

_PAIRS_SHOWN = 40
_NAMES_SHOWN = 200
_COLUMNS = 8


@dataclass(frozen=True)
class Picture:
    """A sheet of pixels uint8 [C, H, W], or a figure that is drawn in a page's colours."""

    name: str
    says: str
    drawn: Tensor | Callable[[Ink], Figure]
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A heading, sentences, pictures and a table."""

    title: str
    sentences: Sequence[str]
    pictures: Sequence[Picture] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def sections(found: Dataset, chosen: Mapping[str, Schedule]) -> Iterator[Section]:
    """Yield the parts of the page in their order; `chosen` schedules are drawn."""
    yield _advice(found)
    yield _sheets(found)
    if found.originals is not None:
        yield _shapes(found)
    if found.contents.classes:
        yield _classes(found)
    yield _levels(found)
    yield _duplicates(found)
    yield _skipped(found)
    yield _frequencies(found)
    yield _schedules(found, chosen)


def _advice(found: Dataset) -> Section:
    said = "What to set for these pictures, and the measurement behind each line; the command 'data suggest' prints it."
    rows = [(row.about, row.value, row.because) for row in found.advice]
    return Section("Advice", [said], (), ("about", "value", "because"), rows)


def _sheets(found: Dataset) -> Section:
    info, (chosen, same) = found.pack.info, found.originals_shown()
    pictures = [Picture("prepared", "pictures as they are in the pack", _sheet(found.pack.pixels(found.rows())))]
    said = f"Made by crop {info.crop}, resize {info.filter}, to {info.image_size} px."
    if found.originals is None:
        said += " The originals are no longer where they were when the pack was made, so they aren't shown."
    else:
        pictures.insert(0, Picture("raw", "the originals, whole", _sheet(shown(found.originals, chosen))))
        which = "the same pictures on both sheets, place by place" if same else "other pictures on each sheet"
        said += f" The originals first, then what is learnt from; {which}."
    return Section("Before and after preparation", [said], pictures)


def _sheet(pixels: Tensor) -> Tensor:
    return grid(pixels, columns=_COLUMNS)


def _shapes(found: Dataset) -> Section:
    assert found.originals is not None
    sizes, size = found.originals.sizes, found.pack.image_size
    width, height = (np.median(side) for side in sizes.T)
    ratios = found.originals.ratios
    enlarged = "are" if found.pack.info.offered == found.originals.listing.count else "would be"  # not all prepared
    wide, high = float((ratios > 1.02).mean()), float((ratios < 1 / 1.02).mean())
    said = [
        f"{len(sizes):,} of {found.originals.listing.count:,} originals were read: "
        f"{width:.0f} x {height:.0f} pixels in the middle, from {sizes[:, 0].min()} x {sizes[:, 1].min()} up to "
        f"{sizes[:, 0].max()} x {sizes[:, 1].max()}; {wide:.0%} are wide, {high:.0%} are high.",
        f"{found.originals.enlarged(size):.1%} have fewer than {size} pixels on their shorter side and "
        f"{enlarged} enlarged{' or left out as tiny' if 'tiny' in found.pack.info.skipped else ''}.",
    ]
    pictures = [
        Picture("sizes", "shorter sides of the originals", partial(figures.shorter_sides, sizes, size)),
        Picture("ratios", "width over height of the originals", partial(figures.aspect_ratios, ratios)),
    ]
    return Section("Sizes and shapes of the originals", said, pictures)


def _classes(found: Dataset) -> Section:
    counts, means = found.contents.classes, found.contents.class_means
    least, most = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
    said = f"{len(counts)} classes, from {counts[least]:,} pictures ({least}) to {counts[most]:,} ({most})."
    pictures = [Picture("classes", "pictures per class", partial(figures.class_counts, counts))]
    if len(means):
        sheet = grid(_rounded(means), columns=min(len(means), 10))
        pictures.append(Picture("class_means", f"mean picture of each class: {', '.join(counts)}", sheet))
    return Section("Classes", [said], pictures)


def _rounded(levels: np.ndarray) -> Tensor:
    """Grey levels float64 -> pixels uint8 of the same shape."""
    return torch.from_numpy(levels).round().clamp(0, 255).to(torch.uint8)


def _levels(found: Dataset) -> Section:
    info = found.pack.info
    names = ("red", "green", "blue") if info.channels == 3 else ("grey",)
    rows = [
        (name, f"{mean:.4f}", f"{std:.4f}", f"{2 * mean - 1:+.4f}", f"{2 * std:.4f}")
        for name, mean, std in zip(names, info.mean, info.std, strict=True)
    ]
    mean = _rounded(found.contents.mean_image[None])
    pictures = [
        Picture("levels", "share of pixels at each grey level", partial(figures.grey_levels, found.contents.levels)),
        Picture("mean", "mean of all pictures", grid(mean, columns=1, scale=max(1, 192 // found.pack.image_size))),
    ]
    said = "What a mean picture still shows (a face, a bright centre) is what all pictures have in common."
    columns = ("channel", "mean, 0..1", "deviation, 0..1", "mean, -1..1", "deviation, -1..1")
    return Section("Grey levels", [said], pictures, columns, rows)


def _duplicates(found: Dataset) -> Section:
    pairs, count = found.duplicates, len(found.pack)
    chosen = (
        f"All {count:,}" if pairs.compared == count else f"{pairs.compared:,} of {count:,} (at most {MOST_COMPARED:,})"
    )
    equal = sum(len(group) - 1 for group in found.pack.info.duplicates or ())
    said = [
        f"{chosen} pictures were compared, each with each. {'' if pairs.whole else 'At least '}{pairs.count:,} pairs "
        f"differ by less than {NEAR:.0%} of their contrast; {equal:,} pictures repeat another one exactly.",
        "Copies across training and held-out pictures flatter a score, and a model learns them by heart. Simple "
        "pictures (strokes, plain backgrounds) are alike by nature: look before removing any.",
    ]
    nearest = pairs.pairs[:_PAIRS_SHOWN]
    if not nearest:
        return Section("Near-duplicates", said[:1])
    places = np.array([place for pair in nearest for place in (pair.first, pair.second)])
    sheet = Picture("duplicates", "the nearest pairs, side by side, nearest first", _sheet(found.pack.pixels(places)))
    rows = [(f"{pair.first:,}", f"{pair.second:,}", f"{pair.difference:.3f}") for pair in pairs.pairs]
    return Section("Near-duplicates", said, [sheet], ("picture", "and picture", "difference / contrast"), rows)


def _skipped(found: Dataset) -> Section:
    info = found.pack.info
    counts = ", ".join(f"{reason} {count:,}" for reason, count in info.skipped.items())
    notes = ", ".join(f"{note} {count:,}" for note, count in info.notes.items())
    said = [f"{info.count:,} of {info.offered:,} pictures could be used. Left out: {counts or 'none'}."]
    said += [f"Worth knowing: {notes}."] if notes else []
    rows = [(skipped.name, skipped.reason) for skipped in info.skipped_names[:_NAMES_SHOWN]]
    return Section("Broken files", said, (), ("file", "why it was left out") if rows else (), rows)


def _frequencies(found: Dataset) -> Section:
    waves = found.measured.spectrum
    low, high = waves.range()
    said = (
        f"Noise drowns fine detail first and the coarse layout last. Here 90 % of all frequencies drown between sigma "
        f"{low:.2g} and {high:.2g} (images in [-1, 1], {waves.pictures:,} pictures): that is where a diffusion model "
        "has something to learn, so that is where its training noise should lie."
    )
    drawn = partial(figures.frequencies, waves.bands(), (low, high))
    return Section(
        "Which noise drowns what", [said], [Picture("frequencies", "sigma at which frequencies drown", drawn)]
    )


def _schedules(found: Dataset, chosen: Mapping[str, Schedule]) -> Section:
    drawn, drowned = schedules(chosen), found.measured.spectrum.range()
    said = (
        "A schedule says how much noise there is at each position u. Sigma is the noise's deviation beside a picture "
        "of full strength, alpha what the process multiplies the sum by, log-SNR is -2 ln sigma. The band marks where "
        "90 % of the frequencies of these pictures drown. In the strip one picture goes forward, alpha (x0 + sigma n), "
        f"in {POSITIONS - 1} equal parts of u: every 100 of 1000 steps."
    )
    x0, size = to_images(found.pack.pixels(found.rows()[:1]))[0], found.pack.image_size
    rows = {name: to_pixels(noised(x0, schedule, seed=found.seed)[0]) for name, schedule in chosen.items()}
    columns = [f"u = {1 - place / (POSITIONS - 1):g}" if place % 2 == 0 else "" for place in range(POSITIONS)]
    pictures = [
        Picture("sigma", "sigma against u", partial(figures.curves, drawn, lambda c: c.sigma, "sigma", log=True)),
        Picture("alpha", "alpha against u", partial(figures.curves, drawn, lambda c: c.alpha, "alpha")),
        Picture("log_snr", "log-SNR against u", partial(figures.log_snr, drawn, drowned)),
        Picture(
            "noising", f"a picture of {size} px on its way forward", partial(figures.strip, rows, columns), wide=True
        ),
    ]
    return Section("Noise schedules", [said], pictures)
