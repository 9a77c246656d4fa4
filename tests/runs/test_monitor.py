"""Monitoring a run: its share of the time, the best kept, and training undisturbed."""

import json
from pathlib import Path

import pytest
import torch

from mezzotint.data.loading import Loader
from mezzotint.data.prepare import DataOptions, ensure_pack
from mezzotint.diffusion.family import Diffusion
from mezzotint.errors import BadInput
from mezzotint.options import parse
from mezzotint.runs import checkpoint, drive, monitor
from mezzotint.runs.monitor import Monitor, cadence
from mezzotint.runs.monitored import derived
from mezzotint.runs.recipe import EvaluationOptions
from mezzotint.runs.run import Run, enter, open_run
from mezzotint.training.ema import Ema
from mezzotint.training.loop import Learner
from tiny import OVERRIDES, RECIPE, after, same, tensors, train

QUICK = "evaluation.extractors=[{kind: classifier, images: 1000}]"
WATCHED = (QUICK, "data.held_out=0.2", "evaluation.monitor=fd-classifier-32", "evaluation.every_images=64")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on the same images without a monitor, to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        return train(tmp_path_factory.mktemp("runs"), "plain", ["data.held_out=0.2", "evaluation.monitor=off"])[0]


def _scores(run: Run) -> list[dict[str, object]]:
    return [line for line in run.folder.read_log() if line["kind"] == "score"]


# --- When ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_score", [0.3, 1, 7, 12.4])
@pytest.mark.parametrize("preparing", [0, 2, 9])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_all_scores_together_stay_below_their_share(per_score: float, preparing: float, share: float) -> None:
    images, per_image = 20_000, 0.02  # 400 seconds
    every = cadence(images, per_image, per_score, preparing, share)
    if every is None:
        assert 2 * per_score + preparing > share * 400
        return
    count = -(-images // every)  # the last one at the end of the run
    assert 2 <= count <= monitor.MOST_SCORES
    assert count * per_score + preparing <= share * 400
    assert count == monitor.MOST_SCORES or (count + 2) * per_score + preparing > share * 400


class Clock:
    """Time passes when it is asked for: a second each time, or so many; once, before the `odd`-th time, an hour."""

    def __init__(self, tick: float = 1.0, odd: int = -1) -> None:
        self.now, self.tick, self.odd, self.asked = 0.0, tick, odd, 0

    def __call__(self) -> float:
        self.now += 3600 if self.asked == self.odd else self.tick
        self.asked += 1
        return self.now


def _opened(tmp_path: Path, *changes: str) -> tuple[Run, Loader, Learner]:
    with enter(tmp_path, "run", RECIPE, [*OVERRIDES, QUICK, "data.held_out=0.2", *changes]) as run:
        return run, run.loader(), drive.resume(run)[0]


def test_the_cadence_is_decided_once_and_kept(tmp_path: Path) -> None:
    run, loader, learner = _opened(tmp_path, "evaluation.monitor=fd-classifier-32", "training.images=32k")
    watching = Monitor.of(run, loader, Clock())
    found = [watching.watch(4.0, learner) for _ in range(20)]
    (decided,) = [one for one in found if one is not None]
    # 1000 updates of 4 s; a score costs a second to be ready, one per 16 pictures, one for the metric; preparing 1,
    # trying 3.
    assert decided["every_images"] == cadence(32_000, 4 / 32, 4, 4, 0.05)
    assert decided["every_images"] == 654
    assert watching.due(672, last=False)
    assert not watching.due(640, last=False)
    assert watching.due(32_000, last=True)
    again = Monitor.of(open_run(run.folder), loader)
    assert (again.protocol, again.every_images) == ("fd-classifier-32", decided["every_images"])
    assert again.watch(4.0, learner) is None


@pytest.mark.parametrize("odd", range(6))
def test_one_slow_moment_while_measuring_makes_scores_hardly_rarer(tmp_path: Path, odd: int) -> None:
    run, loader, learner = _opened(tmp_path, "evaluation.monitor=fd-classifier-32", "training.images=32k")
    watching = Monitor.of(run, loader, Clock(odd=odd))
    (decided,) = [one for one in (watching.watch(4.0, learner) for _ in range(12)) if one is not None]
    undisturbed, half = cadence(32_000, 4 / 32, 4, 4, 0.05), cadence(32_000, 4 / 32, 4, 100, 0.05)
    assert undisturbed is not None
    assert half is not None
    assert undisturbed <= int(str(decided["every_images"])) <= half <= 2.1 * undisturbed


def test_what_is_too_dear_is_believed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, loader, learner = _opened(tmp_path, "evaluation.monitor=fd-classifier-32", "training.images=32k")
    watching, measured, cost = Monitor.of(run, loader, Clock(100.0)), list[int](), Monitor._cost
    monkeypatch.setattr(Monitor, "_cost", lambda *args: measured.append(1) or cost(*args))
    (decided,) = [one for one in (watching.watch(4.0, learner) for _ in range(12)) if one is not None]
    assert decided["protocol"] == "off"
    assert decided["because"] == "a score takes about 4e+02 s of about 4000 s of training"
    assert measured == [1]


def test_a_short_run_is_not_monitored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, loader, learner = _opened(tmp_path)
    watching = Monitor.of(run, loader, Clock())
    assert watching.protocol == "fd-classifier-256"
    monkeypatch.setattr(Monitor, "_cost", lambda *_: pytest.fail("nothing is measured for it"))
    found = [watching.watch(1.0, learner) for _ in range(8)]
    assert "too little" in str((found[-1] or {})["because"])
    assert not watching.due(320, last=True)
    assert Monitor.of(run, loader).protocol is None


def test_a_short_training_that_can_worsen_is_monitored_by_thumbnails(tmp_path: Path) -> None:
    """However short: else its last weights would draw, collapsed or not."""
    changes = ("data.held_out=0.2", "training.images=12800", "network.ngf=4", "network.ndf=4")
    with enter(tmp_path, "run", "digits-dcgan", changes) as run:
        watching, learner = Monitor.of(run, run.loader(), Clock(0.01)), drive.resume(run)[0]
        assert watching.protocol == "fd-classifier-256"
        found = [watching.watch(1.0, learner) for _ in range(8)]  # 200 updates of 1 s: 10 s teach no classifier
        # A score costs 0.01 s to be ready, one per 16 pictures, one for the metric; preparing 0.01, trying 0.03.
        assert found[-1] is not None
        assert found[-1]["protocol"] == "fd-thumbnail-256"
        assert found[-1]["every_images"] == cadence(12_800, 1 / 64, 0.18, 0.04, 0.05)
        assert float(str(watching.score(learner)["frechet"])) > 0


def _gan(tmp_path: Path, *changes: str) -> tuple[Run, Loader, Learner]:
    small = ("data.held_out=0.2", "training.images=12800", "network.ngf=4", "network.ndf=4", QUICK)
    with enter(tmp_path, "run", "digits-dcgan", [*small, *changes]) as run:
        return run, run.loader(), drive.resume(run)[0]


def test_what_can_worsen_is_scored_four_times_whatever_it_costs(tmp_path: Path) -> None:
    """200 updates of 10 s: 5 % are 100 s; a score takes 18 times 10."""
    run, loader, learner = _gan(tmp_path)
    watching = Monitor.of(run, loader, Clock(10.0))
    assert watching.protocol == "fd-classifier-256"
    (decided,) = [one for one in (watching.watch(10.0, learner) for _ in range(12)) if one is not None]
    assert decided["protocol"] == "fd-thumbnail-256"
    assert decided["every_images"] == 3200
    assert Monitor.of(open_run(run.folder), loader).protocol == "fd-thumbnail-256"


def test_what_can_worsen_is_monitored_by_thumbnails_where_weights_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "squeezenet1_1-features.safetensors").write_bytes(b"not weights")
    monkeypatch.setenv("MEZZOTINT_WEIGHTS", str(tmp_path))
    run, loader, learner = _gan(tmp_path / "runs")
    watching = Monitor.of(run, loader, Clock(0.01))
    assert watching.protocol == "fd-squeezenet-256"
    changed, decided = [one for one in (watching.watch(10.0, learner) for _ in range(12)) if one is not None]
    assert "wrong weights file" in str(changed["because"])
    assert changed["protocol"] == decided["protocol"] == "fd-thumbnail-256"
    watching.protocol, watching.prepared, watching.best = "fd-squeezenet-256", None, 3.0
    assert (watching.watch(10.0, learner) or {})["protocol"] == "off"  # what was found best by it stays the best


