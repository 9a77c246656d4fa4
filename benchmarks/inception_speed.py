"""Inception features on a CPU in float32: our extractor against torch-fidelity's and pytorch-fid's.

    python benchmarks/inception_speed.py [--images 2000] [--rounds 3] [--write]

All three get the same seeded random weights (speed doesn't depend on them) and the same real pixels, in turns within
one run; ratios are medians over the rounds. It ends with an error where the numbers differ. `--write` renews
inception_speed.md.
"""

import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pyarrow.parquet
import torch
from pages import Row, arguments, show, table
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from mezzotint.evaluation.extractors.fused import FusedConv
from mezzotint.evaluation.extractors.inception import AT_ONCE, Inception
from mezzotint.evaluation.metrics.frechet import frechet_distance
from mezzotint.evaluation.statistics import Moments
from mezzotint.evaluation.weights import file_sha256
from mezzotint.machine import Machine
from mezzotint.pixels import from_pillow

ROOT = Path(__file__).resolve().parents[1]
CLAIM = "Inception features in float32 on a CPU: torch-fidelity's numbers, at least 2.5 times as fast"
AGREEMENT = 1e-4
"""Relative: of features and of the Frechet distance."""

OURS, FIDELITY, PYTORCH_FID = "mezzotint", "torch-fidelity", "pytorch-fid"
Extract = Callable[[Tensor], Tensor]


def random_weights(folder: Path) -> Path:
    """Seeded weights in torch-fidelity's format that keep features their size through the layers."""
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with patch.object(FeatureExtractorInceptionV3, "load_state_dict"):  # its constructor insists on loading
        state = FeatureExtractorInceptionV3("i", ["2048"], feature_extractor_weights_path=empty).state_dict()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in state.items():
        if tensor.ndim > 1:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    torch.save(state, folder / "random.pth")
    return folder / "random.pth"


def contestants(weights: Path) -> dict[str, tuple[int, Extract]]:
    """Name to default batch size and function from pixels to features."""
    ours = Inception(weights=weights, sha256=file_sha256(weights)).load(None, torch.device("cpu"))
    fidelity = FeatureExtractorInceptionV3("i", ["2048"], feature_extractor_weights_path=str(weights))
    found: dict[str, tuple[int, Extract]] = {
        OURS: (ours.batch_size, lambda pixels: ours.features(pixels).features),
        FIDELITY: (64, lambda pixels: fidelity(pixels)[0]),
    }
    try:
        from pytorch_fid import inception  # noqa: PLC0415  (optional)
    except ImportError:
        print("pytorch-fid isn't installed: pip install --no-deps pytorch-fid", file=sys.stderr)
        return found
    with patch.object(inception, "load_state_dict_from_url", return_value=torch.load(weights, weights_only=True)):
        other = inception.InceptionV3([3]).eval()
    return found | {PYTORCH_FID: (50, lambda pixels: other(pixels / 255)[0].flatten(1))}


