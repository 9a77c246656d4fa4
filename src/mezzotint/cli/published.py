"""Published weights as the command line shows them: which there are, which are here, and fetching with a bar."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mezzotint.cli.progress import Progress
from mezzotint.errors import BadInput, nearest
from mezzotint.evaluation.extractors import all_published
from mezzotint.evaluation.weights import Published, fetching, file_sha256, find_weights, present

_MIB = 1 << 20


def chosen(name: str) -> Mapping[str, tuple[Published, ...]]:
    """Return the published files of one name, or of every one for `all`."""
    known = all_published()
    if name != "all" and name not in known:
        raise BadInput(f"unknown weights {name!r}: {nearest(name, known)} or all")
    return known if name == "all" else {name: known[name]}


def listing() -> Iterator[str]:
    """One line for each: its name, and where it is or that it is absent (nothing is hashed)."""
    known = all_published()
    width = max(map(len, known))
    for name, files in known.items():
        yield f"{name:{width}}  {next((str(path) for path, _ in present(files)), 'absent')}"


def brought(name: str, files: Sequence[Published]) -> Path:
    """Return the checked file, fetched first if it isn't here; the bar counts what earlier tries brought."""
    if not any(present(files)):
        with Progress(f"fetch {name}", None, unit="MiB") as progress:
            for fetched in fetching(name, files):
                total = None if fetched.total is None else -(-fetched.total // _MIB)
                progress.update(-(-fetched.done // _MIB), total=total)
    return find_weights(name, files, None, None)


@dataclass(frozen=True)
class Check:
    """What is known of one name's file here: `ok`, `wrong` or `absent`."""

    name: str
    state: str
    path: Path | None = None
    sha256: str = ""

    @property
    def line(self) -> str:
        """One line for people."""
        return f"{self.name}: {self.state}" + (f"  {self.path}  {self.sha256}" if self.path else "")

    @property
    def tree(self) -> dict[str, str | None]:
        """One JSON object for scripts; null where there is no file."""
        path = self.path and str(self.path)
        return {"name": self.name, "state": self.state, "path": path, "sha256": self.sha256 or None}


def checks(known: Mapping[str, tuple[Published, ...]]) -> Iterator[Check]:
    """Hash every file that is here, one after another."""
    for name, files in known.items():
        found = list(present(files))
        for path, file in found:
            digest = file_sha256(path)
            yield Check(name, "ok" if digest.startswith(file.sha256) else "wrong", path, digest)
        if not found:
            yield Check(name, "absent")
