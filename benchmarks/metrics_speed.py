"""Precision, recall, density, coverage and KID: seconds and peak memory, against torch-fidelity and prdc."""

import json
import resource
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
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


def row(way: str, found: Sequence[dict], peers: Sequence[Sequence[dict]]) -> dict[str, str | float | None]:
    def middle(runs: Sequence[dict], name: str) -> float:
        return median(run[name] for run in runs)

    ratios = [middle(peer, "processor_seconds") / middle(found, "processor_seconds") for peer in peers]
    return {
        "": way,
        "seconds": middle(found, "seconds"),
        "processor seconds": middle(found, "processor_seconds"),
        "peak GiB, features included": middle(found, "peak_gib"),
        "times faster (processor)": ", ".join(f"{ratio:.1f}" for ratio in ratios) or None,
        "values": ", ".join(f"{name} {value:.4g}" for name, value in found[0]["values"].items()),
    }


def report(asked: Namespace) -> None:
    ways = [way for way in WAYS if asked.count <= 10_000 or way.startswith("mezzotint")]
    rounds = [{way: measured(way, asked.count) for way in ways} for _ in range(asked.rounds)]
    found = {way: [done[way] for done in rounds] for way in ways}
    peers = {"mezzotint prdc": ("torch-fidelity prc", "prdc"), "mezzotint kid": ("torch-fidelity kid",)}
    rows = [row(way, found[way], [found[p] for p in peers.get(way, ()) if p in found]) for way in ways]
    claim = f"Precision, recall, density, coverage and KID without an N x N matrix: {asked.count:,} x {DIMENSION}"
    order = "Times faster: than torch-fidelity, which finds two of the four values, and than prdc; than torch-fidelity."
    machine = Machine.detect("cpu")
    show("metrics_speed", claim, [table(rows), order], machine, asked.write, ["torch-fidelity", "prdc", "scikit-learn"])


def main() -> None:
    parser: ArgumentParser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="images on either side; peers up to 10,000 only")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help="measure one way in this process")
    asked = parser.parse_args()
    measure(asked.one, asked.count) if asked.one else report(asked)


if __name__ == "__main__":
    main()