def test_who_holds_out_too_few_images_to_watch_a_gan_is_told(tmp_path: Path) -> None:
    run, loader, learner = _gan(tmp_path, "data.held_out=0.005")
    told = [Monitor.of(run, loader).watch(1.0, learner) for _ in range(2)]
    assert "raise data.held_out" in str((told[0] or {})["because"])
    assert told[1] is None
    quiet, loader, learner = _gan(tmp_path / "off", "data.held_out=0.005", "evaluation.monitor=off")
    assert Monitor.of(quiet, loader).watch(1.0, learner) is None


def test_what_is_monitored_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = ensure_pack(parse(DataOptions, {"image_size": 8}))
    monkeypatch.setenv("MEZZOTINT_WEIGHTS", str(tmp_path))
    assert derived(Loader(pack, 0, 0.02), (), can_worsen=False) is None
    assert derived(Loader(pack, 0, 0.02), (), can_worsen=True) == "fd-thumbnail-256"
    assert derived(Loader(pack, 0, 0.005), (), can_worsen=True) is None
    assert derived(Loader(pack, 0, 0.2), (), can_worsen=False) == "fd-classifier-256"
    unlabelled = ensure_pack(parse(DataOptions, {"image_size": 8, "classes": [3]}))
    few = Loader(unlabelled, 0, 0.5)
    monkeypatch.setattr("mezzotint.runs.monitored.LEAST_HELD_OUT", 1)
    assert derived(few, (), can_worsen=False) is None
    assert derived(few, (), can_worsen=True) == "fd-thumbnail-256"
    (tmp_path / "squeezenet1_1-features.safetensors").touch()
    assert derived(Loader(pack, 0, 0.2), (), can_worsen=True) == "fd-squeezenet-256"
    off = parse(EvaluationOptions, {"monitor": False})
    assert (off.monitor, off.reserved(1000, can_worsen=True)) == ("off", 0)
    assert EvaluationOptions().reserved(1000, can_worsen=False) == 50
    assert EvaluationOptions().reserved(100, can_worsen=False) == 0
    assert EvaluationOptions().reserved(100, can_worsen=True) == 5


