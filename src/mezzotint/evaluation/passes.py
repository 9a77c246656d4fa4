"""One pass over pixels through extractors, alone or shared among processes, and the features of earlier passes."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mezzotint.disk import home
from mezzotint.errors import BadInput
from mezzotint.evaluation.cache import recall, store
from mezzotint.evaluation.extractors import Batches, Extractor
from mezzotint.evaluation.identity import Images, ImageSet, Keys, colour_batches, coloured, digests, joined
from mezzotint.evaluation.statistics import FeatureSet, RememberedSet
from mezzotint.machine import Machine

ALONE = Machine(torch.device("cpu"), "float32", 1)


@dataclass(frozen=True)
class Progress:
    """How far a pass over images is."""

    what: str
    done: int
    total: int | None = None


@dataclass(frozen=True)
class Seen:
    """What one process saw of a set, in reading order: `merge` makes feature sets of all processes' parts."""

    positions: np.ndarray  # int64 [n], where in the whole set
    digests: np.ndarray  # uint64 [n]
    labels: Tensor | None  # int64 [n]
    features: list[Tensor]  # float32 [n, D] for each extractor
    probabilities: list[Tensor | None]  # float32 [n, K] for each extractor
    size: tuple[int, ...] | None  # height and width in px
    problem: str | None = None  # why this process could not go on: all must hear of it, or the others wait for ever

    @classmethod
    def nothing(cls, problem: str) -> "Seen":
        """What a process saw that met something it can't use."""
        return cls(np.empty(0, np.int64), np.empty(0, np.uint64), None, [], [], None, problem)


