"""Generated images against real ones: scores, each with its error, its floor and what it was measured on."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mezzotint.errors import BadInput
from mezzotint.evaluation.extractors import EXTRACTORS, Batches, Extractor, ExtractorOptions
from mezzotint.evaluation.floors import cautious_floor, metrics_code
from mezzotint.evaluation.given import Statistics
from mezzotint.evaluation.identity import Images, ImageSet
from mezzotint.evaluation.metrics import METRICS, Metric
from mezzotint.evaluation.passes import ALONE, Progress, merge, read_by_all, reference_features
from mezzotint.evaluation.protocols import Protocol, offered
from mezzotint.evaluation.score import Provenance, Score
from mezzotint.evaluation.statistics import FeatureSet
from mezzotint.machine import Machine

LEARNING_SHARE = 3
"""One reference image in this many is set aside to train an extractor that learns, if it isn't given others."""

LEAST_REAL = 4
"""Fewer real images than this are no reference and no floor."""


@dataclass(frozen=True)
class Side:
    """The real side of the comparison for one extractor."""

    extractor: Extractor
    reference: FeatureSet
    held_out: FeatureSet | None
    published: bool = False  # whether the extractor's weights are
    taught: int = 0  # images of the reference that were set aside for the extractor to learn from


@dataclass(frozen=True)
class Prepared:
    """All that doesn't depend on what is judged: any number of generated sets can be scored against it."""

    protocols: tuple[Protocol, ...]
    sides: Mapping[str, Side]  # by extractor
    size: tuple[int, ...] | None  # height and width in px; None where no real image is at hand
    provenance: Provenance | None
    machine: Machine

    def would_be(self, score: Score, protocol: Protocol) -> bool:
        """Whether a score of the same pictures is by this protocol, and by all on the real side that decides it."""
        side = self.sides[protocol.extractor]
        group = str(protocol), side.extractor.hash, side.reference.fingerprint
        held_out = None if side.held_out is None else side.held_out.fingerprint
        return (score.group, score.held_out_fingerprint, score.code) == (group, held_out, metrics_code())


def evaluate(
    generated: Batches,
    reference: Batches | Statistics,
    protocols: Sequence[str],
    *,
    held_out: Batches | None = None,
    labelled: Batches | None = None,
    extractors: Sequence[ExtractorOptions] = (),
    provenance: Provenance | None = None,
    machine: Machine = ALONE,
) -> Iterator[Progress | Score]:
    """Score generated images (read once, up to the largest N) by each protocol; progress first, then the scores.

    `held_out` are real images for the floor; `labelled` train an extractor that learns. Those of either that are in
    the reference too, by content, are left out. To look for copies (memorisation) the reference must be what the
    generator was trained on, and `held_out` what it wasn't. `extractors` replaces default options; `provenance` says
    what the reference is. All processes of `machine` call this with the same images and get the same scores. Raises
    `BadInput` for images or numbers of them that don't fit.
    """
    began = time.perf_counter()
    check_count(generated, protocols)
    prepared = yield from prepare(
        reference,
        protocols,
        held_out=held_out,
        labelled=labelled,
        extractors=extractors,
        provenance=provenance,
        machine=machine,
    )
    yield from scored(generated, prepared, began)


# --- The real side ----------------------------------------------------------------------------------------------


def prepare(
    reference: Batches | Statistics,
    protocols: Sequence[str],
    *,
    held_out: Batches | None = None,
    labelled: Batches | None = None,
    extractors: Sequence[ExtractorOptions] = (),
    provenance: Provenance | None = None,
    machine: Machine = ALONE,
) -> Generator[Progress, None, Prepared]:
    """Load the extractors and find the reference's features, from the cache where they are known."""
    wanted = _wanted(protocols)
    names = dict.fromkeys(protocol.extractor for protocol in wanted)
    if isinstance(reference, Statistics):
        _check_moments_suffice(wanted, reference)
        real, size = None, None
        spare = None if held_out is None else ImageSet.of(held_out, "held-out")
    else:
        real = ImageSet.of(reference, "reference")
        size, spare = real.size, _apart(held_out, "held-out", real)
    sides = {}
    for name in names:
        count = max(protocol.count for protocol in wanted if protocol.extractor == name)
        held = None if spare is None else spare.first(count)
        options = _options(name, extractors)
        if isinstance(reference, Statistics):
            sides[name] = yield from _given_side(options, reference, held, machine)
        elif real is not None:
            sides[name] = yield from _real_side(options, real, held, labelled, machine)
    return Prepared(tuple(wanted), sides, size, provenance, machine)