# --- What is kept ----------------------------------------------------------------------------------------------


def test_scores_on_held_out_images_are_logged_and_disturb_nothing(tmp_path: Path, plain: Run) -> None:
    run, records = train(tmp_path, "watched", WATCHED)
    assert [r.images_seen for r in records if r.kind == "score"] == [64, 128, 192, 256, 320]
    for line in _scores(run):
        assert float(str(line["frechet"])) > float(str(line["frechet/floor"])) > 0
        assert line["protocol"] == "fd-classifier-32"
    assert same(tensors(run), tensors(plain))
    assert run.folder.read_log() == [json.loads(json.dumps(record.json())) for record in records[:-1]]
    best = min(_scores(run), key=lambda line: float(str(line["frechet"])))
    assert checkpoint.best(run.folder.checkpoints) == best["images_seen"]


def test_a_run_that_is_ruined_later_keeps_its_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow = Ema.follow

    def ruined(self: Ema, family: Diffusion, images: int, images_seen: int) -> None:
        follow(self, family, images, images_seen)
        if images_seen > 128:
            with torch.no_grad():
                for weight in self.family.parameters():
                    weight.mul_(0.1).add_(0.3)

    monkeypatch.setattr(Ema, "follow", ruined)
    run, _ = train(tmp_path, "ruined", (*WATCHED, "training.keep_checkpoints=1"))
    assert checkpoint.best(run.folder.checkpoints) in (64, 128)
    assert checkpoint.available(run.folder.checkpoints) == [checkpoint.best(run.folder.checkpoints), 320]
    assert run.generator("best", "ema").num_classes == 10


def test_a_monitored_run_resumes_bit_for_bit(tmp_path: Path, plain: Run) -> None:
    whole, _ = train(tmp_path, "whole", WATCHED)
    for updates in (3, 2, 3):
        train(tmp_path, "stopped", WATCHED, after(updates))
    run, _ = train(tmp_path, "stopped", WATCHED)
    assert same(tensors(run), tensors(whole))
    seen = [[{k: v for k, v in line.items() if k != "seconds"} for line in _scores(one)] for one in (run, whole)]
    assert seen[0] == seen[1]
    assert checkpoint.best(run.folder.checkpoints) == checkpoint.best(whole.folder.checkpoints)


def test_a_crash_between_saving_and_marking_the_best_is_mended(tmp_path: Path) -> None:
    run, _ = train(tmp_path, "run", WATCHED)
    best = checkpoint.best(run.folder.checkpoints)
    (run.folder.checkpoints / "best").unlink()
    Monitor.of(run, run.loader())
    assert checkpoint.best(run.folder.checkpoints) == best


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("evaluation.monitor=fd-clasifier-64", r"evaluation\.monitor: .*did you mean fd-classifier-64"),
        ("evaluation.share=0.9", r"evaluation\.share: .*0\.5"),
    ],
)
def test_wrong_monitors(tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        train(tmp_path, "wrong", [change])


@pytest.mark.parametrize("changes", [(), ("evaluation.every_images=64",)])
def test_an_automatic_monitor_with_wrong_weights_is_off_and_says_why(
    tmp_path: Path, changes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "squeezenet1_1-features.safetensors").write_bytes(b"not weights")
    monkeypatch.setenv("MEZZOTINT_WEIGHTS", str(tmp_path))
    run, loader, learner = _opened(tmp_path / "runs", "training.images=32k", *changes)
    watching = Monitor.of(run, loader, Clock())
    assert watching.protocol == "fd-squeezenet-256"
    (off,) = [one for one in (watching.watch(4.0, learner) for _ in range(8)) if one is not None]
    assert off["protocol"] == "off"
    assert "wrong weights file" in str(off["because"])
    assert not watching.due(32_000, last=True)
    assert Monitor.of(run, loader).protocol is None


def test_copies_tell_no_best_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"evaluation\.monitor: memorisation-classifier-64 tells of copies"):
        train(tmp_path, "wrong", ["data.held_out=0.2", "evaluation.monitor=memorisation-classifier-64"])


def test_a_monitor_without_real_images_is_told_before_long(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"evaluation\.monitor: reference: .*"):
        train(tmp_path, "few", ["evaluation.monitor=fd-classifier-32", "data.held_out=0.001"], after(1))
