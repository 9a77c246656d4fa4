"""A trained run judged in this process: several protocols from one drawing, and the network calls that it took."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from command import own_weights
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from mezzotint.evaluation.metrics import Value
from mezzotint.evaluation.score import Score
from mezzotint.networks import Network
from mezzotint.runs.judge import judge, open_case


class Calls:
    """Images that went through a noise-conditioned network, once per call."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        """Count the batch of a network; blocks inside of it aren't calls."""
        if isinstance(module, Network):
            self.images += len(inputs[0])


@contextmanager
def counted() -> Iterator[Calls]:
    """Count calls of every network for a block."""
    calls = Calls()
    handle = register_module_forward_hook(calls)
    try:
        yield calls
    finally:
        handle.remove()


@dataclass(frozen=True)
class Judged:
    """What some protocols found of one drawing, and its network calls per image."""

    scores: Mapping[str, Score]
    nfe: float

    def value(self, protocol: str, name: str | None = None) -> Value:
        """Return a protocol's first value, or the one of a name."""
        values = self.scores[protocol].values
        return values[name or next(iter(values))]

    def floor(self, protocol: str) -> Value:
        """Return what real images score."""
        floor = self.scores[protocol].floor
        return next(iter(floor.values.values())) if floor else Value(float("nan"))


def judged(
    run: Path, against: Path, protocols: Sequence[str], device: str, changes: Sequence[str] = (), which: str = "auto"
) -> Judged:
    """Draw from a run, with overrides, and score it by each protocol; pictures are drawn once."""
    own_weights()
    with counted() as calls:
        case = open_case(run, str(against), protocols, which=which, changes=changes, device=device)
        scores = {found.protocol: found for found in judge(case) if isinstance(found, Score)}
    return Judged(scores, calls.images / len(case.generated))


def said(value: Value) -> str:
    """Return a value with its error bar, in as many digits as that leaves."""
    digits = 0 if abs(value.value) >= 100 else 2 if abs(value.value) >= 1 else 4
    error = "" if value.error is None else f" ± {value.error:,.{digits}f}"
    return f"{value.value:,.{digits}f}{error}"
