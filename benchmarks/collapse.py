"""A DCGAN at a rate it collapses under: what the log shows of it, and what the run draws from in the end."""

from pathlib import Path

from command import mezzotint, train
from judging import judged, said
from matplotlib.figure import Figure
from pages import HERE, Row, arguments, show, table
from pictures import shared

from mezzotint.machine import Machine
from mezzotint.runs.folder import RunFolder
from mezzotint.runs.records import Record
from mezzotint.runs.run import open_run

NAME, PROTOCOL = "mnist-dcgan-collapse", "fd-classifier-1k"
HIGH = (
    "training.learning_rate=0.3",
    "training.warmup_images=30k",
    "training.images=300k",
    "training.validation_images=1500",
)
PANELS = {
    "monitored score": ("score", "frechet"),
    "feature variance, real = 1": ("validation", "generator/feature_variance"),
    "near duplicates": ("validation", "generator/near_duplicates"),
    "critic on held-out images": ("validation", "critic/on_held_out"),
    "critic on drawn images": ("validation", "critic/on_drawn"),
    "generator's gradient norm": ("update", "generator/gradient_norm"),
}
"""What is drawn of the log: the kind of record, and a name in it."""

Curve = list[tuple[float, float]]


def curve(log: list[Record], kind: str, name: str) -> Curve:
    """Return what has a name in records of one kind, over the images seen."""
    return [(record["images_seen"], record[name]) for record in log if record["kind"] == kind and name in record]


def plot(log: list[Record], best: int, path: Path) -> None:
    """Draw the panels, the best moment as a line through all of them."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    for axes, (title, (kind, name)) in zip(figure.subplots(2, 3, sharex=True).flat, PANELS.items(), strict=True):
        axes.plot(*zip(*((seen / 1000, found) for seen, found in curve(log, kind, name)), strict=True), linewidth=1)
        axes.axvline(best / 1000, color="black", linestyle=":", linewidth=1)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
    figure.supxlabel("thousands of images seen; dotted: the best moment, which the run draws from", fontsize=9)
    figure.savefig(path, dpi=100)


def moment(run: Path, which: str, device: str) -> Row:
    """Score a checkpoint, and draw its sheet beside the page."""
    sheet = HERE / f"collapse-{which}.png"
    sheet.unlink(missing_ok=True)
    mezzotint("sample", str(run), "--checkpoint", which, "-n", "50", "-o", str(sheet), "--device", device)
    found = judged(run, shared() / "data" / "mnist_test.parquet", (PROTOCOL,), device, which=which)
    opened = open_run(RunFolder.open(run))
    images_seen = int(opened.chosen(which).name)
    rates = [rate for seen, rate in curve(opened.folder.read_log(), "update", "learning_rate") if seen <= images_seen]
    return {
        "checkpoint": which,
        "images seen": images_seen,
        "rate by then": rates[-1],
        PROTOCOL: said(found.value(PROTOCOL)),
        "real images": said(found.floor(PROTOCOL)),
        "sheet": f"![{which}]({sheet.name})",
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the run is kept, and found again")
    asked = parser.parse_args()
    words = ["mnist-dcgan", f"data.path={shared() / 'data' / 'mnist_train.parquet'}", *HIGH]
    run = train(asked.runs / NAME, words, asked.device)
    opened = open_run(RunFolder.open(run))
    plot(opened.folder.read_log(), int(opened.chosen("auto").name), HERE / "collapse.png")
    rows = [moment(run, which, asked.device) for which in ("auto", "last")]
    parts = [
        f"`mezzotint train mnist-dcgan data.path=... {' '.join(HIGH)}`: the rate rises over a tenth of the run to "
        "thirty times the recipe's. One seed.",
        table(rows),
        "`auto` is what `sample` draws from unless it is told otherwise.",
        "![the log](collapse.png)",
    ]
    show("collapse", "A GAN left to collapse keeps its best moment", parts, Machine.detect(asked.device), asked.write)


if __name__ == "__main__":
    main()
