"""Every sampler on one trained run: quality against network calls per image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from judging import judged, said
from matplotlib.figure import Figure
from pages import HERE, Row, arguments, show, table
from pictures import cifar10

from mezzotint.evaluation.metrics import Value
from mezzotint.machine import Machine
from mezzotint.samplers import SAMPLERS

NFES = (5, 10, 20, 50)
TWO_CALLS = ("heun", "dpmpp-2s", "predictor-corrector")
"""What makes two calls a move, but one on the move to 0."""

TOLERANCES = (0.1, 0.02, 0.005)
"""Tolerated errors of `adaptive`, which has no number of moves to choose."""


@dataclass(frozen=True)
class Drawn:
    """What one sampler made of the run at one nfe."""

    sampler: str
    nfe: float
    distance: Value
    kernel: Value


def ways(sampler: str) -> Iterator[tuple[str, ...]]:
    """Yield the overrides that take a sampler to each nfe, or next to it."""
    chosen = f"sampling.sampler={sampler}"
    if sampler == "adaptive":
        for tolerance in TOLERANCES:
            tolerated = (f"sampling.sampler.relative={tolerance}", f"sampling.sampler.absolute={tolerance}")
            yield chosen, *tolerated, "sampling.steps=2"
        return
    for nfe in NFES:
        yield chosen, f"sampling.steps={(nfe + 1) // 2 if sampler in TWO_CALLS else nfe}"


def drawn(run: Path, against: Path, sampler: str, features: str, grid: str, device: str) -> Iterator[Drawn]:
    """Draw with a sampler at every nfe and score it."""
    distance, kernel = f"fd-{features}", f"kid-{features}"
    for way in ways(sampler):
        found = judged(run, against, (distance, kernel), device, (*way, f"sampling.schedule={grid}"))
        one = Drawn(sampler, found.nfe, found.value(distance), found.value(kernel))
        print(f"{sampler:20} nfe {one.nfe:5.1f}  {said(one.distance)}  {said(one.kernel)}", flush=True)
        yield one


def rows(found: Sequence[Drawn], kernel: bool) -> Iterator[Row]:
    """Yield a line per sampler; a cell is empty where it made no such number of calls."""
    for sampler in dict.fromkeys(one.sampler for one in found):
        cells = {f"nfe {nfe}": _cell([one for one in found if one.sampler == sampler], nfe, kernel) for nfe in NFES}
        yield {"sampler": sampler, **cells}


def _cell(mine: Sequence[Drawn], nfe: int, kernel: bool) -> str:
    nearest = min(mine, key=lambda one: abs(one.nfe - nfe))
    if abs(nearest.nfe - nfe) > 0.2 * nfe:
        return ""
    value = said(nearest.kernel if kernel else nearest.distance)
    return value if abs(nearest.nfe - nfe) < 0.5 else f"{value} (nfe {nearest.nfe:.0f})"


def plot(found: Sequence[Drawn], floor: Value, what: str, path: Path) -> None:
    """Draw the distance against nfe, a line per sampler."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for number, sampler in enumerate(dict.fromkeys(one.sampler for one in found)):
        mine = [one for one in found if one.sampler == sampler]
        axes.errorbar(
            [one.nfe for one in mine],
            [one.distance.value for one in mine],
            [one.distance.error or 0.0 for one in mine],
            label=sampler,
            marker="osD^v"[number % 5],
            linestyle="-" if number < 10 else "--",
            markersize=4,
            capsize=2,
        )
    axes.axhline(floor.value, color="grey", linestyle=":", label="real images")
    axes.set(xscale="log", yscale="log", xlabel="network calls per image (nfe)", ylabel=what)
    axes.set_xticks(NFES, [str(nfe) for nfe in NFES])
    axes.set_xticks([], minor=True)
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("run", type=Path, help="a trained diffusion run's folder")
    parser.add_argument("--against", default=str(cifar10("test") or ""), help="real images")
    parser.add_argument("--features", default="squeezenet-500", help="extractor and count of the protocols")
    parser.add_argument("--grid", default="karras", help="schedule of the noise levels; null: as in training")
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    asked = parser.parse_args()

    drawings = (
        drawn(asked.run, asked.against, sampler, asked.features, asked.grid, asked.device)
        for sampler in asked.samplers.split(",")
    )
    found = [one for each in drawings for one in each]
    protocol = f"fd-{asked.features}"
    floor = judged(asked.run, asked.against, (protocol,), asked.device).floor(protocol)
    name = f"samplers-{asked.run.name}"
    plot(found, floor, protocol, HERE / f"{name}.png")
    parts = [
        f"{protocol}; real images {said(floor)}. Noise levels: {asked.grid}. `heun`, `dpmpp-2s` and "
        "`predictor-corrector` make two calls a move and one on the last, so their number of calls is odd; `adaptive` "
        "makes at least 16, and is given tolerances instead. Error bars are those of the drawn images.",
        table(list(rows(found, kernel=False))),
        f"![quality against calls]({name}.png)",
        f"kid-{asked.features}:",
        table(list(rows(found, kernel=True))),
    ]
    show(name, f"Samplers at equal calls: {asked.run.name}", parts, Machine.detect(asked.device), asked.write)


if __name__ == "__main__":
    main()
