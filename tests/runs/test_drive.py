"""Driving a run: what it logs and when, what it keeps, and that stopping anywhere changes nothing."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mezzotint.contracts import Batch, Loss
from mezzotint.diffusion.family import Diffusion
from mezzotint.errors import BadInput, RunFailed
from mezzotint.machine import cores
from mezzotint.pixels import read_png, write_png
from mezzotint.runs import checkpoint, drive
from mezzotint.runs.draw import draw_sheet
from mezzotint.runs.drive import Meter, Record
from mezzotint.runs.run import Run, open_run
from mezzotint.training.loop import Update
from tiny import after, same, tensors, train


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Record]]:
    """A finished run, to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        return train(tmp_path_factory.mktemp("runs"), "whole")


def _of(records: list[Record], kind: str) -> list[Record]:
    return [record for record in records if record.kind == kind]


def _copy(run: Run, runs: Path, name: str) -> Path:
    shutil.copytree(run.folder.path, runs / name)
    return runs / name


# --- What is written -------------------------------------------------------------------------------------------


def test_records_come_at_their_cadences_and_at_the_end(whole: tuple[Run, list[Record]]) -> None:
    seen = {kind: [r.images_seen for r in _of(whole[1], kind)] for kind in ("update", "validation", "sheet")}
    assert seen == {"update": [64, 128, 192, 256, 320], "validation": [160, 320], "sheet": [160, 320]}
    assert [r.images_seen for r in _of(whole[1], "checkpoint")] == [96, 192, 288, 320]
    assert whole[1][-1].kind == "done"
    assert all(record.images_seen == 32 * record.update for record in whole[1])


def test_the_log_is_what_was_yielded(whole: tuple[Run, list[Record]]) -> None:
    run, records = whole
    assert run.folder.read_log() == [json.loads(json.dumps(record.json())) for record in records[:-1]]


def test_an_update_tells_losses_rates_and_cost(whole: tuple[Run, list[Record]]) -> None:
    updates = [record.values for record in _of(whole[1], "update")]
    for values in updates:
        assert 0 < float(values["denoiser/loss"]) < 10
        assert float(values["gradient_norm"]) > 0
        assert float(values["images_per_second"]) > 0
        assert int(values["memory_bytes"]) > 10_000_000
        assert values["skipped"] == 0
    assert [v["seconds"] for v in updates] == sorted(v["seconds"] for v in updates)
    assert float(updates[-1]["learning_rate"]) < float(updates[1]["learning_rate"]) <= 0.001


def test_validation_tells_held_out_losses_of_raw_and_averaged_weights(whole: tuple[Run, list[Record]]) -> None:
    for record in _of(whole[1], "validation"):
        raw, averaged = record.values["denoiser/held_out_loss"], record.values["denoiser/held_out_loss/ema"]
        assert set(record.values) == {"denoiser/held_out_loss", "denoiser/held_out_loss/ema"}
        assert 0 < float(raw) < 10
        assert 0 < float(averaged) < 10
        assert raw != averaged


def test_sheets_show_the_same_seeds_for_raw_and_averaged_weights(whole: tuple[Run, list[Record]]) -> None:
    run, records = whole
    names = [f"{images:09d}-{which}.png" for images in (160, 320) for which in ("ema", "raw")]
    assert sorted(path.name for path in run.folder.samples.iterdir()) == names
    raw, averaged = (read_png(run.folder.samples / f"000000320-{which}.png") for which in ("raw", "ema"))
    assert raw.shape == averaged.shape
    assert not raw.equal(averaged)
    learner, _ = drive.resume(run)
    again = draw_sheet(learner.ema.family, run.recipe, run.machine, 4, run.loader())
    assert again.equal(averaged)
    assert records[-2].kind == "checkpoint"


def test_the_last_checkpoints_are_kept(whole: tuple[Run, list[Record]]) -> None:
    assert checkpoint.available(whole[0].folder.checkpoints) == [288, 320]


def test_images_per_second_counts_updates_only(
    monkeypatch: pytest.MonkeyPatch, whole: tuple[Run, list[Record]]
) -> None:
    times = iter([2.0, 100.0, 102.0, 103.0])
    meter = Meter(0.0, started=0.0, since=0.0)
    monkeypatch.setattr("mezzotint.runs.drive.time.perf_counter", lambda: next(times))
    update = Update(1, 32, 0.001, False, 1.0, {"denoiser/loss": torch.tensor(1.0)})
    meter.add(update, 32)
    meter.resume()  # 98 seconds went into a sheet
    meter.add(update, 32)
    assert meter.values(whole[0])["images_per_second"] == 16


# --- Stopping and going on -------------------------------------------------------------------------------------


