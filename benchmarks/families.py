"""GANs, a VAE and a diffusion model at one budget: distances, precision and recall, and what they cost."""

import shlex
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
from mezzotint.runs import build
from mezzotint.runs.folder import RunFolder
from mezzotint.runs.run import Run, open_run
from mezzotint.training.cost import pace

QUICK = ("training.batch_size=64", "network.ngf=32", "network.ndf=32", "training.learning_rate=0.001")
WASSERSTEIN = (
    "family.loss=wasserstein",
    "family.regularizers=[gradient-penalty]",
    "family.critic_updates=2",
    "network.critic_norm=layer",
    "training.beta1=0",
    "training.beta2=0.9",
)
SMALL_R3GAN = (
    "training.batch_size=16",
    "training.learning_rate=0.001",
    "network.ngf=16",
    "network.ndf=16",
    "family.regularizers=[{kind: r1, gamma: 2, every: 8}, {kind: r2, gamma: 2, every: 8}]",
)
SAME = (
    "Every arm is given the same budget, from which its length is planned before it starts; minutes are what it took. "
    "One seed. GANs draw from the checkpoint that was best by the monitored score, a coarse one (fd-thumbnail-256, or "
    "fd-squeezenet-256 where there is time). Distances are of 1,000 drawn images, error bars those of the drawing "
    "alone; precision and recall as in Kynkaanniemi et al. 2019. Arms were tuned unequally, some not at all: places "
    "may owe to that. Images per second are of updates, seconds per 1,000 samples of 256 after a first batch, both "
    "measured for the page. The sheets show the images of seeds 0 to 49, as drawn."
)
SHORT_VAE = ("family.warmup_images=20k", "training.warmup_images=5k", "training.ema_halflife_images=10k")


@dataclass(frozen=True)
class Task:
    """Arms by name, each a recipe with overrides, on the same data under the same budget."""

    files: tuple[str, str]  # to learn from, and to be judged against
    features: str
    minutes: float
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
        4,
        {name: (f"mnist-{name}",) for name in ("dcgan", "lsgan", "sngan", "wgan-gp", "r3gan", "vae")}
        | {"diffusion": ("mnist-fast", "family.class_conditional=false")},
    ),
    "cats-dogs-32": Task(
        CATS,
        "squeezenet-1k",
        8,
        {name: (f"cats-dogs-{name}", *QUICK) for name in ("dcgan", "lsgan", "sngan")}
        | {
            "wgan-gp": ("cats-dogs-dcgan", *QUICK, *WASSERSTEIN),
            "sngan-residual": ("cats-dogs-sngan-fast",),
            "r3gan": ("cats-dogs-r3gan", *SMALL_R3GAN),
            "vae": ("cats-dogs-vae-modern", *SHORT_VAE),
            "vae-study": (
                "cats-dogs-vae",
                "training.batch_size=64",
                "training.learning_rate=0.001",
                "training.ema_halflife_images=10k",
            ),
            "diffusion": ("cats-dogs-fast",),
        },
        ("data.image_size=32",),
    ),
    "cats-dogs-64": Task(
        CATS,
        "squeezenet-1k",
        20,
        {
            "sngan-residual": ("cats-dogs-sngan-fast",),
            "r3gan": ("cats-dogs-r3gan", *SMALL_R3GAN),
            "vae": ("cats-dogs-vae-modern", *SHORT_VAE),
            "diffusion": ("cats-dogs-fast", "network.patch=2"),
        },
        ("data.image_size=64",),
    ),
}


def seconds_per_1000(run: Run, count: int = 256) -> float:
    """Time a run's drawing of some images after a first batch, from seeds to pixels."""
    generator, machine = run.generator("auto", "ema"), run.machine

    def draw(seeds: range) -> float:
        started = perf_counter()
        with machine.autocast():
            list(stream(generator, seeds, batch_size=64, device=machine.device))
        return perf_counter() - started

    draw(range(64))
    return draw(range(count)) * 1000 / count


def images_per_second(run: Run) -> float:
    """Time updates of a throwaway learner as the run makes them, without what a log and pictures take."""
    recipe = run.recipe.but(training=run.recipe.training.but(images=2**50))
    learner = build.learner(recipe, run.num_classes, run.machine)
    size = recipe.training.batch_size
    return size / pace(build.trainer(recipe, run.loader(), run.machine), learner).seconds(size, size)


def row(task: Task, name: str, arm: str, run: Path, device: str) -> Row:
    """Judge an arm and time it; return its line, and draw its sheet beside the page."""
    sheet = HERE / f"families-{name}-{arm}.png"
    sheet.unlink(missing_ok=True)
    mezzotint("sample", str(run), "-n", "50", "-o", str(sheet), "--device", device)
    found = judged(run, shared() / "data" / task.files[1], task.protocols, device)
    opened, last = open_run(RunFolder.open(run), device), last_update(run)
    distance, kernel, prdc = task.protocols
    return {
        "arm": arm,
        distance: said(found.value(distance)),
        kernel: said(found.value(kernel)),
        "precision": said(found.value(prdc, "precision")),
        "recall": said(found.value(prdc, "recall")),
        "real images": said(found.floor(distance)),
        "parameters": sum(parameter.numel() for parameter in opened.family().parameters()),
        "images seen": int(last["images_seen"]),
        "minutes": last["seconds"] / 60,
        "images/s of updates": images_per_second(opened),
        "s per 1,000 samples": seconds_per_1000(opened),
        "sheet": f"![{arm}]({sheet.name})",
    }


def words(task: Task, arm: str) -> list[str]:
    """Return an arm's recipe and overrides."""
    recipe, *overrides = task.arms[arm]
    return [recipe, *task.same, *overrides]


def compared(name: str, task: Task, minutes: float, runs: Path, device: str) -> list[str]:
    """Train and judge every arm of a task; return the budget, the table, and what each arm is."""
    rows: list[Row] = []
    data, length = f"data.path={shared() / 'data' / task.files[0]}", ("--budget", f"{minutes:g}m")
    for arm in task.arms:
        run = train(runs / f"{name}-{arm}-{minutes:g}m", [*words(task, arm), data, *length], device)
        rows.append(row(task, name, arm, run, device))
    arms = "\n".join(f"- {arm}: `{shlex.join(words(task, arm))}`" for arm in task.arms)
    learnt, judges = task.files
    same = ", all but a twentieth of which were learnt from; the floor is 1,000 of them against the others"
    known = same if learnt == judges else ""
    return [f"A budget of {minutes:g} minutes per arm. Judged against {judges}{known}.", table(rows), arms]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--on", default=",".join(TASKS), help="tasks, by default all of them")
    parser.add_argument("--share", type=float, default=1.0, help="part of its minutes that every arm gets")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are kept, and found again")
    asked = parser.parse_args()
    own_weights()
    for name in asked.on.split(","):
        task = TASKS[name]
        parts = [SAME, *compared(name, task, asked.share * task.minutes, asked.runs, asked.device)]
        show(f"families-{name}", f"GANs, VAE and diffusion: {name}", parts, Machine.detect(asked.device), asked.write)


if __name__ == "__main__":
    main()
