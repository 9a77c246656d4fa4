"""Quality in a few minutes of two cores: budgeted trainings, and other tools' images, by one protocol and reference."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import distance, mezzotint, score
from pages import HERE, Row, arguments, show, table
from pictures import cifar10, shared

from mezzotint.machine import Machine

PROTOCOL = "fd-squeezenet-1k"


@dataclass(frozen=True)
class Training:
    """A recipe trained for so long of wall clock, start-up included, on training and test files."""

    recipe: str
    budget: str
    train: Path
    test: Path


def trained(training: Training, runs: Path, device: str) -> tuple[Path, float]:
    """Train under the budget; return the run and the wall-clock seconds from the command to its end."""
    name = f"{training.recipe}-{time.strftime('%Y%m%d-%H%M%S')}"
    words = [training.recipe, f"data.path={training.train}", "--name", name, "--runs", str(runs)]
    started = time.time()
    mezzotint("train", *words, "--budget", training.budget, "--device", device)
    return runs / name, time.time() - started


def row(what: str, found: dict[str, Any], seconds: float | None, images_seen: int | None) -> Row:
    """Return one line of the table: the distance with its error bar, and what it cost."""
    return {
        "what": what,
        "minutes": None if seconds is None else seconds / 60,
        "images seen": images_seen,
        PROTOCOL: str(distance(found)),
    }


def floor(found: dict[str, Any]) -> Row:
    """Return the line of real images."""
    return {"what": "real images", PROTOCOL: str(distance(found["floor"]))}


def images_seen(run: Path) -> int:
    """Return how many images a run has seen."""
    last = (run / "log.jsonl").read_text("utf-8").splitlines()[-1]
    return int(json.loads(last)["images_seen"])


def cifar(training: Training, runs: Path, device: str) -> list[str]:
    """Train on CIFAR-10, score it and the peers' images; return the table and what it says."""
    run, seconds = trained(training, runs, device)
    ours = score(run, training.test, PROTOCOL, device)
    files = sorted((shared() / "peers").glob("*.npz"))
    others = {file: score(file, training.test, PROTOCOL, device) for file in files}
    rows = [row(f"mezzotint, {training.recipe}", ours, seconds, images_seen(run))]
    rows += [row(file.stem, found, None, None) for file, found in others.items()]
    parts = [
        f"## {training.recipe}, {training.budget}",
        table([*rows, floor(ours)]),
        sheet(run, training.recipe, device),
    ]
    if others:
        best = min(others, key=lambda file: distance(others[file]).value)
        below = 1 - distance(ours).value / distance(others[best]).value
        parts.append(f"**{below:.0%} below the best peer**, {best.stem} (target 30 %).")
    return parts


def mnist(training: Training, runs: Path, device: str) -> list[str]:
    """Train on MNIST, score it and draw a sheet to look at."""
    run, seconds = trained(training, runs, device)
    found = score(run, training.test, PROTOCOL, device)
    lines = [row(f"mezzotint, {training.recipe}", found, seconds, images_seen(run)), floor(found)]
    return [f"## {training.recipe}, {training.budget}", table(lines), sheet(run, training.recipe, device)]


def sheet(run: Path, recipe: str, device: str) -> str:
    """Draw seeds 0 to 63 beside the page; return the picture's Markdown."""
    path = HERE / f"{recipe}.png"
    path.unlink(missing_ok=True)
    mezzotint("sample", str(run), "-n", "64", "-o", str(path), "--device", device)
    return f"![seeds 0 to 63]({path.name})"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are kept")
    parser.add_argument("--cifar10", default="cifar10-fast", help="recipe")
    parser.add_argument("--cifar10-budget", default="20m")
    parser.add_argument("--mnist", default="mnist-fast", help="recipe")
    parser.add_argument("--mnist-budget", default="3m")
    asked = parser.parse_args()
    train, test, data = cifar10(), cifar10("test"), shared() / "data"
    if train is None or test is None:
        raise SystemExit(f"quality: no CIFAR-10 in {data}; set MEZZOTINT_TEST_DATA")
    first = Training(asked.mnist, asked.mnist_budget, data / "mnist_train.parquet", data / "mnist_test.parquet")
    second = Training(asked.cifar10, asked.cifar10_budget, train, test)
    parts = [*mnist(first, asked.runs, asked.device), *cifar(second, asked.runs, asked.device)]
    show("quality", "Quality in minutes", parts, Machine.detect(asked.device), asked.write)


if __name__ == "__main__":
    main()
