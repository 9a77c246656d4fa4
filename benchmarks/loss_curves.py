"""Fast updates learn as float32 eager ones do: the same seeds, data and noise; loss curves and their difference."""

from itertools import islice
from statistics import mean, stdev

import matplotlib as mpl
import numpy as np
from pages import HERE, arguments, show, table
from pictures import feed

from mezzotint.machine import Compilation, Machine
from mezzotint.runs import build
from mezzotint.runs.recipe import Recipe
from mezzotint.runs.workload import recipe, updates

WARMUP_IMAGES = 500  # so that most of a few hundred updates learn at the full rate
REFERENCE, FAST = "float32, eager", "fast"


def curve(chosen: Recipe, machine: Machine, count: int) -> np.ndarray:
    """Train from this seed; return float64 [count], the loss of every update."""
    learner = build.learner(chosen, 0, machine.prepare())
    done = islice(updates(learner, chosen, machine, feed()[0]), count)
    return np.array([update.parts["denoiser/loss"].item() for update in done])


def smoothed(losses: np.ndarray, width: int) -> np.ndarray:
    """Return the running mean over `width` updates."""
    return np.convolve(losses, np.ones(width) / width, mode="valid")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="the fast path compiled")
    asked = parser.parse_args()
    fast = Machine.detect(asked.device)
    if asked.compile:
        fast = Machine(fast.device, fast.precision, fast.threads, compilation=Compilation(True, "asked for"))
    machines = {REFERENCE: Machine.detect(asked.device, "float32"), FAST: fast}

    curves: dict[str, list[np.ndarray]] = {name: [] for name in machines}
    for seed in range(asked.seeds):
        chosen = recipe(asked.batch)
        training = chosen.training.but(warmup_images=WARMUP_IMAGES)
        chosen = chosen.but(seed=seed, training=training)
        for name, machine in machines.items():
            curves[name].append(curve(chosen, machine, asked.updates))
            print(f"seed {seed}, {name}: last loss {curves[name][-1][-1]:.4f}", flush=True)

    last = max(asked.updates // 3, 1)
    ends = {name: [losses[-last:].mean() for losses in found] for name, found in curves.items()}
    differences = [b - a for a, b in zip(ends[REFERENCE], ends[FAST], strict=True)]
    rows = [
        {"seed": seed, REFERENCE: a, FAST: b, "difference": b - a}
        for seed, (a, b) in enumerate(zip(ends[REFERENCE], ends[FAST], strict=True))
    ]
    draw(curves, asked.updates)
    parts = [table(rows), _verdict(differences, ends[REFERENCE], last, fast), "![loss curves](loss_curves.png)"]
    show("loss_curves", "Fast updates learn as float32 ones do", parts, fast, asked.write)


def _verdict(differences: list[float], reference: list[float], last: int, fast: Machine) -> str:
    """Say whether the paired difference is within the noise of these seeds."""
    error = stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else float("nan")
    spread = stdev(reference) if len(reference) > 1 else float("nan")
    within = abs(mean(differences)) <= max(2 * error, spread)
    return (
        f"Mean loss of the last {last} updates, {fast.precision}"
        f"{' compiled' if fast.compilation.on else ''} less float32: "
        f"{mean(differences):+.2g} ± {error:.1g} (paired, standard error), {mean(differences) / mean(reference):+.2%}; "
        f"float32 differs by {spread:.2g} (standard deviation) from seed to seed: "
        f"**{'within noise' if within else 'not within noise'}**."
    )


def draw(curves: dict[str, list[np.ndarray]], count: int) -> None:
    """Plot every seed's smoothed losses, and their differences, to loss_curves.png."""
    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    width = max(count // 15, 1)
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(7, 6), sharex=True, height_ratios=(2, 1))
    for name, style in ((REFERENCE, "-"), (FAST, "--")):
        for seed, losses in enumerate(curves[name]):
            above.plot(smoothed(losses, width), style, color=f"C{seed}", label=f"{name}, seed {seed}", linewidth=1)
    for seed, (a, b) in enumerate(zip(curves[REFERENCE], curves[FAST], strict=True)):
        below.plot(smoothed(b - a, width), color=f"C{seed}", linewidth=1)
    above.set(ylabel=f"loss, mean of {width} updates", yscale="log")
    above.legend(fontsize=7)
    below.axhline(0, color="black", linewidth=0.5)
    below.set(xlabel="update", ylabel="fast less float32")
    figure.tight_layout()
    figure.savefig(HERE / "loss_curves.png", dpi=120)
    print(f"drawn: {HERE / 'loss_curves.png'}")


if __name__ == "__main__":
    main()
