"""A score in words: the number, its error, the floor, and what it was measured on."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from mezzotint.cli.progress import Progress

if TYPE_CHECKING:
    from mezzotint.evaluation.metrics import Value
    from mezzotint.evaluation.passes import Progress as Passed
    from mezzotint.evaluation.score import Score
    from mezzotint.machine import Machine

_R = TypeVar("_R")


def followed(title: str, records: "Iterable[Passed | _R]", machine: "Machine") -> list[_R]:
    """Show how far the passes are, in the process that talks, and return the results."""
    from mezzotint.evaluation.passes import Progress as Passed

    if not machine.is_main:
        return [record for record in records if not isinstance(record, Passed)]
    found = []
    with Progress(title, None) as progress:
        for record in records:
            if isinstance(record, Passed):
                progress.update(record.done, record.what, total=record.total)
            else:
                found.append(record)
    return found


def number(value: "Value") -> str:
    """Write a value with its error."""
    error = "" if value.error is None else f" ± {value.error:.2g}"
    return f"{value.value:.4g}{error}"


def lines(score: "Score") -> Iterator[str]:
    """Yield the lines that tell one score."""
    from mezzotint.evaluation.literature import beside

    real = "an unknown number of" if score.reference_count is None else f"{score.reference_count:,}"
    yield f"{score.protocol}  ({score.count:,} images against {real} real ones)"
    for name, value in score.values.items():
        yield f"  {name:<12} {number(value)}   {_floor(score, name)}"
    yield f"  {score.description}"
    yield f"  reference {score.reference_fingerprint[:12]}, extractor {score.extractor} {score.extractor_hash[:12]}"
    if score.warning:
        yield f"  warning: {score.warning}"
    for published in beside(score):
        yield f"  literature: {published.line(score)}"


def _floor(score: "Score", name: str) -> str:
    floor = score.floor
    if floor is None:
        return "no floor"
    if name not in floor.values:
        return "no floor: the held-out images are what it is measured with"
    return f"real images score {number(floor.values[name])} (n = {floor.count:,}, {floor.source})"
