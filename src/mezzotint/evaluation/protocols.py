"""Protocol strings: a metric on an extractor's features of N generated images. `fid` is Frechet on Inception, only."""

import re
from dataclasses import dataclass

from mezzotint.errors import BadInput, nearest
from mezzotint.evaluation.extractors import EXTRACTORS
from mezzotint.evaluation.metrics import METRICS

_COUNT = re.compile(r"([1-9]\d*)(k?)")


@dataclass(frozen=True)
class Protocol:
    """A named pairing with N; printed as it is written in recipes: `fid-50k`, `fd-squeezenet-5k`."""

    metric: str
    extractor: str
    count: int

    def __str__(self) -> str:
        number = f"{self.count // 1000}k" if self.count % 1000 == 0 else str(self.count)
        return f"{_names()[self.metric, self.extractor]}-{number}"

    @classmethod
    def parse(cls, text: str) -> "Protocol":
        """Read a protocol string; an unknown one raises `BadInput` with the nearest alternatives."""
        pairing, _, number = text.rpartition("-")
        known, match = pairings(), _COUNT.fullmatch(number)
        if match is None:
            raise BadInput(f"protocol {text!r}: must end in a number of images, e.g. {_example(text)}")
        if pairing not in known:
            raise BadInput(f"unknown protocol {text!r}: {_alternatives(pairing, number)}")
        return cls(*known[pairing], int(match[1]) * (1000 if match[2] else 1))


def offered(protocol: Protocol) -> str | None:
    """Name protocols that stay unbiased at this number of images, where a distance by its own metric doesn't."""
    if METRICS[protocol.metric].unbiased or not METRICS[protocol.metric].is_distance:
        return None
    others = [Protocol(metric, protocol.extractor, protocol.count) for metric in METRICS if METRICS[metric].unbiased]
    known = [str(other) for other in others if protocol.count >= METRICS[other.metric].least]
    return f"at {protocol.count:,} images {' or '.join(known)} would be unbiased" if known else None


def pairings() -> dict[str, tuple[str, str]]:
    """Return every name before the number, and the metric and extractor it stands for: `kid-inception` is `kid`."""
    long = {f"{METRICS[metric].prefix}-inception": (metric, "inception") for metric in METRICS}
    return long | {name: pair for pair, name in _names().items()}


def _names() -> dict[tuple[str, str], str]:
    return {(metric, extractor): _name(metric, extractor) for metric in METRICS for extractor in EXTRACTORS}


def _name(metric: str, extractor: str) -> str:
    part = METRICS[metric]
    return part.with_inception if extractor == "inception" else f"{part.prefix}-{extractor}"


def _example(text: str) -> str:
    return f"{text}-5k" if text in pairings() else "fid-50k, fd-squeezenet-5k"


def _alternatives(pairing: str, number: str) -> str:
    return nearest(f"{pairing}-{number}", [f"{name}-{number}" for name in pairings()])
