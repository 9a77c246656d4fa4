"""Generated images against real ones: scores, each with its error, its floor and what it was measured on."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from mezzotint.errors import BadInput
from mezzotint.evaluation.extractors import EXTRACTORS, Batches, Extractor, ExtractorOptions
from mezzotint.evaluation.identity import ImageSet
from mezzotint.evaluation.metrics import METRICS, Metric, Value
from mezzotint.evaluation.protocols import Protocol
from mezzotint.evaluation.statistics import FeatureSet, Progress, accumulate, reference_features

LEARNING_SHARE = 3
"""One reference image in this many is set aside to train an extractor that learns, if it isn't given others."""

LEAST_REAL = 4
"""Fewer real images than this are no reference and no floor."""


@dataclass(frozen=True)
class Floor:
    """The same metric for real images that aren't in the reference: what a perfect generator would score."""

    values: Mapping[str, Value]
    count: int  # real images measured, fewer than the protocol's N where the data are too few
    reference_count: int
    source: str  # `held-out`, or `halves` of the reference


@dataclass(frozen=True)
class Score:
    """What one protocol found, with everything that decides what it may be compared to."""

    protocol: str
    values: Mapping[str, Value]
    warning: str | None
    count: int
    reference_count: int
    reference_fingerprint: str
    extractor: str
    extractor_hash: str
    floor: Floor
    image_size: tuple[int, int]  # height and width in px
    seconds: float  # wall time since the evaluation began

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers: one line of `scores.jsonl`."""
        tree = asdict(self)
        return {**tree, "image_size": list(self.image_size), "values": _plain(self.values)} | {
            "floor": {**tree["floor"], "values": _plain(self.floor.values)}
        }


def _plain(values: Mapping[str, Value]) -> dict[str, dict[str, float | None]]:
    return {name: value._asdict() for name, value in values.items()}


@dataclass(frozen=True)
class _Sides:
    """The real side of the comparison for one extractor."""

    extractor: Extractor
    reference: FeatureSet
    held_out: FeatureSet | None


def evaluate(
    generated: Batches,
    reference: Batches,
    protocols: Sequence[str],
    *,
    held_out: Batches | None = None,
    labelled: Batches | None = None,
    extractors: Sequence[ExtractorOptions] = (),
    device: torch.device | str = "cpu",
) -> Iterator[Progress | Score]:
    """Score generated images (read once, up to the largest N) by each protocol; progress first, then the scores.

    `held_out` are real images for the floor; `labelled` train an extractor that learns. Those of either that are in
    the reference too, by content, are left out. `extractors` replaces default options. Raises `BadInput` for images
    or numbers of them that don't fit.
    """
    began = time.perf_counter()
    wanted = _wanted(protocols)
    real = ImageSet.of(reference, "reference")
    spare = _apart(held_out, "held-out", real)
    sides = {}
    for name in dict.fromkeys(protocol.extractor for protocol in wanted):
        count = max(protocol.count for protocol in wanted if protocol.extractor == name)
        options = _options(name, extractors)
        sides[name] = yield from _real_side(options, real, spare, labelled, count, torch.device(device))
    sets = yield from _generated(generated, wanted, sides, real.size)
    for protocol in wanted:
        yield _score(protocol, sets[protocol.extractor], sides[protocol.extractor], real.size, began)


def _wanted(texts: Sequence[str]) -> list[Protocol]:
    wanted = [Protocol.parse(text) for text in texts]
    if not wanted:
        raise BadInput("evaluate: no protocol is named, e.g. fid-50k or fd-squeezenet-5k")
    for protocol in wanted:
        if protocol.count < METRICS[protocol.metric].least:
            raise BadInput(f"{protocol}: this metric needs at least {METRICS[protocol.metric].least} images")
    return wanted


def _options(name: str, given: Sequence[ExtractorOptions]) -> ExtractorOptions:
    chosen = next((options for options in given if isinstance(options, EXTRACTORS[name])), None)
    return chosen or EXTRACTORS[name]()


def _apart(batches: Batches | None, what: str, real: ImageSet) -> ImageSet | None:
    """Return those images that aren't in the reference, or None: a floor of its own images would be too low."""
    if batches is None:
        return None
    found = ImageSet.of(batches, what, real.size)
    others = found.only(~np.isin(found.keys, real.keys))
    return others if len(others) >= LEAST_REAL else None


def _real_side(
    options: ExtractorOptions,
    real: ImageSet,
    spare: ImageSet | None,
    labelled: Batches | None,
    count: int,
    device: torch.device,
) -> Generator[Progress, None, _Sides]:
    lessons = _apart(labelled, "labelled", real) if options.learns else None
    if options.learns and lessons is None:
        learning = real.keys % LEARNING_SHARE == 0
        lessons, real = real.only(learning), real.only(~learning)
    extractor = options.load(lessons, device)
    reference = yield from reference_features(real, extractor)
    if len(reference) < LEAST_REAL:
        raise BadInput(f"reference: {len(reference)} images are too few to compare with")
    held_out = (yield from reference_features(spare.first(count), extractor)) if spare else None
    return _Sides(extractor, reference, held_out)


def _generated(
    generated: Batches, wanted: Sequence[Protocol], sides: Mapping[str, _Sides], size: tuple[int, ...]
) -> Generator[Progress, None, dict[str, FeatureSet]]:
    most = max(wanted, key=lambda protocol: protocol.count)
    extractors = [side.extractor for side in sides.values()]
    found = yield from accumulate(generated, extractors, "generated", most.count, size)
    if len(found[0]) < most.count:
        raise BadInput(f"{most}: needs {most.count:,} generated images, there are {len(found[0]):,}")
    return dict(zip(sides, found, strict=True))


def _score(protocol: Protocol, images: FeatureSet, side: _Sides, size: tuple[int, ...], began: float) -> Score:
    metric: Metric = METRICS[protocol.metric]()
    images = images[: protocol.count]
    floor = _floor(metric, side, protocol.count)
    cautions = (metric.caution(images), _floor_caution(floor, protocol.count, len(side.reference)))
    return Score(
        protocol=str(protocol),
        values=metric(images, side.reference, side.held_out),
        warning="; ".join(caution for caution in cautions if caution) or None,
        count=len(images),
        reference_count=len(side.reference),
        reference_fingerprint=side.reference.fingerprint,
        extractor=side.extractor.name,
        extractor_hash=side.extractor.hash,
        floor=floor,
        image_size=(size[0], size[1]),
        seconds=time.perf_counter() - began,
    )


def _floor(metric: Metric, side: _Sides, count: int) -> Floor:
    if side.held_out is not None:
        images, reference, source = side.held_out[:count], side.reference, "held-out"
    else:
        half = min(count, len(side.reference) // 2)
        images, reference, source = side.reference[:half], side.reference[half:], "halves"
    return Floor(metric(images, reference, None), len(images), len(reference), source)


def _floor_caution(floor: Floor, count: int, reference_count: int) -> str | None:
    if floor.count < count:
        return f"the floor is of {floor.count:,} real images, there are no more: at {count:,} it would differ"
    if floor.reference_count < 0.9 * reference_count:
        fewer = f"{floor.reference_count:,} reference images, the score against {reference_count:,}"
        return f"the floor is against {fewer}: give held-out images for a fair one"
    return None
