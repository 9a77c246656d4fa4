"""Golden values of one tiny run: a refactor that changes what is learnt shows here, on any machine."""

from pathlib import Path

import pytest

import tiny
from mezzotint.pixels import read_png

LOSSES = (1.65089, 1.616707, 1.581174, 1.508123, 1.467299)
HELD_OUT = (1.569424, 1.509752)
SHEET_MEAN = 128.806


def test_a_tiny_run_learns_what_it_always_learnt(tmp_path: Path) -> None:
    run, records = tiny.train(tmp_path, "golden", ["training.precision=float32"])
    losses = [record.values["denoiser/loss"] for record in records if record.kind == "update"]
    held_out = [record.values["denoiser/held_out_loss/ema"] for record in records if record.kind == "validation"]
    assert losses == pytest.approx(LOSSES, rel=1e-3)
    assert held_out == pytest.approx(HELD_OUT, rel=1e-3)
    sheet = next(run.folder.samples.glob("000000320-ema.png"))
    assert read_png(sheet).float().mean().item() == pytest.approx(SHEET_MEAN, abs=0.5)
