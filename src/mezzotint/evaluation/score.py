"""Scores: numbers with their errors, their floor, and everything that decides what they may be compared to."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from mezzotint.errors import BadInput
from mezzotint.evaluation.metrics import Value


@dataclass(frozen=True)
class Provenance:
    """What is known of real images: where they came from, as which files, and how they were prepared."""

    source: str  # e.g. `cifar10_test.parquet`, `digits`
    split: str = "all"
    format: str = "unknown"  # of the files they were decoded from: jpeg, png, array, ...; or `statistics`
    preparation: str = "none"  # crop and filter, where they had to be resized
    whole: bool = False  # whether these are known to be all images of that split

    def __str__(self) -> str:
        split = "" if self.split == "all" else f" {self.split}"
        return f"{self.source}{split} ({self.format}; {self.preparation})"


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
    larger_is_better: tuple[str, ...]  # names among the values
    unranked: tuple[str, ...]  # names among the values: neither small nor large is best
    warning: str | None
    count: int
    reference_count: int | None  # None where the reference is known by its statistics alone
    reference_fingerprint: str
    reference: Provenance | None
    reference_is_training: bool  # whether the reference is taken for what the generator was trained on
    held_out_fingerprint: str | None  # of the real images that aren't in the reference
    generated_format: str  # of the generated images: png, jpeg, array, drawn in memory, ...
    code: str  # hash of the metrics' source
    extractor: str
    extractor_hash: str
    published_weights: bool  # whether the extractor's weights are the published ones
    resize: str  # how the extractor takes images in
    floor: Floor | None
    image_size: tuple[int, int]  # height and width in px
    seconds: float  # wall time since the evaluation began

    @property
    def group(self) -> tuple[str, str, str]:
        """Protocol, extractor hash and reference fingerprint: only scores that share all three are ranked."""
        return self.protocol, self.extractor_hash, self.reference_fingerprint

    @property
    def description(self) -> str:
        """The protocol in full: what else would have to be the same for a number to be comparable."""
        height, width = self.image_size
        real = "unknown real images" if self.reference is None else str(self.reference)
        role = " as the training images" if self.reference_is_training else ""
        generated = f"{self.protocol} of {self.generated_format} images"
        return f"{generated} against {real}{role}, {width}x{height} px, {self.extractor}: {self.resize}"

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers: one line of `scores.jsonl`."""
        floor = self.floor and {**asdict(self.floor), "values": _plain(self.floor.values)}
        return {
            **asdict(replace(self, floor=None)),
            "larger_is_better": list(self.larger_is_better),
            "unranked": list(self.unranked),
            "image_size": list(self.image_size),
            "values": _plain(self.values),
            "floor": floor,
            "description": self.description,
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Self:
        """Read a line of `scores.jsonl` back; what was written beside the score is left out."""
        try:
            tree = {name: line[name] for name in cls.__dataclass_fields__}
            floor, reference = tree["floor"], tree["reference"]
            return cls(
                **tree
                | {
                    "values": _values(tree["values"]),
                    "larger_is_better": tuple(tree["larger_is_better"]),
                    "unranked": tuple(tree["unranked"]),
                    "image_size": tuple(tree["image_size"]),
                    "reference": reference and Provenance(**reference),
                    "floor": floor and Floor(**floor | {"values": _values(floor["values"])}),
                }
            )
        except (KeyError, TypeError) as error:
            raise BadInput(f"a score without {error}: it was written by another version; evaluate again") from None


def _plain(values: Mapping[str, Value]) -> dict[str, dict[str, float | None]]:
    return {name: value._asdict() for name, value in values.items()}


def _values(tree: Mapping[str, Mapping[str, float | None]]) -> dict[str, Value]:
    known = {name: (value["value"], value["error"]) for name, value in tree.items()}
    return {name: Value(float("nan") if number is None else number, error) for name, (number, error) in known.items()}
