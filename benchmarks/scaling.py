"""Time of one image's share of an update against resolution, width and batch; where time per operation grows."""

from collections.abc import Iterator, Mapping

import matplotlib as mpl
import torch
from pages import HERE, arguments, show, table

from mezzotint.machine import Machine
from mezzotint.options import Tree
from mezzotint.runs import build
from mezzotint.runs.compilation import operations_per_image
from mezzotint.runs.workload import random_pixels, recipe, updates
from mezzotint.training.speed import interleaved, medians

SIDE, WIDTH, BATCH = 32, 32, 16
SWEEPS: dict[str, tuple[int, ...]] = {
    "resolution": (16, 32, 64, 128),
    "width": (16, 32, 64, 96),
    "batch": (1, 4, 16, 64),
}
GROWN = 1.5  # time per operation that many times the middle's is worth a sentence


def network(width: int) -> Tree:
    """Return a small U-Net that halves twice; its smallest level attends."""
    return {"kind": "unet", "channels": width, "multipliers": [1, 2, 2], "blocks": 1, "attention": [], "groups": 16}


def measure(side: int, width: int, batch: int, machine: Machine, rounds: int) -> dict[str, float]:
    """Time whole updates; return milliseconds and GFLOP per image, and GFLOP/s."""
    chosen = recipe(batch, network(width), side)
    learner = build.learner(chosen, 0, machine)
    endless = updates(learner, chosen, machine, random_pixels(side, 64))
    seconds = medians(interleaved({"update": lambda: next(endless)}, rounds, machine.device))["update"] / batch
    operations = operations_per_image(chosen, 0).update
    return {"ms/image": 1000 * seconds, "GFLOP/image": operations / 1e9, "GFLOP/s": operations / seconds / 1e9}


def sweep(what: str, machine: Machine, rounds: int) -> Iterator[dict[str, str | float | int]]:
    """Yield one row per value of what is varied, the others in the middle."""
    for value in SWEEPS[what]:
        middle: Mapping[str, int] = {"resolution": SIDE, "width": WIDTH, "batch": BATCH, what: value}
        found = measure(middle["resolution"], middle["width"], middle["batch"], machine, rounds)
        yield {"varied": what, "value": value, **found}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--largest", type=int, default=128, help="largest value of anything")
    asked = parser.parse_args()
    machine = Machine.detect(asked.device).prepare()
    torch.manual_seed(0)
    for what, values in SWEEPS.items():
        SWEEPS[what] = tuple(value for value in values if value <= asked.largest)
    rows = [row for what in SWEEPS for row in sweep(what, machine, asked.rounds)]
    draw(rows)
    parts = [_said(rows), table(rows), "![scaling](scaling.png)"]
    show("scaling", "Cost against resolution, width and batch", parts, machine, asked.write)


def _said(rows: list[dict[str, str | float | int]]) -> str:
    """Name what needs much more time per operation than the middle of everything."""
    middle = next(row for row in rows if row["varied"] == "batch" and row["value"] == min(BATCH, SWEEPS["batch"][-1]))
    slower = [
        f"{row['varied']} {row['value']}: {float(middle['GFLOP/s']) / float(row['GFLOP/s']):.1f} times"
        for row in rows
        if float(middle["GFLOP/s"]) > GROWN * float(row["GFLOP/s"])
    ]
    found = f"much more at {'; '.join(slower)}" if slower else f"nowhere more than {GROWN} times as much"
    return (
        f"Middle: {SIDE} px, {WIDTH} channels, batch {BATCH}. Time per operation against the middle: {found}. "
        "Operations grow with the square of the width, in proportion to pixels, and with their square in attention "
        "(at the smallest level: 1/16 of the pixels)."
    )


def draw(rows: list[dict[str, str | float | int]]) -> None:
    """Plot time and operations per image of each sweep to scaling.png."""
    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, panels = pyplot.subplots(1, len(SWEEPS), figsize=(11, 3.4))
    for panel, what in zip(panels, SWEEPS, strict=True):
        found = [row for row in rows if row["varied"] == what]
        values = [int(row["value"]) for row in found]
        panel.plot(values, [float(row["ms/image"]) for row in found], "o-", label="ms per image")
        scale = float(found[0]["ms/image"]) / float(found[0]["GFLOP/image"])
        operations = [scale * float(row["GFLOP/image"]) for row in found]
        panel.plot(values, operations, "--", color="gray", label="in proportion to operations")
        panel.set(xscale="log", yscale="log", xlabel=what, xticks=values, xticklabels=values)
        panel.minorticks_off()
    panels[0].set_ylabel("ms per image and update")
    panels[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(HERE / "scaling.png", dpi=120)
    print(f"drawn: {HERE / 'scaling.png'}")


if __name__ == "__main__":
    main()