def test_a_stopped_run_resumes_bit_for_bit(tmp_path: Path, whole: tuple[Run, list[Record]]) -> None:
    for updates, images in ((3, 96), (2, 160), (3, 256)):
        _, records = train(tmp_path, "stopped", should_stop=after(updates))
        assert (records[-1].kind, records[-1].images_seen) == ("stopped", images)
        assert records[-2].kind == "checkpoint"
    run, records = train(tmp_path, "stopped")
    assert same(tensors(run), tensors(whole[0]))
    assert records[-1].kind == "done"
    validations = [[r for r in one.folder.read_log() if r["kind"] == "validation"] for one in (run, whole[0])]
    assert validations[0] == validations[1]


def test_another_seed_gives_another_run(tmp_path: Path, whole: tuple[Run, list[Record]]) -> None:
    run, _ = train(tmp_path, "other", ["seed=1"])
    assert not same(tensors(run), tensors(whole[0]))


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path, whole: tuple[Run, list[Record]]) -> None:
    path = _copy(whole[0], tmp_path, "whole")
    files = [file for file in path.rglob("*") if file.is_file() and file.name != ".lock"]
    before = {file: file.read_bytes() for file in files}
    _, records = train(tmp_path, "whole")
    assert [record.kind for record in records] == ["done"]
    assert {file: file.read_bytes() for file in files} == before


def test_looking_does_not_disturb_training(tmp_path: Path, whole: tuple[Run, list[Record]]) -> None:
    often = [f"training.{what}_images=32" for what in ("log", "sheet", "validation")]
    sizes = ["training.checkpoint_images=320", "training.sheet_size=2", "training.validation_size=7"]
    run, _ = train(tmp_path, "often", [*often, *sizes])
    assert same(tensors(run), tensors(whole[0]))


def test_a_resume_keeps_the_choices_made_for_speed(tmp_path: Path, whole: tuple[Run, list[Record]]) -> None:
    path = _copy(whole[0], tmp_path, "whole")
    environment = json.loads((path / "environment.json").read_text())
    threads = torch.get_num_threads()
    kept = 1 if threads > 1 else min(2, cores())
    for precision in ("float32", "bfloat16"):
        (path / "environment.json").write_text(json.dumps(environment | {"precision": precision, "threads": kept}))
        machine = open_run(whole[0].folder.open(path)).machine
        assert (machine.precision, machine.threads, torch.get_num_threads()) == (precision, kept, kept)
    torch.set_num_threads(threads)


# --- What goes wrong -------------------------------------------------------------------------------------------


def test_images_that_changed_since_are_refused(tmp_path: Path) -> None:
    for number in range(40):
        write_png(tmp_path / "images" / f"{number}" / "one.png", torch.full((3, 8, 8), number, dtype=torch.uint8))
    changes = ["data.source=folder", f"data.path={tmp_path / 'images'}", "training.images=64"]
    train(tmp_path, "run", changes, after(1))
    write_png(tmp_path / "images" / "0" / "two.png", torch.zeros((3, 8, 8), dtype=torch.uint8))
    with pytest.raises(BadInput, match=r"its images have changed since it began .*images"):
        train(tmp_path, "run", changes)
    (tmp_path / "images" / "0" / "two.png").unlink()
    assert train(tmp_path, "run", changes)[1][-1].kind == "done"


def test_a_damaged_checkpoint_is_refused_and_the_one_before_resumes(
    tmp_path: Path, whole: tuple[Run, list[Record]]
) -> None:
    path = _copy(whole[0], tmp_path, "whole")
    file = path / "checkpoints" / "320" / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BadInput, match=r"optimizer\.safetensors: damaged .*fall back to checkpoint 288"):
        train(tmp_path, "whole")
    (path / "checkpoints" / "320").rename(tmp_path / "away")
    run, _ = train(tmp_path, "whole")
    assert same(tensors(run), tensors(whole[0]))


def _poison(monkeypatch: pytest.MonkeyPatch, updates: range) -> None:
    healthy = Diffusion.loss

    def loss(self: Diffusion, batch: Batch) -> Loss:
        found = healthy(self, batch)
        return Loss(found.value * (float("nan") if batch.update in updates else 1.0), found.parts)

    monkeypatch.setattr(Diffusion, "loss", loss)


def test_a_run_whose_gradients_are_not_finite_stops_and_keeps_its_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _poison(monkeypatch, range(4, 100))
    with pytest.raises(RunFailed, match=r"not finite 3 times in a row; lower training\.learning_rate"):
        train(tmp_path, "bad", ["training.max_skipped=3"])
    held = checkpoint.load(checkpoint.find(tmp_path / "bad" / "checkpoints", "last"))
    assert held.state["images_seen"] in (96, 192)
    assert all(bool(value.isfinite().all()) for value in (held.weights | held.ema | held.optimizer).values())


def test_one_bad_update_is_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _poison(monkeypatch, range(4, 5))
    run, records = train(tmp_path, "once")
    assert [r.values["skipped"] for r in _of(records, "update")] == [0, 0, 1, 0, 0]
    assert checkpoint.load(checkpoint.find(run.folder.checkpoints, "last")).state["skipped"] == 1
    values: list[Tensor] = list(tensors(run).values())
    assert all(bool(value.isfinite().all()) for value in values)
