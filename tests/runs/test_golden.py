"""Golden values of one tiny run: a refactor that changes what is learnt shows here, on any machine."""

from pathlib import Path

import pytest

import tiny
from mezzotint.pixels import read_png

LOSSES = [1.06459, 1.02866, 1.02255, 0.99197, 0.98299]
HELD_OUT = {"denoiser/held_out_loss": 1.01229, "denoiser/held_out_loss/ema": 1.01255}
SHEET_MEAN = 128.806


def test_a_tiny_run_learns_what_it_always_learnt(tmp_path: Path) -> None:
    run, records = tiny.train(tmp_path, "golden", ["training.precision=float32"])
    losses = [record.values["denoiser/loss"] for record in records if record.kind == "update"]
    held_out = [record.values["denoiser/held_out_loss/ema"] for record in records if record.kind == "validation"]
    assert losses == pytest.approx(LOSSES, rel=1e-3)
    assert held_out == pytest.approx(HELD_OUT, rel=1e-3)
    sheet = next(run.folder.samples.glob("000000320-ema.png"))
    assert read_png(sheet).float().mean().item() == pytest.approx(SHEET_MEAN, abs=0.5)
