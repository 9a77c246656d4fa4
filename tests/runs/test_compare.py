"""Comparing runs and pictures: one table, scores reused, nothing ranked that can't be, sheets at the same seeds."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mezzotint.cli.comparing import FORMATS, groups
from mezzotint.cli.main import app
from mezzotint.data.prepare import DataOptions, ensure_pack
from mezzotint.errors import BadInput
from mezzotint.evaluation import evaluate as evaluation
from mezzotint.evaluation.images import DrawnPictures
from mezzotint.evaluation.score import Score
from mezzotint.options import parse
from mezzotint.pixels import read_png
from mezzotint.runs.compare import Entry, compare, contenders, side_by_side
from mezzotint.runs.judge import judge, open_case
from mezzotint.runs.run import Run
from tiny import train

QUICK = "evaluation.extractors=[{kind: classifier, images: 1000}]"
PROTOCOL = "fd-classifier-64"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """Two finished runs on the same images; only their scores.jsonl grow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        place = tmp_path_factory.mktemp("compared")
        return train(place, "long", [QUICK])[0], train(place, "short", [QUICK, "training.images=64"])[0]


def _entries(targets: Sequence[Path], protocols: Sequence[str] = (PROTOCOL,)) -> list[Entry]:
    found = contenders(targets, "digits:test", protocols)
    return [record for record in compare(found) if isinstance(record, Entry)]


def test_runs_are_ranked_with_what_they_cost(runs: tuple[Run, Run]) -> None:
    long, short = (run.folder.path for run in runs)
    entries = _entries([short, long])
    assert [(e.name, e.images_seen, e.reused) for e in entries] == [("short", 64, False), ("long", 320, False)]
    assert entries[0].parameters == entries[1].parameters == sum(p.numel() for p in runs[0].family().parameters())
    assert (entries[0].training_seconds or 0) > 0
    (group,) = groups(entries)
    values = [score.values["frechet"].value for _, score in group.entries]
    assert values == sorted(values)
    assert 0.5 <= (group.surely_best or 0) <= 1


def test_checkpoints_of_one_run_are_compared(runs: tuple[Run, Run]) -> None:
    place = runs[0].folder.path
    steps = sorted(int(entry.name) for entry in runs[0].folder.checkpoints.iterdir() if entry.name.isdecimal())
    dated = [Path(f"{place}@{steps[0]}"), Path(f"{place}@last")]
    entries = [record for record in compare(contenders(dated, "digits:test")) if isinstance(record, Entry)]
    assert [(entry.name, entry.images_seen) for entry in entries] == [
        (f"long@{steps[0]}", steps[0]),
        ("long@last", steps[-1]),
    ]
    assert len(steps) > 1
    assert entries[0].score.values != entries[1].score.values
    with pytest.raises(BadInput, match="no 7 checkpoint"):
        contenders([Path(f"{place}@7"), place], "digits:test", [PROTOCOL])
    with pytest.raises(BadInput, match="no such run"):
        contenders([Path(f"{place}er@320"), place], "digits:test", [PROTOCOL])


