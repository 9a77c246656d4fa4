"""GANs, a VAE and a diffusion model at one budget: distances, precision and recall, and what they cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from command import last_update, mezzotint, own_weights, train
from judging import judged, said
from pages import HERE, Row, arguments, show, table
from pictures import shared

from mezzotint.generation.stream import stream
from mezzotint.machine import Machine
from mezzotint.runs.folder import RunFolder
from mezzotint.runs.run import open_run

FEW = ("training.batch_size=64", "network.ngf=32", "network.ndf=32")
WASSERSTEIN = (
    "family.loss=wasserstein",
    "family.regularizers=[gradient-penalty]",
    "family.critic_updates=2",
    "network.critic_norm=layer",
    "training.beta1=0",
    "training.beta2=0.9",
)


@dataclass(frozen=True)
class Task:
    """Arms by name, each a recipe with overrides, on the same data under the same budget."""

    files: tuple[str, str]  # to learn from, and to be judged against
    features: str
    budget: str
    arms: Mapping[str, tuple[str, ...]]
    same: tuple[str, ...] = ()

    @property
    def protocols(self) -> tuple[str, str, str]:
        """Frechet distance, kernel distance, precision and recall."""
        return f"fd-{self.features}", f"kid-{self.features}", f"prdc-{self.features}"


CATS = ("cats_dogs_128.parquet", "cats_dogs_128.parquet")
TASKS = {
    "mnist": Task(
        ("mnist_train.parquet", "mnist_test.parquet"),
        "classifier-1k",
        "4m",
        {name: (f"mnist-{name}",) for name in ("dcgan", "lsgan", "sngan", "wgan-gp", "r3gan", "vae")}
        | {"diffusion": ("mnist-fast", "family.class_conditional=false")},
    ),
    "cats-dogs-32": Task(
        CATS,
        "squeezenet-1k",
        "8m",
        {name: (f"cats-dogs-{name}", *FEW) for name in ("dcgan", "lsgan", "sngan", "r3gan")}
        | {
            "wgan-gp": ("cats-dogs-dcgan", *FEW, *WASSERSTEIN),
            "vae": ("cats-dogs-vae-modern",),
            "diffusion": ("cats-dogs-fast",),
        },
        ("data.image_size=32",),
    ),
    "cats-dogs-64": Task(
        CATS,
        "squeezenet-1k",
        "20m",
        {
            "r3gan": ("cats-dogs-r3gan", *FEW),
            "vae": ("cats-dogs-vae-modern",),
            "diffusion": ("cats-dogs-fast", "network.attention=[16]"),
        },
        ("data.image_size=64",),
    ),
}


def seconds_per_1000(run: Path, device: str, count: int = 256) -> float:
    """Time a run's drawing of some images after a first batch, from seeds to pixels."""
    opened = open_run(RunFolder.open(run), device)
    generator, machine = opened.generator("auto", "ema"), opened.machine

    def draw(seeds: range) -> float:
        started = perf_counter()
        with machine.autocast():
            list(stream(generator, seeds, batch_size=64, device=machine.device))
        return perf_counter() - started

    draw(range(64))
    return draw(range(count)) * 1000 / count


def parameters(run: Path) -> int:
    """Return how many parameters a run trains, a critic's included."""
    return sum(parameter.numel() for parameter in open_run(RunFolder.open(run)).family().parameters())


def row(task: Task, name: str, arm: str, run: Path, device: str) -> Row:
    """Judge an arm and time it; return its line, and draw its sheet beside the page."""
    sheet = HERE / f"families-{name}-{arm}.png"
    sheet.unlink(missing_ok=True)
    mezzotint("sample", str(run), "-n", "50", "-o", str(sheet), "--device", device)
    found, last = judged(run, shared() / "data" / task.files[1], task.protocols, device), last_update(run)
    distance, kernel, prdc = task.protocols
    return {
        "arm": arm,
        distance: said(found.value(distance)),
        f"{kernel}": said(found.value(kernel)),
        "precision": said(found.value(prdc, "precision")),
        "recall": said(found.value(prdc, "recall")),
        "parameters": parameters(run),
        "images seen": int(last["images_seen"]),
        "images/s in training": last["images_per_second"],
        "s per 1,000 samples": seconds_per_1000(run, device),
        "sheet": f"![{arm}]({sheet.name})",
    }


def compared(name: str, task: Task, runs: Path, device: str) -> list[str]:
    """Train and judge every arm of a task; return the heading, what real images score, and the table."""
    rows: list[Row] = []
    for arm, (recipe, *overrides) in task.arms.items():
        data = f"data.path={shared() / 'data' / task.files[0]}"
        run = train(runs / f"{name}-{arm}", [recipe, data, *task.same, *overrides, "--budget", task.budget], device)
        rows.append(row(task, name, arm, run, device))
    some = runs / f"{name}-{next(iter(task.arms))}"
    distance = task.protocols[0]
    floor = said(judged(some, shared() / "data" / task.files[1], (distance,), device).floor(distance))
    return [f"## {name}, {task.budget} per arm", f"{distance} of real images: {floor}.", table(rows)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--on", default=",".join(TASKS), help="tasks, by default all of them")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are kept, and found again")
    asked = parser.parse_args()
    own_weights()
    parts = [part for name in asked.on.split(",") for part in compared(name, TASKS[name], asked.runs, asked.device)]
    show("families", "GANs, VAE and diffusion at one budget", parts, Machine.detect(asked.device), asked.write)


if __name__ == "__main__":
    main()
