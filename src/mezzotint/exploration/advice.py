"""Advice for a data set, each piece with the measurement behind it: noise levels, schedule, resolution, mirroring."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor, log10, sqrt

import numpy as np
import torch

from mezzotint.data.pack import Pack
from mezzotint.diffusion.schedules import Schedule
from mezzotint.exploration.coarse import Extent, coarse, extent
from mezzotint.exploration.contents import Contents, contents, some_rows
from mezzotint.exploration.originals import Originals
from mezzotint.exploration.schedules import named_schedules
from mezzotint.exploration.spectrum import Spectrum, most_pictures, resolution_shift, spectrum
from mezzotint.runs.codecs import Identity, Moments

MISMATCH_NATS = 0.02
"""How much the noised pictures may differ from pure noise at sigma_max: at most a tenth of all draws (Pinsker)."""

_LEVEL = 2 / 255  # one grey level, in units of images
_MOST_DISTANCES = 2048  # pictures whose distances are compared
_MOST_MIRRORED = 8192
_MIRROR_LIMIT = 0.55
_FINE_LIMIT = 0.015  # photographs hold 3 to 5 %, enlarged ones less than 1 %
_ENLARGED_LIMIT = 0.05
_SMALLEST = 8


@dataclass(frozen=True)
class Advice:
    """One piece of advice: about what, which value, because of which measurement; and how a recipe says so."""

    about: str
    value: str
    because: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """What the advice rests on."""

    pack: Pack
    contents: Contents
    spectrum: Spectrum
    extent: Extent
    mirror: float  # share of pictures that a linear look tells from their mirror images; 0.5 is chance
    originals: Originals | None


def measured(pack: Pack, found: Originals | None, counted: Contents | None = None, seed: int = 0) -> Measured:
    """Measure a pack; of a large one some pictures, chosen by `seed`."""
    counted = counted or contents(pack)
    waves = spectrum(pack, some_rows(pack, most_pictures(pack), seed), counted.mean_image)
    reach = extent(pack, some_rows(pack, _MOST_DISTANCES, seed), counted.mean_image)
    return Measured(pack, counted, waves, reach, mirror_told(pack, seed), found)


def mirror_told(pack: Pack, seed: int = 0) -> float:
    """Share of pictures that a linear classifier tells from their mirror images, on the half it hasn't seen.

    Of a picture's low frequencies only those that change sign in the mirror can tell it.
    """
    odd = coarse(pack, some_rows(pack, _MOST_MIRRORED, seed))[..., 1::2].flatten(1).double()
    seen, unseen = odd[0::2], odd[1::2]
    if not len(unseen):
        return 0.5
    ridge = seen.square().mean() * len(seen) * 0.1 * torch.eye(seen.shape[1], dtype=torch.float64)
    weights = torch.linalg.lstsq(seen.T @ seen + ridge, seen.sum(0)[:, None]).solution[:, 0]
    told = unseen @ weights
    return float(((told > 0).double() + 0.5 * (told == 0)).mean())


def advise(known: Measured) -> list[Advice]:
    """Return all advice that these measurements allow."""
    rows = [_sigma_data(known), _levels(known), _largest(known), _smallest(), _schedule(known), _shift(known)]
    return [*rows, _size(known), *_larger(known), _mirroring(known)]


def overrides(advice: list[Advice]) -> str:
    """Return all settings as words for the command line."""
    return " ".join(setting for row in advice for setting in row.settings)


def advised_schedule(known: Measured) -> Schedule:
    """Return the log-normal schedule that the advice describes."""
    mean, std = known.spectrum.log_normal()
    chosen = named_schedules(["log-normal"])["log-normal"]
    return chosen.but(mean=round(mean, 1), std=round(std, 1), sigma_min=_sigma_min(), sigma_max=_sigma_max(known))


# --- Noise levels --------------------------------------------------------------------------------------------------


def _sigma_data(known: Measured) -> Advice:
    info = known.pack.info
    value = Identity().deviation(Moments.of_levels(info.mean, info.std))
    channels = ", ".join(f"{2 * std:.3f}" for std in info.std)
    because = f"pooled standard deviation of all {info.count:,} images in [-1, 1] (channels {channels})"
    settings = ("family.prediction=edm", f"family.prediction.sigma_data={value:.3f}")
    return Advice("sigma_data", f"{value:.3f}; 1 with codec=standardize", because, settings)


def _levels(known: Measured) -> Advice:
    mean, std = known.spectrum.log_normal()
    low, high = known.spectrum.range()
    because = (
        f"this is where frequencies drown: 90 % of them between sigma {low:.2g} and {high:.2g} "
        f"(power spectrum of {known.spectrum.pictures:,} pictures, brightness alone); the EDM default is -1.2, 1.2"
    )
    settings = ("family.schedule=log-normal", f"family.schedule.mean={mean:.1f}", f"family.schedule.std={std:.1f}")
    return Advice("training noise", f"log-normal, P_mean {mean:.1f}, P_std {std:.1f}", because, settings)


def _sigma_max(known: Measured) -> float:
    """The least that will do, rounded up to two digits; never below what drowns the pictures' own deviation."""
    sigma = max(known.extent.sigma_for(MISMATCH_NATS), 10 * _LEVEL)
    unit = 10.0 ** (floor(log10(sigma)) - 1)
    return float(f"{min(ceil(sigma / unit) * unit, 20_000.0):.2g}")