def test_known_scores_are_not_computed_again(runs: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    places = [run.folder.path for run in runs]
    first = _entries(places)
    monkeypatch.setattr(DrawnPictures, "batch", lambda *_: pytest.fail("nothing is drawn"))
    again = _entries(places)
    assert all(entry.reused for entry in again)
    assert [entry.score.values for entry in again] == [entry.score.values for entry in first]


@pytest.mark.parametrize("change", ["held-out", "code"])
def test_scores_that_would_come_out_otherwise_are_computed_again(
    runs: tuple[Run, Run], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [run.folder.path for run in runs]
    _entries(places)
    held_out = "digits:train" if change == "held-out" else None
    if change == "code":
        monkeypatch.setattr(evaluation, "metrics_code", lambda: "another")
    found = contenders(places, "digits:test", [PROTOCOL], held_out=held_out)
    assert not any(record.reused for record in compare(found) if isinstance(record, Entry))


def test_what_finds_copies_is_not_ranked(runs: tuple[Run, Run]) -> None:
    entries = _entries([run.folder.path for run in runs], ["memorisation-classifier-64"])
    (group,) = groups(entries)
    assert (group.by, group.surely_best) == (None, None)
    assert "not ranked: the best of this metric is neither small nor large" in FORMATS["table"][1]([group])


def test_pictures_that_were_not_judged_alike_stay_apart(runs: tuple[Run, Run], tmp_path: Path) -> None:
    pack = ensure_pack(parse(DataOptions, {"image_size": 8}))
    np.savez(tmp_path / "real.npz", pixels=pack.pixels(np.arange(64)).numpy())
    entries = _entries(
        [runs[0].folder.path, tmp_path / "real.npz"]
    )  # its classifier learned on a part of the reference
    assert [len(group.entries) for group in groups(entries)] == [1, 1]
    text = FORMATS["table"][1](groups(entries))
    assert "can't be ranked against each other" in text
    assert "probability" not in text


def test_every_format_tells_the_same(runs: tuple[Run, Run]) -> None:
    entries = _entries([run.folder.path for run in runs])
    found = groups(entries)
    best = found[0].entries[0][1].values["frechet"].value
    table, markdown = (FORMATS[form][1](found) for form in ("table", "markdown"))
    for text in (table, markdown):
        assert f"{best:.4g}" in text
        assert "is better than" in text
        assert (
            f"{PROTOCOL} of drawn images against digits test (array; 8 px, crop center, resize lanczos), 8x8 px, "
            "classifier: " in text
        )
    assert markdown.count("| --- | ---") == 3  # one rule, of six columns
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"][1](found))))
    assert float(rows[0]["frechet"]) == best
    assert [row["group"] for row in rows] == ["1", "1"]
    (tree,) = json.loads(FORMATS["json"][1](found))
    assert tree["probability_first_is_better"] == found[0].surely_best
    assert Score.from_json(tree["entries"][0]["score"]) == found[0].entries[0][1]


def test_a_sheet_at_the_same_seeds_and_a_table_in_a_folder(runs: tuple[Run, Run], tmp_path: Path) -> None:
    places = [str(run.folder.path) for run in runs]
    words = ["compare", *places, "--against", "digits:test", "--protocol", PROTOCOL]
    result = CliRunner().invoke(app, [*words, "--format", "csv", "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, (result.output, result.exception)
    assert (tmp_path / "out" / "scores.csv").read_text() == result.stdout
    sheet = read_png(tmp_path / "out" / "sheet.png")
    alone = side_by_side(contenders([run.folder.path for run in runs], "digits:test", [PROTOCOL]))
    assert sheet.equal(alone)
    height = sheet.shape[1] // 2
    assert not sheet[:, :height].equal(sheet[:, height:])


@pytest.mark.parametrize(
    ("targets", "protocols", "message"),
    [
        (1, [PROTOCOL], "1 target has no rival"),
        (2, ["fd-clasifier-64"], "did you mean fd-classifier-64"),
    ],
)
def test_wrong_comparisons(runs: tuple[Run, Run], targets: int, protocols: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        contenders([run.folder.path for run in runs][:targets], "digits:test", protocols)


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch was built without torch.distributed")
def test_two_processes_score_as_one(runs: tuple[Run, Run]) -> None:
    run = runs[0]
    changes = ("evaluation.protocol=fd-classifier-200",)  # several batches, so that both have some
    *_, one = judge(open_case(run.folder.path, "digits:test", (), changes=changes))
    assert isinstance(one, Score)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = ["-m", "mezzotint", "evaluate", str(run.folder.path), *changes, "--against", "digits:test", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, *words], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.strip().splitlines()
    two = Score.from_json(json.loads(line))
    assert two.group == one.group
    assert two.values["frechet"].value == pytest.approx(one.values["frechet"].value, rel=1e-9)
    assert two.values["frechet"].error == pytest.approx(one.values["frechet"].error, rel=1e-6)
    assert len(run.folder.read_scores()) >= 2
