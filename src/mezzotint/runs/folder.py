"""A run on disk: its files, its lock, its log. Everything that the app and the report show is read from here."""

import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mezzotint.disk import locked, write_bytes, write_text, writing
from mezzotint.errors import BadInput, nearest
from mezzotint.runs.records import Record, append_line, parse_record, read_bytes, read_lines

_NAME = re.compile(r"\w[\w.-]{0,99}")


def check_name(name: str) -> str:
    """Return a run's name that is one folder's name on every system; `BadInput` says what it may hold."""
    if _NAME.fullmatch(name) and not name.endswith("."):
        return name
    rule = "at most 100 letters, digits, '_', '-' and '.', beginning with a letter, digit or '_'"
    raise BadInput(f"run name {name!r}: must be {rule}")


def _is_run(path: Path) -> bool:
    return (path / "recipe.yaml").is_file()


def run_names(parent: Path) -> list[str]:
    """Names of the runs in a folder, sorted."""
    return sorted(entry.name for entry in parent.iterdir() if _is_run(entry)) if parent.is_dir() else []


def _images_seen(record: Record, path: Path, line: int) -> float:
    value = record.get("images_seen", 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"{path}, line {line}: images_seen must be a number, is {value!r}")
    return value


@dataclass(frozen=True)
class RunFolder:
    """The folder `runs/<name>/`. It is a run once `recipe.yaml` is there; make one by `create` or `open`."""

    path: Path

    @classmethod
    def create(cls, parent: Path, name: str) -> Self:
        """Make the folder of a new run, its recipe yet to be written; refuses one that holds anything else."""
        run = cls(parent / check_name(name))
        if run.exists:
            raise BadInput(f"{run.path}: already a run; open it, or choose another name")
        run._refuse_strangers()
        with writing(run.path):
            run.checkpoints.mkdir(parents=True, exist_ok=True)
            run.samples.mkdir(exist_ok=True)
        return run

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing run; `BadInput` names the nearest runs beside it."""
        if not _is_run(path):
            problem = "has no recipe.yaml, so it is not a run" if path.exists() else "no such run"
            inside = run_names(path)
            near = nearest("", inside) if inside else nearest(path.name, run_names(path.parent))
            raise BadInput(f"{path}: {problem}; in {path if inside else path.parent}: {near}")
        return cls(path)

    def _refuse_strangers(self) -> None:
        """Refuse a path that someone uses for something else; a run killed before its recipe leaves only ours."""
        if not self.path.exists():
            return
        ours = {"checkpoints", "samples", "environment.json"}
        inside = {"."} if not self.path.is_dir() else {entry.name for entry in self.path.iterdir()}
        strangers = {name for name in inside - ours if name == "." or not name.startswith(".")}
        if strangers:
            raise BadInput(f"{self.path}: exists and is not a run; choose another name, or move it away")

    # --- What is where ---

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run already."""
        return _is_run(self.path)

    @property
    def recipe(self) -> Path:
        """The fully resolved recipe (YAML)."""
        return self.path / "recipe.yaml"

    @property
    def environment(self) -> Path:
        """Machine, versions and the choices made for speed (JSON)."""
        return self.path / "environment.json"

    @property
    def log(self) -> Path:
        """One JSON record a line, in the order of training."""
        return self.path / "log.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints, one folder each, named by images seen."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Folder of sample sheets."""
        return self.path / "samples"

    @property
    def scores(self) -> Path:
        """One JSON score a line, as evaluated."""
        return self.path / "scores.jsonl"

    # --- Reading and writing ---

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run for this process; a second one is refused, a killed one leaves nothing behind."""
        return locked(self.path / ".lock", lambda holder: f"{self.path}: in use by {holder}; wait for it or stop it")

    def write_recipe(self, text: str) -> None:
        """Write the resolved recipe, whole or not at all; from here on the folder is a run."""
        write_text(self.recipe, text)

    def write_environment(self, environment: Mapping[str, object]) -> None:
        """Write what the run was started on."""
        write_text(self.environment, json.dumps(environment, indent=2) + "\n")

    def read_environment(self) -> Record:
        """Read what the run was started on."""
        return parse_record(read_bytes(self.environment), self.environment)

    def append_log(self, record: Mapping[str, object]) -> None:
        """Add a record to the log, flushed; numbers that aren't finite become null."""
        append_line(self.log, record)

    def read_log(self) -> list[Record]:
        """All records of the log; a last line cut short by a crash is left out."""
        return [record for _, _, record in read_lines(self.log)]

    def truncate_log(self, images_seen: int) -> None:
        """Drop records of training past a checkpoint and a half-written last line; the rest stays byte for byte."""
        if not self.log.exists():
            return
        lines = read_lines(self.log)
        kept = [line for n, line, record in lines if _images_seen(record, self.log, n) <= images_seen]
        content = b"".join(line.rstrip(b"\r\n") + b"\n" for line in kept)
        if content != read_bytes(self.log):
            write_bytes(self.log, content)

    def append_score(self, score: Mapping[str, object]) -> None:
        """Add a score to the run, flushed."""
        append_line(self.scores, score)

    def read_scores(self) -> list[Record]:
        """All scores of the run, in the order they were made."""
        return [record for _, _, record in read_lines(self.scores)]
