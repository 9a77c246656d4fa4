"""Progress: the pace, plain lines off a terminal, a bar on one."""

import pytest

from mezzotint.cli.progress import Pace, Progress, clock_time


class Clock:
    """Time that passes only when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (201, "3:21"), (7500, "2:05:00"), (None, "-:--")]
)
def test_clock_time(seconds: float | None, text: str) -> None:
    assert clock_time(seconds) == text


def test_pace_is_the_recent_rate_and_ignores_what_was_done_before() -> None:
    pace = Pace(1000, now=0.0)
    assert pace.per_second == 0
    assert pace.seconds_left(2000) is None
    for second in range(1, 11):
        pace.mark(1000 + 10 * second, float(second))
    assert pace.per_second == pytest.approx(10)
    assert pace.seconds_left(2000) == pytest.approx(90)
    for second in range(11, 71):
        pace.mark(1100 + 20 * (second - 10), float(second))
    assert pace.per_second == pytest.approx(20)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""  # results only
    return captured.err.splitlines()


def test_a_line_per_tenth_but_no_more_than_one_in_five_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress("train", 1000, clock=clock) as progress:
        for done in range(1, 1001):
            clock.now += 0.03  # half a minute in all: a tenth takes 3 s
            progress.update(done, f"loss {1 / done:.3f}")
    found = lines(capsys)
    assert 5 <= len(found) <= 7
    assert found[0] == "train: 167/1,000 images, 33 images/s, 0:25 left, loss 0.006"
    assert found[-1].startswith("train: 1,000/1,000 images, 33 images/s, loss 0.001")


def test_slow_work_says_something_every_minute(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress("train", 10**9, clock=clock) as progress:
        for _ in range(600):
            clock.now += 1
            progress.advance(1)
    found = lines(capsys)
    assert len(found) == 10
    assert found[-1].startswith("train: 600/1,000,000,000 images, 1.00 images/s, ")


def test_quick_work_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("sample", 64, unit="pictures") as progress:
        progress.advance(32)
        progress.advance(32)
    (line,) = lines(capsys)
    assert line.startswith("sample: 64/64 pictures, ")


def test_a_resumed_run_counts_its_pace_from_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress("train", 2000, done=1000, clock=clock) as progress:
        clock.now += 10
        progress.update(1100)
    assert lines(capsys) == ["train: 1,100/2,000 images, 10 images/s, 1:30 left"]


def test_another_pass_has_a_pace_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress("evaluate", 1000, clock=clock) as progress:
        clock.now += 1
        progress.update(1000, "reference")
        clock.now += 1
        progress.update(0, "generated")
        clock.now += 10
        progress.update(200, "generated")
    assert lines(capsys)[-1] == "evaluate: 200/1,000 images, 20 images/s, 0:40 left, generated"


def test_unknown_total(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress("prepare", None, clock=clock) as progress:
        clock.now += 2
        progress.update(50, "2 skipped")
    assert lines(capsys) == ["prepare: 50 images, 25 images/s, 2 skipped"]


def test_nothing_done_nothing_said(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train", 10):
        pass
    assert lines(capsys) == []


def test_the_last_state_is_told_when_work_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with Progress("train", 10) as progress:
            progress.update(3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert lines(capsys)[0].startswith("train: 3/10 images")


def test_saying(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train", 10) as progress:
        progress.say("checkpoint [5]")
    assert lines(capsys) == ["checkpoint [5]"]


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    clock = Clock()
    with Progress("train", 2000, clock=clock) as progress:
        clock.now += 10
        progress.update(500, "loss [0.1]")
        progress.say("checkpoint [5]")
    text = capsys.readouterr().err
    assert "500/2,000  50 images/s  0:30 left" in text
    assert "loss [0.1]" in text
    assert "checkpoint [5]" in text
