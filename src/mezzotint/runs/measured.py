"""What `mezzotint bench` measured here, kept per machine: choices made for speed may follow from it.

The table can be made again, so what this version can't read of it counts as not measured.
"""

import json
from datetime import date

from pydantic import Field

from mezzotint.disk import home, write_text
from mezzotint.errors import BadInput
from mezzotint.machine import Machine
from mezzotint.options import Options, parse

_CHOICES = ("hardware", "device", "precision", "threads", "torch")


class Compiled(Options):
    """What compiling the reference network cost and brought."""

    seconds: float = Field(gt=0, description="time of the first compiled update beyond an ordinary one, in seconds")
    gain: float = Field(gt=0, description="how many times as fast an update was afterwards")


class Measured(Options):
    """One machine's numbers for the reference network, a U-Net of 9.0 M parameters at 32 px."""

    date: str = Field(default_factory=lambda: date.today().isoformat(), description="day of the measurement")
    batch_size: int = Field(ge=1, description="images per update")
    convolution_gflops: dict[str, float] = Field(
        description="its convolutions alone, forward and backward, by number type, in GFLOP/s"
    )
    update_images_per_second: float = Field(gt=0, description="images per second of whole updates")
    update_gflops: float = Field(gt=0, description="products and convolutions of whole updates, in GFLOP/s")
    roofline_fraction: float = Field(gt=0, description="time of the convolutions alone by the time of an update")
    evaluations_per_second: float = Field(gt=0, description="denoiser calls per second, per image, same batch")
    compiled: Compiled | None = Field(default=None, description="what compiling brought, where it was measured")


def _key(machine: Machine) -> str:
    facts = machine.environment()
    return ", ".join(f"{name} {facts[name]}" for name in _CHOICES)


def _table() -> dict[str, object]:
    """Every machine's entry; none where there is no table, or a damaged one."""
    try:
        table = json.loads((home() / "machines.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}


def recall(machine: Machine) -> Measured | None:
    """Return what was measured last on this hardware with these choices; None if this version's `bench` hasn't run."""
    try:
        return parse(Measured, _table().get(_key(machine)))
    except BadInput:
        return None  # absent, or as another version wrote it


def remember(machine: Machine, measured: Measured) -> None:
    """Keep a measurement in place of the last one; what was known of compiling stays unless it is measured anew."""
    last = recall(machine)
    if measured.compiled is None and last is not None:
        measured = measured.but(compiled=last.compiled)
    table = {**_table(), _key(machine): measured.tree()}
    write_text(home() / "machines.json", json.dumps(table, indent=1) + "\n")
