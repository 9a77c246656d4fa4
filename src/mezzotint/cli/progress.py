"""How far long work has come: a live bar on a terminal, an occasional plain line anywhere else. All of it on stderr."""

import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

_PACE_SECONDS = 30.0  # the rate is a mean over this long: steady, yet it follows a change
_LINE_SECONDS = 5.0  # never more often than this ...
_QUIET_SECONDS = 60.0  # ... and at least this often, or at every tenth of the work
_TENTHS = 10


class Pace:
    """Units per second over the last half minute, and the time that the rest will take."""

    def __init__(self, done: int, now: float) -> None:
        self._points = deque([(now, done)])

    def mark(self, done: int, now: float) -> None:
        """Record how much is done now."""
        self._points.append((now, done))
        while len(self._points) > 2 and now - self._points[1][0] >= _PACE_SECONDS:
            self._points.popleft()

    @property
    def per_second(self) -> float:
        """Units per second; 0 before there is anything to tell it from."""
        (start, first), (now, last) = self._points[0], self._points[-1]
        return (last - first) / (now - start) if now > start else 0.0

    def seconds_left(self, total: int) -> float | None:
        """Seconds until `total` is reached at this pace; None while that can't be told."""
        return (total - self._points[-1][1]) / self.per_second if self.per_second > 0 else None


def clock_time(seconds: float | None) -> str:
    """Seconds as 0:07, 3:21 or 2:05:00; -:-- for None."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2f}"


class _View(Protocol):
    total: int | None

    def show(self, done: int, pace: Pace, text: str) -> None: ...
    def say(self, line: str) -> None: ...
    def close(self) -> None: ...


class _Lines:
    """Plain lines, rare enough for a log file."""

    def __init__(self, title: str, total: int | None, unit: str, clock: Callable[[], float]) -> None:
        self.title, self.total, self.unit, self.clock = title, total, unit, clock
        self._printed_at, self._printed_tenth, self._pending = clock(), 0, ""

    def show(self, done: int, pace: Pace, text: str) -> None:
        self._pending = self._line(done, pace, text)
        waited = self.clock() - self._printed_at
        tenth = done * _TENTHS // self.total if self.total else 0
        if waited >= _QUIET_SECONDS or (waited >= _LINE_SECONDS and tenth > self._printed_tenth):
            self._printed_at, self._printed_tenth = self.clock(), tenth
            self._flush()

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        self._flush()

    def _flush(self) -> None:
        if self._pending:
            self.say(self._pending)
        self._pending = ""

    def _line(self, done: int, pace: Pace, text: str) -> str:
        count = f"{done:,}/{self.total:,} {self.unit}" if self.total else f"{done:,} {self.unit}"
        parts = [f"{self.title}: {count}", f"{_rate(pace.per_second)} {self.unit}/s"]
        if self.total and done < self.total:
            parts.append(f"{clock_time(pace.seconds_left(self.total))} left")
        return ", ".join([*parts, text] if text else parts)


class _Bar:
    """A rich bar that redraws itself in place."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self.total, self.unit = total, unit
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[numbers]}", markup=False),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
        )
        self._rich = RichProgress(*columns, console=Console(stderr=True))
        self._task = self._rich.add_task(title, total=total, numbers="", note="")
        self._rich.start()

    def show(self, done: int, pace: Pace, text: str) -> None:
        count = f"{done:,}/{self.total:,}" if self.total else f"{done:,}"
        left = f"  {clock_time(pace.seconds_left(self.total))} left" if self.total else ""
        numbers = f"{count}  {_rate(pace.per_second)} {self.unit}/s{left}"
        self._rich.update(self._task, completed=done, total=self.total, numbers=numbers, note=text)

    def say(self, line: str) -> None:
        self._rich.console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        self._rich.stop()


class Progress:
    """Shows work as it goes; `total` may be None (unknown), `done` is where a resumed run starts.

    with Progress("train", total=2_000_000, done=learner.images_seen) as progress:
        for record in drive(run, loader):
            progress.update(record.images_seen, f"loss {loss:.3f}")
    """

    def __init__(
        self,
        title: str,
        total: int | None,
        *,
        done: int = 0,
        unit: str = "images",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        terminal = sys.stderr.isatty()
        self.done, self._clock, self._pace = done, clock, Pace(done, clock())
        self._view: _View = _Bar(title, total, unit) if terminal else _Lines(title, total, unit, clock)

    def update(self, done: int, text: str = "", *, total: int | None = None) -> None:
        """Say how much is done in all, a few words such as `loss 0.031`, and the total once it is known."""
        if done < self.done:  # another pass has begun
            self._pace = Pace(done, self._clock())
        self.done = done
        self._view.total = total or self._view.total
        self._pace.mark(done, self._clock())
        self._view.show(done, self._pace, text)

    def advance(self, count: int, text: str = "") -> None:
        """Say how much more is done."""
        self.update(self.done + count, text)

    def say(self, line: str) -> None:
        """Print a line that stays, above the bar."""
        self._view.say(line)

    def close(self) -> None:
        """End the bar, or print the last line."""
        self._view.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._view.close()
