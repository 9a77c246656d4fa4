"""Precision, recall, density, coverage and KID: seconds and peak memory, against torch-fidelity and prdc.

python benchmarks/metrics_speed.py [--rounds 3] [--write]           10,000 images: metrics_speed.md
python benchmarks/metrics_speed.py --count 50000 [--write]          ours alone: metrics_memory.md
"""

import json
import resource
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch
from pages import arguments, show, table
from prdc import compute_prdc
from torch import Tensor
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from mezzotint.evaluation.metrics.kid import KID
from mezzotint.evaluation.metrics.prdc import PRDC
from mezzotint.evaluation.statistics import FeatureSet
from mezzotint.machine import Machine

DIMENSION = 2048
MOST_OF_PEERS = 10_000
"""Images with which the peers are measured, too: with more, some hold matrices that don't fit into memory."""

MOST_GIB = 4
"""Resident memory that ours must do with, the features of both sides included."""

MEASURED = {"wall clock": "seconds", "processor": "processor_seconds"}
Values = dict[str, float]


def features(count: int, seed: int) -> Tensor:
    """Draw float32 [N, 2048] with a decaying spectrum, as Inception's have, the same for everybody."""
    axes = torch.randn(DIMENSION, DIMENSION, generator=torch.Generator().manual_seed(0)) / DIMENSION**0.5
    scale = torch.linspace(0, 4, DIMENSION).neg().exp()
    return (torch.randn(count, DIMENSION, generator=torch.Generator().manual_seed(seed)) * scale) @ axes


def feature_set(matrix: Tensor) -> FeatureSet:
    return FeatureSet(matrix, None, None, np.arange(len(matrix), dtype=np.uint64))


def ours_prdc(x: Tensor, y: Tensor) -> Values:
    return {name: value.value for name, value in PRDC()(feature_set(x), feature_set(y), None).items()}


def ours_kid(x: Tensor, y: Tensor) -> Values:
    return {name: value.value for name, value in KID()(feature_set(x), feature_set(y), None).items()}


def torch_fidelity_prc(x: Tensor, y: Tensor) -> Values:
    found = prc_features_to_metric(x, y, save_cpu_ram=False, verbose=False)
    return {name: found[name] for name in ("precision", "recall")}


def torch_fidelity_kid(x: Tensor, y: Tensor) -> Values:
    found = kid_features_to_metric(x, y, kid_subsets=100, kid_subset_size=1000, verbose=False)
    return {"kid": found["kernel_inception_distance_mean"]}


def prdc(x: Tensor, y: Tensor) -> Values:
    found = compute_prdc(y.numpy(), x.numpy(), 5)
    return {f"{name}{' (k=5)' * (name in ('precision', 'recall'))}": float(value) for name, value in found.items()}


WAYS: dict[str, Callable[[Tensor, Tensor], Values]] = {
    "mezzotint prdc": ours_prdc,
    "torch-fidelity prc": torch_fidelity_prc,
    "prdc": prdc,
    "mezzotint kid": ours_kid,
    "torch-fidelity kid": torch_fidelity_kid,
}


def measure(way: str, count: int) -> None:
    """Measure one way in this process and print it as JSON."""
    x, y = features(count, 1), features(count, 2)
    WAYS[way](x[:1500], y[:1500])
    wall, busy = time.perf_counter(), time.process_time()
    values = WAYS[way](x, y)
    took = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - busy}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({**took, "peak_gib": peak / 2**30, "values": values}))


def measured(way: str, count: int) -> dict:
    """Measure one way in a process of its own, whose peak memory is therefore its own."""
    command = [sys.executable, __file__, "--one", way, "--count", str(count)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def faster(found: Sequence[dict], peers: Sequence[Sequence[dict]], clock: str) -> str | None:
    """How many times as long each peer took: medians of the ratios within a round."""
    ratios = [median(b[clock] / a[clock] for a, b in zip(found, peer, strict=True)) for peer in peers]
    return ", ".join(f"{ratio:.1f}" for ratio in ratios) or None


def row(way: str, found: Sequence[dict], peers: Sequence[Sequence[dict]]) -> dict[str, str | float | None]:
    """One line of the table: medians over the rounds."""
    return {
        "": way,
        "wall-clock seconds": median(run["seconds"] for run in found),
        "processor seconds": median(run["processor_seconds"] for run in found),
        "peak GiB, features included": max(run["peak_gib"] for run in found),
        **{f"times faster ({name})": faster(found, peers, clock) for name, clock in MEASURED.items() if peers},
        "values": ", ".join(f"{name} {value:.4g}" for name, value in found[0]["values"].items()),
    }


def check(found: dict[str, list[dict]], count: int) -> None:
    """End with SystemExit where ours took too much memory or isn't torch-fidelity's within two images."""
    peak = max(run["peak_gib"] for way, runs in found.items() if way.startswith("mezzotint") for run in runs)
    if peak > MOST_GIB:
        raise SystemExit(f"ours took {peak:.2f} GiB, more than {MOST_GIB}")
    ours = found["mezzotint prdc"][0]["values"]
    for name, value in found.get("torch-fidelity prc", [{"values": {}}])[0]["values"].items():
        if abs(ours[name] - value) * count > 2:
            raise SystemExit(f"{name} is {ours[name]} here and {value} by torch-fidelity: more than two images apart")


def report(asked: Namespace) -> None:
    """Measure every way in turns and show the table."""
    alone = asked.count > MOST_OF_PEERS
    ways = [way for way in WAYS if way.startswith("mezzotint") or not alone]
    rounds = [{way: measured(way, asked.count) for way in ways} for _ in range(asked.rounds)]
    found = {way: [done[way] for done in rounds] for way in ways}
    check(found, asked.count)
    peers = {"mezzotint prdc": ("torch-fidelity prc", "prdc"), "mezzotint kid": ("torch-fidelity kid",)}
    rows = [row(way, found[way], [found[p] for p in peers.get(way, ()) if p in found]) for way in ways]
    claim = f"Precision, recall, density, coverage and KID without an N x N matrix: {asked.count:,} x {DIMENSION}"
    order = "Times faster: than torch-fidelity, which finds two of the four values, and than prdc; than torch-fidelity."
    turns = (
        f"Medians of {asked.rounds} rounds, in each of which every way ran in its own process; the largest peak, "
        f"which for ours must be within {MOST_GIB} GiB."
    )
    said, name = (turns, "metrics_memory") if alone else (f"{turns} {order}", "metrics_speed")
    peers_used = [] if alone else ["torch-fidelity", "prdc", "scikit-learn"]
    show(name, claim, [table(rows), said], Machine.detect("cpu"), asked.write, peers_used)


def main() -> None:
    parser = arguments(__doc__, devices=False)
    parser.add_argument("--count", type=int, default=10_000, help="images on either side; above 10,000 without peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help="measure one way in this process")
    asked = parser.parse_args()
    measure(asked.one, asked.count) if asked.one else report(asked)


if __name__ == "__main__":
    main()
