"""Feature sets to named numbers with their errors: one metric per file."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from mezzotint.errors import BadInput
from mezzotint.evaluation.statistics import FeatureSet
from mezzotint.options import Options
from mezzotint.registry import Folder

METRICS = Folder("mezzotint.evaluation.metrics", "metric")


class Value(NamedTuple):
    """A number and its standard error over draws of the generated images, where one can be given."""

    value: float
    error: float | None = None


class Metric(Options):
    """Base of every metric: names for protocols, and a call from feature sets to numbers."""

    prefix: ClassVar[str]  # `fd` in `fd-squeezenet-5k`
    with_inception: ClassVar[str]  # what the literature calls it on Inception features: `fid` in `fid-50k`
    least: ClassVar[int] = 2  # fewer images than this can't be measured at all
    larger_is_better: ClassVar[frozenset[str]] = frozenset()  # names of its values of which more is better
    moments_suffice: ClassVar[bool] = False  # whether a mean and a covariance are reference enough
    unranked: ClassVar[frozenset[str]] = frozenset()  # names of its values whose best is neither small nor large
    unbiased: ClassVar[bool] = False  # whether fewer images give a noisier number but no other one
    is_distance: ClassVar[bool] = False  # whether it tells how far one distribution is from another
    reference_is_training: ClassVar[bool] = False  # whether the reference must be what was trained on

    def __call__(self, generated: FeatureSet, reference: FeatureSet, held_out: FeatureSet | None) -> dict[str, Value]:
        """Measure generated images against the reference; `held_out` are real images that aren't in it."""
        raise NotImplementedError(f"{type(self).__name__} must say what it measures")

    def caution(self, generated: FeatureSet) -> str | None:
        """Say why this many images are too few to trust the number, if they are."""
        return None

    def remark(self, generated: FeatureSet, reference: FeatureSet) -> str | None:
        """Say what of these sets is not in the values, if anything had to be left out."""
        return None

    def finding(self, values: Mapping[str, Value]) -> str | None:
        """Say in words what these values reveal, if it must not be overlooked: `memorised: ...`."""
        return None


def enough(count: int, *sets: FeatureSet) -> None:
    """Raise `BadInput` if one of the sets has fewer images than a metric's options ask for."""
    smallest = min(len(images) for images in sets)
    if smallest < count:
        raise BadInput(f"{smallest} images are too few here, this metric's options need {count} on either side")
