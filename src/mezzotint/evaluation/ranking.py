"""Which is better, and how surely: scores are ranked inside one protocol, extractor and reference, never across."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, isfinite, sqrt
from statistics import mean, stdev
from typing import Generic, TypeVar

from mezzotint.errors import BadInput
from mezzotint.evaluation.metrics import Value
from mezzotint.evaluation.score import Score

_Named = TypeVar("_Named")


@dataclass(frozen=True)
class Ranked(Generic[_Named]):
    """Scores of one group, best first by one of their values, or in the order given where there is no best."""

    group: tuple[str, str, str]
    by: str | None  # name of the value; None where its best is neither small nor large, so nothing is ranked
    entries: tuple[tuple[_Named, Score], ...]
    surely_best: float | None  # probability that the first is better than the second; None without errors or rivals


def probability(first: Value, second: Value, larger_is_better: bool = False) -> float | None:
    """Probability that the first's true value is the better one; None where an error isn't known.

    Normal approximation with both standard errors, taken as independent: the errors are over draws of the generated
    images, so what two scores share (the reference, or equal seeds) is not counted, and the answer is cautious
    wherever sharing makes the two move together.
    """
    if first.error is None or second.error is None or not isfinite(first.value - second.value):
        return None
    gain = first.value - second.value if larger_is_better else second.value - first.value
    spread = sqrt(first.error**2 + second.error**2)
    if spread == 0:
        return 0.5 if gain == 0 else float(gain > 0)
    return (1 + erf(gain / spread / sqrt(2))) / 2


def better(first: Score, second: Score, by: str | None = None) -> float | None:
    """Probability that the first score is better than the second; `BadInput` where they can't be compared."""
    if first.group != second.group:
        raise BadInput(f"{first.description} and {second.description} can't be ranked: {_difference(first, second)}")
    name = by or next(iter(first.values))
    if name in first.unranked:
        raise BadInput(f"{first.protocol}: {name} is best neither small nor large, so it ranks nothing")
    return probability(first.values[name], second.values[name], name in first.larger_is_better)


def _difference(first: Score, second: Score) -> str:
    names = ("protocols", "extractors (by hash)", "references (by content)")
    differing = [name for name, a, b in zip(names, first.group, second.group, strict=True) if a != b]
    return f"their {' and '.join(differing)} differ"


def ranked(scores: Sequence[tuple[_Named, Score]], by: str | None = None) -> list[Ranked[_Named]]:
    """Divide scores into groups that can be ranked, and rank each by its first value or by the one named."""
    groups: dict[tuple[str, str, str], list[tuple[_Named, Score]]] = {}
    for name, score in scores:
        groups.setdefault(score.group, []).append((name, score))
    return [_ranked(group, entries, by) for group, entries in groups.items()]


def _ranked(group: tuple[str, str, str], entries: list[tuple[_Named, Score]], by: str | None) -> Ranked[_Named]:
    name = by or next(iter(entries[0][1].values))
    if name in entries[0][1].unranked:
        return Ranked(group, None, tuple(entries), None)
    sign = -1 if name in entries[0][1].larger_is_better else 1

    def place(entry: tuple[_Named, Score]) -> float:
        value = sign * entry[1].values[name].value
        return value if isfinite(value) else float("inf")  # a number that is none comes last

    entries = sorted(entries, key=place)
    surely = better(entries[0][1], entries[1][1], name) if len(entries) > 1 else None
    return Ranked(group, name, tuple(entries), surely)


def repeated(scores: Sequence[Score]) -> dict[str, Value]:
    """Mean over repeats (other seeds, or other trainings) and its standard error, from how much they differ."""
    if len(scores) < 2:
        raise BadInput(f"repeats: {len(scores)} score has no spread, two or more are needed")
    for other in scores[1:]:
        if other.group != scores[0].group:
            raise BadInput(f"repeats: can't be averaged, {_difference(scores[0], other)}")
    columns = {name: [score.values[name].value for score in scores] for name in scores[0].values}
    return {name: Value(mean(column), stdev(column) / sqrt(len(column))) for name, column in columns.items()}
