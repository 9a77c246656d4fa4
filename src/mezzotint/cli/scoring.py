"""A score in words: the number, its error, the floor, and what it was measured on."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mezzotint.evaluation.evaluate import Score
    from mezzotint.evaluation.metrics import Value


def _number(value: "Value") -> str:
    error = "" if value.error is None else f" ± {value.error:.2g}"
    return f"{value.value:.4g}{error}"


def lines(score: "Score") -> Iterator[str]:
    """Yield the lines that tell one score."""
    yield f"{score.protocol}  ({score.count:,} images against {score.reference_count:,} real ones)"
    floor = score.floor
    for name, value in score.values.items():
        real = _number(floor.values[name])
        yield f"  {name:<12} {_number(value)}   real images score {real} (n = {floor.count:,}, {floor.source})"
    yield f"  reference {score.reference_fingerprint[:12]}, extractor {score.extractor} {score.extractor_hash[:12]}"
    if score.warning:
        yield f"  warning: {score.warning}"