def _wanted(texts: Sequence[str]) -> list[Protocol]:
    wanted = [Protocol.parse(text) for text in texts]
    if not wanted:
        raise BadInput("evaluate: no protocol is named, e.g. fid-50k or fd-squeezenet-5k")
    for protocol in wanted:
        if protocol.count < METRICS[protocol.metric].least:
            raise BadInput(f"{protocol}: this metric needs at least {METRICS[protocol.metric].least} images")
    return wanted


def _check_moments_suffice(wanted: Sequence[Protocol], reference: Statistics) -> None:
    for protocol in wanted:
        if not METRICS[protocol.metric].moments_suffice:
            raise BadInput(f"{protocol}: needs real images, {reference.path} holds only their mean and covariance")


def _options(name: str, given: Sequence[ExtractorOptions]) -> ExtractorOptions:
    chosen = next((options for options in given if isinstance(options, EXTRACTORS[name])), None)
    return chosen or EXTRACTORS[name]()


def _apart(batches: Batches | None, what: str, real: ImageSet) -> ImageSet | None:
    """Return those images that aren't in the reference, or None: a floor of its own images would be too low."""
    if batches is None:
        return None
    found = ImageSet.of(batches, what, real.size)
    others = found.only(~np.isin(found.digests, real.digests))
    return others if len(others) >= LEAST_REAL else None


def _loaded(options: ExtractorOptions, lessons: Batches | None, machine: Machine) -> Extractor:
    """Load an extractor; one that learns does so in the first process, and the others find it in the cache."""
    extractor, problem = None, None
    if machine.is_main:
        try:
            extractor = options.load(lessons, machine.device)
        except BadInput as error:
            problem = str(error)
    first, *_ = machine.gather(problem)  # the others wait here, and hear what went wrong
    if first is not None:
        raise BadInput(first)
    return extractor or options.load(lessons, machine.device)


def _given_side(
    options: ExtractorOptions, reference: Statistics, spare: ImageSet | None, machine: Machine
) -> Generator[Progress, None, Side]:
    if options.learns:
        raise BadInput(f"{reference.path}: statistics are of a published extractor, not of one that learns")
    extractor, found = _loaded(options, None, machine), reference.features
    if found.features.shape[1] != extractor.dimension:
        dimensions = f"{found.features.shape[1]} features, {extractor.name} has {extractor.dimension}"
        raise BadInput(f"{reference.path}: is of {dimensions}; name the extractor it was made with")
    held_out = (yield from reference_features(spare, extractor, machine)) if spare else None
    return Side(extractor, found, held_out, options.as_published)


def _real_side(
    options: ExtractorOptions, real: ImageSet, spare: ImageSet | None, labelled: Batches | None, machine: Machine
) -> Generator[Progress, None, Side]:
    lessons, taught = _apart(labelled, "labelled", real) if options.learns else None, 0
    if options.learns and lessons is None:
        learning = real.keys % LEARNING_SHARE == 0
        lessons, real = real.only(learning), real.only(~learning)
        taught = len(lessons)
    extractor = _loaded(options, lessons, machine)
    if len(real) < LEAST_REAL:
        raise BadInput(f"reference: needs at least {LEAST_REAL} images, there are {len(real)}")
    reference = yield from reference_features(real, extractor, machine)
    held_out = (yield from reference_features(spare, extractor, machine)) if spare else None
    return Side(extractor, reference, held_out, options.as_published, taught)


# --- The generated side -----------------------------------------------------------------------------------------


