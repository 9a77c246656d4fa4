"""Every sampler x schedule and prediction x schedule against an exact denoiser, and every sampler beside diffusers'."""

import sys
from pathlib import Path

import torch
from pages import arguments, show, table

from mezzotint.diffusion.schedules.karras import Karras
from mezzotint.machine import Machine
from mezzotint.options import parse
from mezzotint.samplers import integrate
from mezzotint.samplers.adaptive import PAIRS, Adaptive
from mezzotint.seeds import SeededNoise

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from agreement import ON_PURPOSE, THE_SAME, Pair, largest_difference
from measures import D, all_moments, dependences, orders, round_trips, start

ORDERS = (
    "**Order of convergence** (stated in brackets) to the probability-flow ODE of a Gaussian mixture from sigma 10 to "
    "0.05, without the move to 0: log2 of what halving the moves divides the error by, the reference being classical "
    "Runge-Kutta. Moves at regular sqrt(u - u(10)); 100 against 300, for lms and unipc 512 against 1,024, for pndm 128 "
    "against 1,024. `adaptive` with tolerances of 1, which divide no move. A stochastic sampler has no order."
)
MOMENTS = (
    "**Error of mean / covariance** of 4,000 drawn points (images of 200) against the mixture's own; the variances are "
    "0.33 and 0.15. 50 moves for orders of 2 and more, 80 for the others, where errors of first order are left; "
    "`adaptive` with a grid of 2. Sampling alone leaves 0.009 / 0.007 to stochastic samplers; the others start from "
    "latents of mean 0 and covariance 1."
)
ALONE = "**Largest change of an image** (float64, 6 moves) when it is drawn alone instead of among others."
TRIPS = (
    "**{dtype}: error of D at sigma_min / sigma_max**, in units of codes, when the exact denoiser is turned into a raw "
    "network output of that dtype and back. Over the whole range (33 levels) none is off by more than rounding of the "
    "output times c_out explains, plus a few units of float32 in what is added up. That is why a noise network's last "
    "digits show in D at high noise, c_out = -sigma, and no others'. The way down shrinks that with the noise: "
    "rounded to bfloat16 at every call, no prediction moves drawn codes by more than half a grey level (root mean "
    "square; heun in 18 moves, ddim in 50)."
)
AGREEMENT = (
    "**Agreement with diffusers**: largest distance of any image after any compared move, as a share of its length, on "
    "diffusers' own grids of 10 and of 25 moves, in float32, with the same noise and the exact denoiser."
)
ADAPTIVE = (
    "**What adaptive steps cost**: calls that an image needs by itself from sigma 80 to 0.002 (mean; range of 256) "
    "and its mean distance from the exact path. In a batch all images wait for the slowest one."
)


def agreement(pair: Pair) -> dict[str, str]:
    options = ", ".join(f"{key} {value}" for key, value in pair.options.items())
    chosen = ", ".join(f"{key} {value}" for key, value in pair.config.items() if key != "prediction_type")
    return {
        "ours": f"{pair.ours} ({options})" if options else pair.ours,
        "theirs": f"{pair.theirs} ({chosen})" if chosen else pair.theirs,
        "compared": pair.compared,
        "10 moves": f"{largest_difference(pair, 10):.0e}",
        "25 moves": f"{largest_difference(pair, 25):.0e}",
        "differs on purpose": pair.why,
    }


def adaptive() -> list[dict[str, str | float]]:
    x, noise, grid = start(256, 80.0), SeededNoise(range(256)), Karras().grid(2)

    def drawn(pair: str, tolerance: float) -> tuple[torch.Tensor, torch.Tensor]:
        sampler = parse(Adaptive, {"pair": pair, "relative": tolerance, "absolute": tolerance})
        last = list(integrate(D, x, grid, sampler, noise))[-1]
        assert last.calls is not None
        return last.x, last.calls

    exact, _ = drawn("dormand-prince", 1e-9)
    rows = []
    for pair in PAIRS:
        for tolerance in (1e-1, 1e-2, 1e-3, 1e-4):
            found, calls = drawn(pair, tolerance)
            cost = f"{calls.double().mean():.0f} ({int(calls.min())} to {int(calls.max())})"
            error = f"{float((found - exact).norm(dim=1).mean()):.0e}"
            rows.append({"pair": pair, "tolerance": f"{tolerance:g}", "calls": cost, "error": error})
    return rows


def main() -> None:
    asked = arguments(__doc__, devices=False).parse_args()
    torch.set_num_threads(1)
    checked = {
        ORDERS: orders(),
        MOMENTS: all_moments(),
        ALONE: dependences(),
        TRIPS.format(dtype="float32"): round_trips(torch.float32),
        TRIPS.format(dtype="bfloat16"): round_trips(torch.bfloat16),
    }
    parts = [part for title, found in checked.items() for part in (title, table(found.rows))]
    wrong = [entry for found in checked.values() for entry in found.wrong]
    parts += [AGREEMENT, table([agreement(pair) for pair in (*THE_SAME, *ON_PURPOSE)]), ADAPTIVE, table(adaptive())]
    parts.append(f"Not as they should be: {', '.join(wrong) or 'none'}. Tests check the same numbers on every change.")
    claim = "Samplers, schedules and predictions against an exact denoiser and against diffusers"
    machine = Machine.detect("cpu", "float32", 1)
    show("conformance", claim, parts, machine, asked.write, ["diffusers"])


if __name__ == "__main__":
    main()
