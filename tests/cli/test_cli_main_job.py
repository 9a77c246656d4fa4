"""The main job from the command line: train, stop, resume, sample, evaluate; and every wrong way in one line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from mezzotint.cli.main import app
from mezzotint.pixels import read_png
from mezzotint.runs import checkpoint
from mezzotint.samplers import SAMPLERS
from tiny import OVERRIDES, RECIPE, same

PROTOCOL = ("--protocol", "fd-classifier-64")
QUICK = "evaluation.extractors=[{kind: classifier, images: 1000}]"


def mezzotint(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def done(*words: object) -> Result:
    result = mezzotint(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run's folder, to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        runs = tmp_path_factory.mktemp("runs")
        result = done("train", RECIPE, *OVERRIDES, QUICK, "--name", "tiny", "--runs", runs, "--device", "cpu")
    assert result.stdout.startswith("trained 320 images in")
    assert result.stdout.endswith(f"draws by default: mezzotint sample {runs / 'tiny'}\n")
    return runs / "tiny"


# --- Done ------------------------------------------------------------------------------------------------------


def test_training_again_has_nothing_to_do(run: Path) -> None:
    before = (run / "log.jsonl").read_bytes()
    result = done("train", RECIPE, *OVERRIDES, QUICK, "--name", "tiny", "--runs", run.parent)
    assert result.stdout.startswith("nothing left to do: trained 320 images")
    assert (run / "log.jsonl").read_bytes() == before


def test_a_folder_a_sheet_and_an_archive_hold_the_same_pictures(run: Path, tmp_path: Path) -> None:
    result = done("sample", run, "-n", 9, "--seed", 3, "-o", tmp_path / "drawn")
    assert result.stdout.strip() == str(tmp_path / "drawn" / "sheet.png")
    names = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert names == [*(f"{seed:06d}.png" for seed in range(3, 12)), "sheet.png"]
    done("sample", run, "-n", 9, "--seed", 3, "-o", tmp_path / "drawn.npz")
    with np.load(tmp_path / "drawn.npz", allow_pickle=False) as archive:
        pixels, seeds, labels = (torch.from_numpy(archive[key]) for key in ("pixels", "seeds", "labels"))
    assert seeds.tolist() == list(range(3, 12))
    assert labels.tolist() == [seed % 10 for seed in range(3, 12)]
    files = torch.stack([read_png(tmp_path / "drawn" / name) for name in names[:-1]])
    assert files.equal(pixels)
    done("sample", run, "-n", 9, "--seed", 3, "-o", tmp_path / "one.png")
    assert read_png(tmp_path / "one.png").equal(read_png(tmp_path / "drawn" / "sheet.png"))


def test_pictures_go_to_the_run_unless_told(run: Path) -> None:
    place = Path(done("sample", run, "-n", 4, "--weights", "raw", "--checkpoint", 288).stdout.strip())
    assert place == run / "samples" / "drawn-raw-288" / "0-to-3" / "sheet.png"
    before = place.read_bytes()
    again = Path(done("sample", run, "-n", 4, "--weights", "raw", "--checkpoint", 288, "--steps", 2).stdout.strip())
    assert again != place, "pictures drawn another way must not replace these"
    assert place.read_bytes() == before


def test_pictures_go_to_a_run_that_is_named_by_a_relative_path(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    place = Path(done("sample", run.name, "-n", 1, "--steps", 1, "--checkpoint", 288).stdout.strip())
    assert place.parent.parent.parent == Path("tiny") / "samples"
    assert place.is_file()


def test_a_label_is_for_all(run: Path, tmp_path: Path) -> None:
    done("sample", run, "-n", 3, "--label", 7, "-o", tmp_path / "sevens.npz")
    with np.load(tmp_path / "sevens.npz") as archive:
        assert archive["labels"].tolist() == [7, 7, 7]


def _drawn(run: Path, out: Path, *words: object) -> np.ndarray:
    done("sample", run, *words, "-o", out)
    with np.load(out) as archive:
        return archive["pixels"].astype(int)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_picture_k_depends_on_seed_k_alone(run: Path, tmp_path: Path, sampler: str) -> None:
    how = ("--sampler", sampler, "--steps", 6)
    whole = _drawn(run, tmp_path / "9.npz", "-n", 9, "--batch-size", 9, *how)
    for size in (4, 1):
        assert abs(_drawn(run, tmp_path / f"{size}.npz", "-n", 9, "--batch-size", size, *how) - whole).max() <= 1
    alone = _drawn(run, tmp_path / "alone.npz", "-n", 1, "--seed", 3, *how)
    assert abs(alone[0] - whole[3]).max() <= 1
    assert abs(whole[3] - whole[4]).max() > 1


def test_samplers_and_options_change_the_pictures(run: Path, tmp_path: Path) -> None:
    first = _drawn(run, tmp_path / "a.npz", "-n", 2, "--steps", 6)
    for name, words in {"b": ["--steps", 3], "c": ["--weights", "raw"], "d": ["sampling.clip_x0=true"]}.items():
        assert (_drawn(run, tmp_path / f"{name}.npz", "-n", 2, "--steps", 6, *words) != first).any(), words


def test_a_run_and_its_pictures_are_scored(run: Path, tmp_path: Path) -> None:
    result = done("evaluate", run, "--against", "digits:test", *PROTOCOL, "--json")
    score = json.loads(result.stdout)
    assert score["protocol"] == "fd-classifier-64"
    kept = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    assert kept[-1]["values"] == score["values"]
    done("sample", run, "-n", 64, "-o", tmp_path / "drawn")
    told = done("evaluate", tmp_path / "drawn", "--against", "digits:test", *PROTOCOL).stdout
    assert "fd-classifier-64  (64 images against" in told
    assert "real images score" in told


# --- Refused ---------------------------------------------------------------------------------------------------


def _refused(words: Sequence[object], message: str, code: int = 2) -> None:
    result = mezzotint(*words)
    assert result.exit_code == code, (result.output, result.exception)
    assert message in result.stderr
    assert result.stderr.startswith("mezzotint: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digit-edm"], "recipe 'digit-edm': no such recipe or .yaml file; did you mean digits-edm"),
        ([RECIPE, "training.batchsize=3"], "training.batchsize: unknown key: did you mean batch_size"),
        ([RECIPE, "training.batch_size"], "must look like key.path=value"),
        ([RECIPE, "sampling.sampler=huen"], "unknown sampler 'huen': did you mean heun"),
        ([RECIPE, "data.source=parquet", "data.path=no.parquet"], "no.parquet"),
        ([RECIPE, "--budget", "10x"], "duration '10x': must look like 90s, 10m, 2h or 1h30m"),
        ([RECIPE, "--budget", "0s"], "duration '0s': must be longer than nothing"),
        ([RECIPE, "--device", "gpu"], "device 'gpu' is not on this machine"),
        ([RECIPE, "--name", "../up"], "run name '../up': must be"),
    ],
)
def test_wrong_trainings(tmp_path: Path, words: list[str], message: str) -> None:
    _refused(["train", *words, "--runs", tmp_path / "runs"], message)
    assert [path for path in tmp_path.rglob("*") if path.name != "runs"] == []


def test_too_short_a_budget_leaves_no_run(tmp_path: Path) -> None:
    _refused(["train", RECIPE, "--budget", "0.01s", "--runs", tmp_path], "s left are too few for one update")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sampler", "huen"], "unknown sampler 'huen': did you mean heun"),
        (["--steps", "0"], "sampling.steps: input should be greater than or equal to 1, got 0"),
        (["--checkpoint", "321"], "no 321 checkpoint: there are 288, 320"),
        (["--checkpoint", "lst"], "checkpoint 'lst': must be last, best or a number"),
        (["--label", "10"], "there is no class 10, classes are 0..9"),
        (["--device", "gpu"], "device 'gpu' is not on this machine"),
        (["sampling.clip=true"], "sampling.clip: unknown key: did you mean clip_x0"),
        (["training.seed=3"], "a trained run takes sampling.* and evaluation.* only"),
    ],
)
def test_wrong_samplings(run: Path, tmp_path: Path, words: list[str], message: str) -> None:
    _refused(["sample", run, "-n", "1", "-o", tmp_path / "out", *words], message)
    assert list(tmp_path.iterdir()) == []


def test_wrong_destinations(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.png").mkdir()
    for out, message in {
        "out.jpg": "must be a folder, or end in .png (one sheet) or .npz",
        "file": "is a file; name a folder",
        "file/out.npz": "is not a folder that can be written to",
        "file/a/b": "is not a folder that can be written to",
        "folder.png": "is a folder; name a file",
    }.items():
        _refused(["sample", run, "-n", 1, "-o", tmp_path / out], message)
    assert (tmp_path / "file").read_text() == "mine"


def test_pictures_of_another_drawing_are_never_mixed_in(run: Path, tmp_path: Path) -> None:
    done("sample", run, "-n", 3, "-o", tmp_path / "out")
    done("sample", run, "-n", 3, "-o", tmp_path / "out", "--steps", 2)
    _refused(["sample", run, "-n", 2, "-o", tmp_path / "out"], "holds 000002.png, which is not drawn now")
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_what_is_no_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _refused(["sample", tmp_path / "empty"], "has no recipe.yaml, so it is not a run")
    _refused(["sample", run.parent / "tny"], "no such run; in")
    _refused(["sample", run.parent / "tny"], "did you mean tiny?")
    _refused(["evaluate", run.parent / "tny", "--against", "digits:test"], "did you mean tiny?")
    _refused(["evaluate", tmp_path / "empty", "--against", "digits:test", *PROTOCOL], "no PNG or JPEG files in it")
    _refused(["evaluate", run, "--against", "no.parquet"], "data 'no.parquet': no such pack, file or folder")
    assert list((tmp_path / "empty").iterdir()) == [], "nothing is written into what is no run"


def test_a_checkpoint_that_holds_a_pickle_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "copy")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "copy" / "checkpoints" / "320" / "ema.safetensors")
    before = sorted(tmp_path.rglob("*"))
    _refused(["sample", tmp_path / "copy"], "ema.safetensors: a pickle, which is never loaded")
    _refused(["evaluate", tmp_path / "copy", "--against", "digits:test", *PROTOCOL], "a pickle, which is never loaded")
    train = ["train", RECIPE, "--name", "copy", "--runs", tmp_path]
    result = mezzotint(*train)
    assert result.exit_code == 2
    assert "a pickle, which is never loaded" in result.stderr
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != ".lock"] == before


# --- Ctrl-C ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    long = [*OVERRIDES, "training.images=1600", "training.sheet_images=1600", "training.checkpoint_images=1600"]
    train = ["train", RECIPE, *long, "--runs", str(tmp_path), "--name"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        [sys.executable, "-m", "mezzotint", *train, "cut"], env=environment, stderr=subprocess.PIPE, text=True
    )
    log, deadline = tmp_path / "cut" / "log.jsonl", time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline and not (log.exists() and log.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    (stopped_at,) = checkpoint.available(tmp_path / "cut" / "checkpoints")
    assert 64 <= stopped_at < 1600
    done(*train, "cut")
    done(*train, "whole")
    last = [checkpoint.load(tmp_path / name / "checkpoints" / "1600") for name in ("cut", "whole")]
    assert same(last[0].weights | last[0].ema, last[1].weights | last[1].ema)
