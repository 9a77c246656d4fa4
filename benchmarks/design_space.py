"""The diffusion design space at one budget: noise schedules with their predictions, everything else the same."""

from dataclasses import dataclass
from pathlib import Path

from command import last_update, mezzotint, train
from judging import judged, said
from pages import HERE, Row, arguments, show, table
from pictures import shared

from mezzotint.machine import Machine

ARMS: dict[str, tuple[str, ...]] = {
    "linear": ("family.prediction=noise", "family.schedule=linear", "family.level=timestep", "network.level_scale=1"),
    "cosine": ("family.prediction=noise", "family.schedule=cosine", "family.level=timestep", "network.level_scale=1"),
    "sigmoid": ("family.prediction=noise", "family.schedule=sigmoid", "family.level=timestep", "network.level_scale=1"),
    "edm": (),
    "flow": ("family.prediction=flow", "family.schedule=flow", "family.level=time", "network.level_scale=1000"),
}
"""What each arm changes about the recipe; network, rate, batch, average, sampler and length are everyone's."""

WAYS: dict[str, tuple[str, ...]] = {
    "dpmpp-2m": ("sampling.sampler=dpmpp-2m", "sampling.schedule=karras", "sampling.steps=18"),
    "ddpm-clipped": (
        "sampling.sampler=ddpm",
        "sampling.schedule=null",
        "sampling.steps=50",
        "sampling.clip_x0=true",
    ),
}
"""How every arm is drawn: in few calls, or as Ho et al. 2020 draw, with a twentieth of their steps."""

SAME = (
    "The recipe is `edm`; its rate, batch and log-normal distribution were tuned for it in earlier runs, nothing was "
    "for the other arms, which take schedule and prediction as published and the plain error of the raw output. The "
    "first arm trains for the budget, the others for as many images. All are drawn in two ways, each between the arm's "
    "own lowest and highest noise: by `dpmpp-2m` with 18 calls along Karras levels, and as DDPM does, by `ddpm` along "
    "the training schedule with estimates clipped. One seed each: error bars are those of the drawn images alone, and "
    "do not tell what another training of the same arm would give."
)


@dataclass(frozen=True)
class Task:
    """A recipe with its data, and what judges it."""

    recipe: str
    files: str
    features: str

    @property
    def train(self) -> Path:
        """Real images to learn from."""
        return shared() / "data" / f"{self.files}_train.parquet"

    @property
    def test(self) -> Path:
        """Real images to be judged against."""
        return shared() / "data" / f"{self.files}_test.parquet"

    @property
    def protocols(self) -> tuple[str, str]:
        """Frechet and kernel distance of 1,000 drawn images."""
        return f"fd-{self.features}-1k", f"kid-{self.features}-1k"


TASKS = {
    "mnist": Task("mnist-fast", "mnist", "classifier"),
    "cifar10": Task("cifar10-fast", "cifar10_jpeg", "squeezenet"),
}


def drawn(task: Task, arm: str, run: Path, way: str, device: str) -> Row:
    """Score an arm that is drawn in one way by both protocols; return its line, and draw its sheet beside the page."""
    changes, (distance, kernel) = WAYS[way], task.protocols
    sheet = HERE / f"design_space-{task.recipe}-{arm}-{way}.png"
    sheet.unlink(missing_ok=True)
    mezzotint("sample", str(run), *changes, "-n", "20", "-o", str(sheet), "--device", device)
    found = judged(run, task.test, task.protocols, device, changes)
    return {
        "arm": arm,
        "drawn by": way,
        "nfe": round(found.nfe),
        distance: said(found.value(distance)),
        kernel: said(found.value(kernel)),
        "real images": said(found.floor(distance)),
        "loss": last_update(run)["denoiser/loss"],
        "sheet": f"![{arm} by {way}]({sheet.name})",
    }


def compared(task: Task, budget: str, runs: Path, device: str) -> list[str]:
    """Train every arm and score it by each way of drawing; return the heading and the table."""
    rows: list[Row] = []
    length, seen = ("--budget", budget), 0
    for arm, changes in ARMS.items():
        words = [task.recipe, f"data.path={task.train}", *changes, *length, "evaluation.monitor=off"]
        run = train(runs / f"{task.recipe}-{arm}", words, device)
        seen = int(last_update(run)["images_seen"])
        length = (f"training.images={seen}",)
        rows += [drawn(task, arm, run, way, device) for way in WAYS]
    return [f"## {task.recipe}, {budget} per arm: {seen:,} images each", table(rows)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--on", default="mnist,cifar10", help="tasks: mnist, cifar10")
    parser.add_argument("--budgets", default="4m,10m", help="budget of an arm of each task")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are kept, and found again")
    asked = parser.parse_args()
    machine = Machine.detect(asked.device)
    for name, budget in zip(asked.on.split(","), asked.budgets.split(","), strict=True):
        parts = [SAME, *compared(TASKS[name], budget, asked.runs, asked.device)]
        show(f"design_space-{name}", f"The diffusion design space at one budget: {name}", parts, machine, asked.write)


if __name__ == "__main__":
    main()
