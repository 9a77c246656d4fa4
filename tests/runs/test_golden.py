"""What a tiny run computes: a refactor doesn't change it, a changed algorithm says so here."""

from pathlib import Path

import pytest

from mezzotint.pixels import read_png
from tiny import train

LOSSES = [1.06459, 1.02866, 1.02255, 0.99197, 0.98299]
SHEET_MEAN = 131.83
HELD_OUT = {"denoiser/held_out_loss": 1.01229, "denoiser/held_out_loss/ema": 1.01255}


def test_a_tiny_run_has_the_recorded_losses(tmp_path: Path) -> None:
    """In float32; processors round differently, so to one part in a thousand: another seed differs by far more."""
    run, records = train(tmp_path, "golden", ["training.precision=float32"])
    losses = [record.values["denoiser/loss"] for record in records if record.kind == "update"]
    assert losses == pytest.approx(LOSSES, rel=1e-3)
    (*_, last) = (record.values for record in records if record.kind == "validation")
    assert {name: last[name] for name in HELD_OUT} == pytest.approx(HELD_OUT, rel=1e-3)
    sheet = read_png(run.folder.samples / "000000320-ema.png")
    assert sheet.float().mean().item() == pytest.approx(SHEET_MEAN, abs=0.5)
