"""The diffusion design space at one budget: noise schedules with their predictions, then samplers against nfe."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from command import distance, mezzotint, score
from matplotlib.figure import Figure
from pages import HERE, Row, arguments, show, table
from pictures import shared

from mezzotint.machine import Machine

ARMS: dict[str, tuple[str, ...]] = {
    "linear": ("family.prediction=noise", "family.schedule=linear", "family.level=timestep"),
    "cosine": ("family.prediction=noise", "family.schedule=cosine", "family.level=timestep"),
    "sigmoid": ("family.prediction=noise", "family.schedule=sigmoid", "family.level=timestep"),
    "edm": ("family.prediction=edm", "family.level=log"),
    "flow": ("family.prediction=flow", "family.schedule=flow", "family.level=time"),
}
"""What each arm changes about the recipe; network, rate, batch, average, sampler and budget are everyone's.

`timestep` and `time` reach the network on scales of their own, so those arms leave the recipe's `level_scale`.
"""

SCALES = {"linear": 1.0, "cosine": 1.0, "sigmoid": 1.0, "flow": 1000.0}
SAMPLERS = (
    "ddim ddpm dpmpp-2m dpmpp-2s dpmpp-sde euler euler-ancestral heun lms pndm unipc predictor-corrector adaptive-ode"
)
NFES = (5, 10, 20, 50)


@dataclass(frozen=True)
class Task:
    """A recipe with its data, and the protocols that judge it."""

    recipe: str
    train: Path
    test: Path
    distance: str
    kernel: str


def tasks() -> dict[str, Task]:
    """Return what can be trained on, by name."""
    data = shared() / "data"
    return {
        "mnist": Task(
            "mnist-fast",
            data / "mnist_train.parquet",
            data / "mnist_test.parquet",
            "fd-classifier-1k",
            "kid-classifier-1k",
        ),
        "cifar10": Task(
            "cifar10-fast",
            data / "cifar10_jpeg_train.parquet",
            data / "cifar10_jpeg_test.parquet",
            "fd-squeezenet-1k",
            "kid-squeezenet-1k",
        ),
    }


def train(task: Task, arm: str, budget: str, runs: Path, device: str) -> Path:
    """Train one arm under the budget; return its run."""
    run = runs / f"{task.recipe}-{arm}-{budget}"
    scale = [f"network.level_scale={SCALES[arm]}"] if arm in SCALES else []
    words = [task.recipe, f"data.path={task.train}", *ARMS[arm], *scale, "evaluation.monitor=off"]
    mezzotint("train", *words, "--name", run.name, "--runs", str(runs), "--budget", budget, "--device", device)
    return run


def last(run: Path) -> dict[str, float]:
    """Return the last record of the log with a loss in it."""
    records = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    return [record for record in records if record["kind"] == "update"][-1]


def arm_row(task: Task, arm: str, run: Path, device: str) -> Row:
    """Score an arm by both protocols; return its line, and draw its sheet beside the page."""
    sheet = HERE / f"design_space-{task.recipe}-{arm}.png"
    sheet.unlink(missing_ok=True)
    mezzotint("sample", str(run), "-n", "50", "-o", str(sheet), "--device", device)
    found = {protocol: score(run, task.test, protocol, device) for protocol in (task.distance, task.kernel)}
    return {
        "arm": arm,
        **{protocol: str(distance(record)) for protocol, record in found.items()},
        "floor": str(distance(found[task.distance]["floor"])),
        "images seen": int(last(run)["images_seen"]),
        "loss": last(run)["denoiser/loss"],
        "sheet": f"![{arm}]({sheet.name})",
    }


def schedules(task: Task, budget: str, runs: Path, device: str) -> Iterator[tuple[str, Path, Row]]:
    """Train and score every arm."""
    for arm in ARMS:
        run = train(task, arm, budget, runs, device)
        yield arm, run, arm_row(task, arm, run, device)


@dataclass(frozen=True)
class Drawn:
    """What one sampler made of one checkpoint at one nfe."""

    sampler: str
    nfe: float
    value: float
    error: float
    seconds: float


def sampled(run: Path, task: Task, sampler: str, nfe: int, count: int, device: str) -> Drawn | None:
    """Draw `count` images with a sampler at about so many network calls and score them; None where it has no such."""
    per_step = 2 if sampler in ("heun", "dpmpp-2s", "dpmpp-sde", "predictor-corrector") else 1
    steps = max(1, round(nfe / per_step))
    protocol = task.distance.replace("1k", str(count))
    options = (f"sampling.sampler={sampler}", f"sampling.steps={steps}", "sampling.schedule=karras")
    started = time.perf_counter()
    record = score(run, task.test, protocol, device, options)
    value, error = distance(record)
    return Drawn(sampler, record.get("nfe", steps * per_step), value, error, time.perf_counter() - started)


def plot(found: Sequence[Drawn], floor: float, path: Path) -> None:
    """Draw the distance against nfe, a line per sampler."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for sampler in dict.fromkeys(drawn.sampler for drawn in found):
        mine = [drawn for drawn in found if drawn.sampler == sampler]
        axes.errorbar(
            [drawn.nfe for drawn in mine],
            [drawn.value for drawn in mine],
            [drawn.error for drawn in mine],
            marker="o",
            label=sampler,
        )
    axes.axhline(floor, color="grey", linestyle=":", label="real images")
    axes.set(xscale="log", yscale="log", xlabel="network calls per image", ylabel="Frechet distance")
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=110)


def samplers(task: Task, run: Path, names: Sequence[str], count: int, device: str) -> list[str]:
    """Score every sampler at every nfe on one checkpoint; return the table and the plot."""
    protocol = task.distance.replace("1k", str(count))
    floor = distance(score(run, task.test, protocol, device)["floor"])
    found = [drawn for name in names for nfe in NFES if (drawn := sampled(run, task, name, nfe, count, device))]
    rows = [
        {"sampler": name, **{f"nfe {nfe}": _cell(found, name, nfe) for nfe in NFES}}
        for name in dict.fromkeys(drawn.sampler for drawn in found)
    ]
    path = HERE / f"design_space-{task.recipe}-samplers.png"
    plot(found, floor.value, path)
    return [f"## Samplers on `{run.name}`, {protocol} (floor {floor})", table(rows), f"![samplers]({path.name})"]


def _cell(found: Sequence[Drawn], sampler: str, nfe: int) -> str:
    mine = [drawn for drawn in found if drawn.sampler == sampler]
    nearest = min(mine, key=lambda drawn: abs(drawn.nfe - nfe))
    return f"{nearest.value:,.0f} ± {nearest.error:,.0f}"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--on", default="mnist,cifar10", help="tasks: mnist, cifar10")
    parser.add_argument("--budgets", default="4m,10m", help="budget of an arm of each task")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are kept")
    parser.add_argument("--samplers", default=SAMPLERS.replace(" ", ","), help="samplers to try on the EDM arm")
    parser.add_argument("--count", type=int, default=500, help="images per sampler and nfe")
    asked = parser.parse_args()
    parts: list[str] = []
    for name, budget in zip(asked.on.split(","), asked.budgets.split(","), strict=True):
        task = tasks()[name]
        arms = list(schedules(task, budget, asked.runs, asked.device))
        parts += [f"## {task.recipe}, {budget} per arm", table([row for _, _, row in arms])]
        chosen = next(run for arm, run, _ in arms if arm == "edm")
        parts += samplers(task, chosen, asked.samplers.split(","), asked.count, asked.device)
    show("design_space", "The diffusion design space at one budget", parts, Machine.detect(asked.device), asked.write)


if __name__ == "__main__":
    main()