def _largest(known: Measured) -> Advice:
    reach, sigma = known.extent, _sigma_max(known)
    mean, component = reach.snr(sigma)
    because = (
        f"from there on pure noise is within {MISMATCH_NATS:g} nats of noised pictures: their mean is left with SNR "
        f"{mean:.2g}, their first principal component with {component:.2g}; the largest distance between two of "
        f"{reach.pictures:,} pictures is {reach.distance:.3g} (Song & Ermon 2020, technique 1, starts there)"
    )
    return Advice("sigma_max", f"{sigma:g}", because, (f"family.schedule.sigma_max={sigma:g}",))


def _sigma_min() -> float:
    return round(_LEVEL / sqrt(12), 3)


def _smallest() -> Advice:
    because = f"what rounding to grey levels did already: one level is {_LEVEL:.4f}, its error {_LEVEL / sqrt(12):.4f}"
    return Advice("sigma_min", f"{_sigma_min():g}", because, (f"family.schedule.sigma_min={_sigma_min():g}",))


def useful_shares(known: Measured, chosen: Mapping[str, Schedule]) -> dict[str, float]:
    """Return, by schedule, the share of u at noise levels where 90 % of the frequencies drown."""
    ends = torch.tensor(known.spectrum.range(), dtype=torch.float64)
    found = {}
    for name, schedule in chosen.items():
        low, high = schedule.bounds()
        at_low, at_high = schedule.u(ends.clamp(low, high)).tolist()
        found[name] = at_low - at_high
    return found


def _schedule(known: Measured) -> Advice:
    ours = useful_shares(known, {"this": advised_schedule(known)})["this"]
    others = useful_shares(known, named_schedules())
    best = sorted(others, key=lambda name: -others[name])
    told = ", ".join(f"{name} {others[name]:.0%}" for name in best)
    because = (
        f"share of random u that falls where frequencies drown, which this one was fitted to; others' defaults: {told}"
    )
    return Advice("schedule", f"the log-normal above: {ours:.0%}", because)


def _shift(known: Measured) -> Advice:
    size = known.pack.image_size
    shift = resolution_shift(size)
    because = (
        f"leaves of the coarse layout at {size} px what a schedule made for 64 px leaves there: 2 ln(64 / {size}) "
        "(Hoogeboom et al. 2023, sec. 3.1), since averaging neighbours takes noise away and not much else: "
        f"pictures of half the size hold {1 - known.spectrum.fine_share():.1%} of the power"
    )
    return Advice(
        "noise shift", f"log-SNR {shift:+.2f} (schedule shifted, by {size / 64:g})" if shift else "none", because
    )


# --- Resolution and augmentation -----------------------------------------------------------------------------------


def _size(known: Measured) -> Advice:
    size, fine = known.pack.image_size, known.spectrum.fine_share()
    kept = fine >= _FINE_LIMIT or size < 2 * _SMALLEST
    notes = known.pack.info.notes.get("enlarged", 0) / len(known.pack)
    because = f"{fine:.1%} of the power is finer than pictures of half the size can hold; {notes:.1%} were enlarged"
    value = f"keep {size} px" if kept else f"{size // 2} px would do"
    return Advice("image size", value, because, () if kept else (f"data.image_size={size // 2}",))


def _larger(known: Measured) -> list[Advice]:
    found, size, crop = known.originals, known.pack.image_size, known.pack.info.crop
    if found is None:
        return []
    shorter = found.sizes.min(1)
    allowed, middle = int(np.quantile(shorter, _ENLARGED_LIMIT, method="lower")), int(np.median(shorter))
    shares = " and ".join(f"{found.enlarged(wanted):.1%} at {wanted} px" for wanted in (size, 2 * size))
    because = (
        f"the shorter side of {len(shorter):,} originals: 95 % have at least {allowed} px, half at least {middle}; "
        f"{shares} would be enlarged" + ("" if crop == "center" else f", even without crop {crop}")
    )
    return [Advice("originals allow", f"{allowed} px", because)]


def _mirroring(known: Measured) -> Advice:
    tested = min(_MOST_MIRRORED, len(known.pack)) // 2
    limit = max(_MIRROR_LIMIT, 0.5 + 1.5 / sqrt(max(tested, 1)))
    because = (
        f"a linear look at coarse pictures tells {known.mirror:.1%} of {tested:,} from their mirror images "
        "(50 % is chance)"
    )
    if known.mirror > limit:
        return Advice("mirroring", "no flip", because)
    return Advice("mirroring", "flip", because, ("augment=[flip]",))