def read_images(path: Path, count: int) -> Tensor:
    rows = next(pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=count, columns=["image"])).to_pylist()
    return torch.stack([from_pillow(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")) for row in rows])


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    began = clock()
    work()
    return clock() - began


def in_batches(extract: Extract, pixels: Tensor, size: int) -> Tensor:
    with torch.inference_mode():
        return torch.cat([extract(part) for part in pixels.split(size)])


def peak_flops(clock: Callable[[], float]) -> float:
    """The most operations per second that one float32 convolution of a friendly shape reaches here, of a few."""
    best = 0.0
    for channels, side in ((256, 16), (384, 8), (512, 16)):
        conv = FusedConv.of(torch.nn.Conv2d(channels, channels, 3, padding=1))
        x = torch.randn(8, channels, side, side).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            conv(x)
            fastest = min(seconds(lambda conv=conv, x=x: conv(x), clock) for _ in range(20))
        best = max(best, 2 * 9 * channels**2 * x[:, 0].numel() / fastest)
    return best


def flops_per_image(weights: Path) -> int:
    peer = FeatureExtractorInceptionV3("i", ["2048"], feature_extractor_weights_path=str(weights))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        peer(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    return counter.get_total_flops()


def rates(
    sides: dict[str, tuple[int, Extract]], pixels: Tensor, rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Images per second of every contestant in every round; before each, the round's peak in operations per second."""
    found: dict[str, list[float]] = {name: [] for name in ("peak", *sides)}
    for done in range(rounds + 1):
        measured = {"peak": peak_flops(clock)}
        for name, (size, extract) in sides.items():
            measured[name] = len(pixels) / seconds(lambda e=extract, n=size: in_batches(e, pixels, n), clock)
        if done:  # the first round warms up
            for name, value in measured.items():
                found[name].append(value)
    return found


def agreement(sides: dict[str, tuple[int, Extract]], pixels: Tensor) -> str:
    """Say how far our features and Frechet distance are from torch-fidelity's, by its own code; SystemExit if far.

    The second half of the images is darkened: the distance between the halves is then more than noise.
    """
    clear, dark = pixels.chunk(2)
    both = torch.cat([clear, dark // 2])
    ours, theirs = (in_batches(sides[name][1], both, sides[name][0]) for name in (OURS, FIDELITY))
    features = ((ours - theirs).norm() / theirs.norm()).item()
    first, _ = frechet_distance(*(Moments.of(half) for half in ours.split(len(clear))))
    fits = [fid_features_to_statistics(half) for half in theirs.split(len(clear))]
    second = fid_statistics_to_metric(*fits, verbose=False)[KEY_METRIC_FID]
    distance = abs(first / second - 1)
    found = (
        f"On {len(both):,} images our features differ from torch-fidelity's by {features:.1e} of their norm, the "
        f"Frechet distance between halves, one darkened, by {distance:.1e} ({first:.6g} and {second:.6g})."
    )
    if not max(features, distance) < AGREEMENT:
        raise SystemExit(f"no agreement within {AGREEMENT:g}: {found}")
    return found


def rows(sides: dict[str, tuple[int, Extract]], found: dict[str, list[float]], flops: int) -> list[Row]:
    """One row for each contestant: medians over the rounds, ratios and shares taken within a round."""
    lines: list[Row] = []
    for name, (size, _) in sides.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(found[OURS], found[name], strict=True))
        share = statistics.median(rate * flops / peak for rate, peak in zip(found[name], found["peak"], strict=True))
        rate = statistics.median(found[name])
        peak = {"share of the convolution peak": f"{share:.0%}"}
        lines.append({"extractor": name, "batch": size, "images/s": rate, "ours is faster by": f"{ratio:.2f}x"} | peak)
    return lines


def main() -> None:
    parser = arguments(__doc__, devices=False)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data/cifar10_jpeg_test.parquet")
    parser.add_argument("--images", type=int, default=2000, help="images for the agreement of numbers")
    parser.add_argument("--timed", type=int, default=128, help="images in one turn")
    parser.add_argument("--rounds", type=int, default=3, help="in each of which every side has its turn")
    parser.add_argument("--cpu-time", action="store_true", help="count this process's seconds: for a machine in use")
    words = parser.parse_args()
    clock = time.process_time if words.cpu_time else time.perf_counter
    machine = Machine.detect("cpu").prepare()
    pixels = read_images(words.data, max(words.images, words.timed))
    with tempfile.TemporaryDirectory() as folder:
        weights = random_weights(Path(folder))
        sides, flops = contestants(weights), flops_per_image(weights)
        small = {f"{name}, batch {AT_ONCE}": (AT_ONCE, sides[name][1]) for name in sides if name != OURS}
        found = rates(sides | small, pixels[: words.timed], words.rounds, clock)
        agreed = agreement(sides, pixels[: words.images])
    peak = (
        f"One image is {flops / 1e9:.1f} GFLOP. The peak is the fastest of a few 3x3 convolutions of friendly shapes, "
        f"measured in every round: {statistics.median(found['peak']) / 1e9:.0f} GFLOP/s. Every contestant runs at its "
        f"default batch size, of which each thread of ours takes {AT_ONCE} images at a time; the peers' lines with "
        f"that batch show what it alone is worth. Medians of {words.rounds} rounds after one to warm up."
    )
    parts = [table(rows(sides | small, found, flops)), agreed, peak]
    show("inception_speed", CLAIM, parts, machine, words.write, ["torch-fidelity", "pytorch-fid"])


if __name__ == "__main__":
    main()