def _own(batches: Batches, what: str, machine: Machine) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """Yield every `world`-th batch, each with its first image's position; others are made only where they must be."""
    if isinstance(batches, Images):
        for start in range(machine.rank * batches.batch_size, len(batches), machine.world * batches.batch_size):
            pixels, labels = batches.batch(start // batches.batch_size)
            yield start, coloured(pixels, what, None), labels
        return
    start = 0
    for number, (pixels, labels) in enumerate(colour_batches(batches, what)):
        if number % machine.world == machine.rank:
            yield start, pixels, labels
        start += len(pixels)


def read(
    batches: Batches,
    extractors: Sequence[Extractor],
    what: str,
    count: int | None = None,
    size: tuple[int, ...] | None = None,
    machine: Machine = ALONE,
) -> Generator[Progress, None, Seen]:
    """Pass this process's share of the images (the first `count` of them) through all extractors in one reading."""
    positions, known, labels, done = [np.empty(0, np.int64)], [np.empty(0, np.uint64)], [], 0
    seen = [([], []) for _ in extractors]
    for start, pixels, classes in _own(batches, what, machine):
        rest = len(pixels) if count is None else min(len(pixels), count - start)
        if rest <= 0:
            break
        coloured(pixels, what, size)
        size = tuple(pixels.shape[2:])
        positions.append(np.arange(start, start + rest))
        known.append(digests(pixels[:rest]))
        labels.append(None if classes is None else classes[:rest])
        for extractor, (features, probabilities) in zip(extractors, seen, strict=True):
            found = extractor.features(pixels[:rest])
            features.append(found.features)
            probabilities.append(found.probabilities)
        done = start + rest
        yield Progress(what, done, count)
        if done == count:
            break
    matrices = [torch.cat(features) if features else torch.empty(0) for features, _ in seen]
    if any(not matrix.isfinite().all() for matrix in matrices):
        raise BadInput(f"{what}: features that are not finite, the extractor's weights can't be right")
    classes = [joined(probabilities) for _, probabilities in seen]
    return Seen(np.concatenate(positions), np.concatenate(known), joined(labels), matrices, classes, size)


def read_by_all(
    batches: Batches,
    extractors: Sequence[Extractor],
    what: str,
    count: int | None,
    size: tuple[int, ...] | None,
    machine: Machine,
) -> Generator[Progress, None, list[Seen]]:
    """Read a share in each process and return what all of them saw; what one of them can't use stops them all."""
    try:
        seen = yield from read(batches, extractors, what, count, size, machine)
    except BadInput as error:
        seen = Seen.nothing(str(error))
    parts = machine.gather(seen)
    if problem := next((part.problem for part in parts if part.problem), None):
        raise BadInput(problem)
    return parts


def merge(parts: Sequence[Seen], what: str = "images", keys: np.ndarray | None = None) -> list[FeatureSet]:
    """Put together what several processes saw of one set, in any order: the feature sets that one would have seen.

    `keys` are the images' own, in reading order, where they are a part of a larger set.
    """
    parts = [part for part in parts if len(part.positions)]
    if not parts:
        raise BadInput(f"{what}: there are no images")
    if len({part.size for part in parts}) > 1:
        raise BadInput(f"{what}: all images must have one size, found {', '.join(str(part.size) for part in parts)}")
    # Reading order first, in which copies are told apart; then the order of keys.
    positions = np.concatenate([part.positions for part in parts])
    reading = np.argsort(positions)
    seen = np.concatenate([part.digests for part in parts])[reading]
    keys = Keys().told_apart(seen) if keys is None else keys[positions[reading]]
    sorting = np.argsort(keys)
    rows = torch.from_numpy(reading[sorting])
    labels = joined([part.labels for part in parts])
    sets = []
    for number in range(len(parts[0].features)):
        features = torch.cat([part.features[number] for part in parts])[rows]
        probabilities = joined([part.probabilities[number] for part in parts])
        chosen = [None if known is None else known[rows] for known in (probabilities, labels)]
        sets.append(FeatureSet(features, chosen[0], chosen[1], keys[sorting]))
    return sets


def accumulate(
    batches: Batches,
    extractors: Sequence[Extractor],
    what: str,
    count: int | None = None,
    size: tuple[int, ...] | None = None,
    machine: Machine = ALONE,
) -> Generator[Progress, None, list[FeatureSet]]:
    """Pass images (at most `count`), shared among the processes, through all extractors; one feature set for each."""
    parts = yield from read_by_all(batches, extractors, what, count, size, machine)
    keys = batches.chosen_keys if isinstance(batches, ImageSet) else None
    return merge(parts, what, keys)


# --- Remembered features ----------------------------------------------------------------------------------------


def _file(what: str, images: ImageSet, extractor: Extractor) -> Path:
    return home() / "features" / f"{what}{extractor.name}-{extractor.hash}-{images.fingerprint}.safetensors"


def _remembered(images: ImageSet, extractor: Extractor) -> RememberedSet | None:
    tensors = recall(_file("", images, extractor))
    if tensors is None or {"features", "keys"} - set(tensors):
        return None
    keys, order = tensors["keys"].numpy().view(np.uint64), np.argsort(images.chosen_keys)
    if not np.array_equal(keys, images.chosen_keys[order]):
        return None
    # Labels are never kept: the same pixels may come with other ones.
    labels = None if images.chosen_labels is None else images.chosen_labels[torch.from_numpy(order)]
    moments = _file("moments-", images, extractor)
    return RememberedSet(tensors["features"], tensors.get("probabilities"), labels, keys, moments)


def reference_features(
    images: ImageSet, extractor: Extractor, machine: Machine = ALONE
) -> Generator[Progress, None, FeatureSet]:
    """Return the features of images that will be needed again: read from the cache, else computed and kept there."""
    known = _remembered(images, extractor)
    missing = machine.agree(known is None)  # all processes read the cache, or all share the work
    if known is not None and not missing:
        yield Progress(images.what, len(known), len(known))
        return known
    (found,) = yield from accumulate(images, [extractor], images.what, len(images), machine=machine)
    if machine.is_main:
        tensors = {"features": found.features, "keys": torch.from_numpy(found.keys.view(np.int64))}
        if found.probabilities is not None:
            tensors["probabilities"] = found.probabilities
        store(_file("", images, extractor), tensors)
    moments = _file("moments-", images, extractor)
    return RememberedSet(found.features, found.probabilities, found.labels, found.keys, moments)
