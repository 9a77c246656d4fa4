"""The floor: a metric's values for real images that aren't in the reference, remembered by all that decides them."""

import json
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path

import torch

from mezzotint.disk import home, write_text
from mezzotint.errors import BadInput
from mezzotint.evaluation.cache import tensors_hash
from mezzotint.evaluation.metrics import Metric, Value, enough
from mezzotint.evaluation.score import Floor
from mezzotint.evaluation.statistics import FeatureSet


def cautious_floor(
    metric: Metric, reference: FeatureSet, held_out: FeatureSet | None, count: int, extractor_hash: str
) -> tuple[Floor | None, str | None]:
    """Measure the floor; what keeps it from being one, or a fair one, is told and no reason to end."""
    try:
        floor = measured_floor(metric, reference, held_out, count, extractor_hash)
    except BadInput as error:
        return None, f"no floor of these real images: {error}"
    return floor, _caution(floor, count, len(reference))


def _caution(floor: Floor | None, count: int, reference_count: int) -> str | None:
    if floor is None:
        return "the reference's statistics say neither N nor extractor, and without real images there is no floor"
    if floor.count < count:
        return f"the floor is of {floor.count:,} real images, there are no more: at {count:,} it would differ"
    if floor.reference_count < 0.9 * reference_count:
        fewer = f"{floor.reference_count:,} reference images, the score against {reference_count:,}"
        return f"the floor is against {fewer}: give held-out images for a fair one"
    return None


def measured_floor(
    metric: Metric, reference: FeatureSet, held_out: FeatureSet | None, count: int, extractor_hash: str
) -> Floor | None:
    """Measure held-out images at the protocol's N, else two disjoint halves; None where no real image is at hand.

    Raises `BadInput` where the real images are too few for the metric.
    """
    if held_out is not None:
        images, against, source = held_out[:count], reference, "held-out"
    elif len(reference):
        half = min(count, len(reference) // 2)
        images, against, source = reference[:half], reference[half:], "halves"
    else:
        return None
    enough(metric.least, images)
    path = home() / "features" / f"floor-{_identity(metric, images, against, extractor_hash)}.json"
    values = _remembered(path)
    if values is None:
        values = metric(images, against, None)
        write_text(path, json.dumps({name: list(value) for name, value in values.items()}))
    return Floor(values, len(images), len(against), source)


@cache
def metrics_code() -> str:
    """Hash the source of all that computes values from features: a changed metric forgets its floors and scores."""
    folder = Path(__file__).parent
    sources = [folder / "statistics.py", folder / "neighbours.py", *sorted((folder / "metrics").glob("*.py"))]
    return blake2b(b"".join(source.read_bytes() for source in sources), digest_size=16).hexdigest()


def _identity(metric: Metric, images: FeatureSet, against: FeatureSet, extractor_hash: str) -> str:
    nothing = torch.empty(0, dtype=torch.int64)
    labels = {"images": images.labels, "against": against.labels}
    known = {name: nothing if found is None else found for name, found in labels.items()}
    options = f"{type(metric).__name__} {metric.model_dump_json()}"
    return tensors_hash(known, options, images.fingerprint, against.fingerprint, extractor_hash, metrics_code())


def _remembered(path: Path) -> Mapping[str, Value] | None:
    try:
        tree = json.loads(path.read_text("utf-8"))
        return {
            name: Value(float(value), None if error is None else float(error)) for name, (value, error) in tree.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return None