def check_count(generated: Batches, protocols: Sequence[str]) -> None:
    """Refuse too few generated images, where their number is known before they are made or read."""
    most = max(_wanted(protocols), key=lambda protocol: protocol.count)
    if isinstance(generated, Images) and len(generated) < most.count:
        raise BadInput(_too_few(most, len(generated)))


def _too_few(protocol: Protocol, count: int) -> str:
    return f"{protocol}: needs {protocol.count:,} generated images, there are {count:,}"


def scored(
    generated: Batches, prepared: Prepared, began: float | None = None, protocols: Sequence[Protocol] | None = None
) -> Iterator[Progress | Score]:
    """Read generated images once and score them by all prepared protocols, or by some; `began` is on the clock of
    `time.perf_counter`.
    """
    began = time.perf_counter() if began is None else began
    wanted = prepared.protocols if protocols is None else protocols
    names = list(dict.fromkeys(protocol.extractor for protocol in wanted))
    most = max(wanted, key=lambda protocol: protocol.count)
    extractors = [prepared.sides[name].extractor for name in names]
    parts = yield from read_by_all(generated, extractors, "generated", most.count, prepared.size, prepared.machine)
    sets = dict(zip(names, merge(parts, "generated"), strict=True))
    found = len(sets[names[0]])
    if found < most.count:
        raise BadInput(_too_few(most, found))
    size = next(part.size for part in parts if part.size is not None)
    shown = Shown((size[0], size[1]), generated.format if isinstance(generated, Images) else "unknown")
    for protocol in wanted:
        yield _score(protocol, sets[protocol.extractor], prepared, shown, began)


class Shown(NamedTuple):
    """What the generated images are."""

    size: tuple[int, int]  # height and width in px
    format: str


def _score(protocol: Protocol, images: FeatureSet, prepared: Prepared, shown: Shown, began: float) -> Score:
    metric: Metric = METRICS[protocol.metric]()
    side, images = prepared.sides[protocol.extractor], images[: protocol.count]
    known = bool(len(side.reference))
    sides = side.reference, side.held_out
    values = metric(images, *sides)
    floor, floor_caution = cautious_floor(metric, *sides, protocol.count, side.extractor.hash)
    few = metric.caution(images)
    cautions = (
        metric.finding(values),
        few,
        few and offered(protocol),
        metric.remark(images, side.reference) if known else None,
        floor_caution,
        _reference_caution(metric, side, protocol.count),
        _taught_caution(metric, side),
        _format_caution(shown.format),
    )
    return Score(
        protocol=str(protocol),
        values=values,
        larger_is_better=tuple(sorted(metric.larger_is_better & values.keys())),
        unranked=tuple(sorted(metric.unranked & values.keys())),
        warning="; ".join(caution for caution in cautions if caution) or None,
        count=len(images),
        reference_count=len(side.reference) if known else None,
        reference_fingerprint=side.reference.fingerprint,
        reference=prepared.provenance,
        reference_is_training=metric.reference_is_training,
        held_out_fingerprint=None if side.held_out is None else side.held_out.fingerprint,
        generated_format=shown.format,
        code=metrics_code(),
        extractor=side.extractor.name,
        extractor_hash=side.extractor.hash,
        published_weights=side.published,
        resize=side.extractor.rule,
        floor=floor,
        image_size=shown.size,
        seconds=time.perf_counter() - began,
    )


def _reference_caution(metric: Metric, side: Side, count: int) -> str | None:
    real = len(side.reference)
    few = not metric.reference_is_training and 0 < 2 * real < count
    return f"the reference is {real:,} images only: better as many as are judged, or more" if few else None


def _taught_caution(metric: Metric, side: Side) -> str | None:
    if not (metric.reference_is_training and side.taught):
        return None
    return f"copies of {side.taught:,} training images are not found: the extractor learned from these"


def _format_caution(generated: str) -> str | None:
    if "jpeg" not in generated:
        return None
    return "the generated images are JPEG files, whose compression is judged too: keep them as PNG"
