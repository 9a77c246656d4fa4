"""Preparing and reading cats and dogs at 64 px against datasets + torchvision; memory of reading and augmenting.

python benchmarks/data_speed.py [--rounds 3] [--write]
"""

import json
import os
import re
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pages import arguments, show, table
from pictures import shared
from torch import Tensor

from mezzotint.augment import AUGMENTATIONS
from mezzotint.data.loading import Loader
from mezzotint.data.pack import Pack
from mezzotint.data.prepare import DataOptions, prepare
from mezzotint.machine import Machine
from mezzotint.options import parse
from mezzotint.pixels import to_images

SIZE, BATCH = 64, 128
WORKERS = 2 * (os.cpu_count() or 1)
TIMES = 20  # how much larger the second pack is
_READ_SECONDS = 3.0
_TOUCHED = 400  # batches read before memory is looked at
MIB = 2**20


def photographs() -> Path:
    """Return the Parquet file that is measured with, or stop."""
    path = shared() / "data" / "cats_dogs_128.parquet"
    if not path.is_file():
        raise SystemExit(f"{path}: is not there; set MEZZOTINT_TEST_DATA to the folder of development data")
    return path


# --- Ours --------------------------------------------------------------------------------------------------------


def packed(path: Path, folder: Path, **changes: object) -> Pack:
    """Prepare a file, or a folder of some, as `mezzotint data prepare` does."""
    tree = {"source": "parquet", "path": path, "image_size": SIZE, "channels": 3, "split": "all", **changes}
    return next(record for record in prepare(parse(DataOptions, tree), folder) if isinstance(record, Pack))


def our_preparation(folder: Path) -> float:
    """Images per second of a whole preparation, hashing and writing included; imports before, as theirs are."""
    packed(photographs(), folder / "first", limit=8)
    started = time.perf_counter()
    pack = packed(photographs(), folder / "pack")
    return len(pack) / (time.perf_counter() - started)


def our_reading(folder: Path) -> float:
    """Images per second of float images in [-1, 1] on the device, as training asks for them."""
    machine = Machine.detect()
    loader = Loader(packed(photographs(), folder / "pack"), seed=0)
    batches = (to_images(loader.chunk(k * BATCH, BATCH)[0].to(machine.device)) for k in range(1 << 30))
    return _per_second(batches)


def _per_second(batches: Iterator[Tensor]) -> float:
    """Images per second of an iterator of batches, after the first twenty of them."""
    for _ in range(20):
        next(batches)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < _READ_SECONDS:
        count += len(next(batches))
    return count / (time.perf_counter() - started)


# --- datasets and torchvision ------------------------------------------------------------------------------------


def _their_batches(folder: Path, floats: bool, filter_name: str) -> Callable[[], float]:
    """Return a pass over their DataLoader: images per second from the first request to the last batch.

    The first pass starts the workers, later ones find them running. The Arrow tables are made before.
    """
    from datasets import load_dataset  # noqa: PLC0415  (only the peer needs it)
    from torch.utils.data import DataLoader  # noqa: PLC0415
    from torchvision.transforms import v2  # noqa: PLC0415

    last = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)] if floats else []
    resize = v2.Resize(SIZE, v2.InterpolationMode(filter_name), antialias=True)
    steps = v2.Compose([v2.RGB(), resize, v2.CenterCrop(SIZE), v2.PILToTensor(), *last])
    rows = load_dataset("parquet", data_files=str(photographs()), split="train", cache_dir=str(folder))
    prepared = rows.with_transform(lambda found: {"images": [steps(picture) for picture in found["image"]]})
    loader = DataLoader(prepared, BATCH, shuffle=floats, num_workers=WORKERS, persistent_workers=True)  # type: ignore[arg-type]
    device = Machine.detect().device

    def once() -> float:
        started, count = time.perf_counter(), 0
        for batch in loader:
            count += len(batch["images"].to(device) if floats else batch["images"])
        return count / (time.perf_counter() - started)

    return once


def their_preparation(folder: Path) -> float:
    """Images per second of uint8 batches resized by torchvision's default filter, written nowhere."""
    return _their_batches(folder, floats=False, filter_name="bilinear")()


def their_preparation_like_ours(folder: Path) -> float:
    """Images per second of the same, resized by the filter that ours uses."""
    return _their_batches(folder, floats=False, filter_name="lanczos")()


def their_reading(folder: Path) -> float:
    """Images per second of shuffled float batches on the device, workers running already."""
    once = _their_batches(folder, floats=True, filter_name="bilinear")
    once()
    return once()


# --- Memory ------------------------------------------------------------------------------------------------------


def _anonymous() -> int:
    """Bytes of this process that are backed by no file: what the kernel can't drop."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    if found is None:
        raise SystemExit("RssAnon: this kernel doesn't tell")
    return 1024 * int(found[1])


def reading_memory(pack: Path) -> float:
    """MiB of anonymous memory at the end of many batches from everywhere in a pack."""
    loader = Loader(Pack.open(pack), seed=0)
    for k in range(_TOUCHED):
        to_images(loader.chunk(k * 7919 * BATCH, BATCH)[0])
    return _anonymous() / MIB


def sized_packs(folder: Path) -> list[Path]:
    """Prepare the file once, and as a folder of TIMES such files, every picture cropped at another place."""
    (folder / "many").mkdir()
    for number in range(TIMES):
        (folder / "many" / f"part-{number:02}.parquet").symlink_to(photographs())
    crop = {"kind": "random-resized", "scale": [0.3, 0.9]}
    sources = {"one": photographs(), "twenty": folder / "many"}
    return [packed(path, folder / name, crop=crop).path for name, path in sources.items()]


def augmenting_memory(name: str, device: torch.device) -> float:
    """MiB that an augmentation needs at its peak, beside the batch it is given; its result included."""
    images, step = torch.rand(BATCH, 3, SIZE, SIZE, device=device) * 2 - 1, AUGMENTATIONS[name]()
    step(images)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(images)
        return (torch.cuda.max_memory_allocated() - before) / MIB
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        kept = step(images)
    del kept
    return _peak(profile) / MIB


def _peak(profile: torch.profiler.profile) -> int:
    """The most bytes that were allocated at once, from the allocator's own record."""
    results: Any = profile.profiler  # its record of the allocator has no public name
    events = results.kineto_results.events()
    changes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    held, most = 0, 0
    for _, change in sorted(changes, key=lambda entry: entry[0]):
        held += change
        most = max(most, held)
    return most


# --- The page ----------------------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[Path], float]] = {
    "prepare": our_preparation,
    "prepare, theirs, Lanczos": their_preparation_like_ours,
    "prepare, theirs, bilinear": their_preparation,
    "read": our_reading,
    "read, theirs": their_reading,
}
COMPARED = {
    "preparation, both Lanczos": ("prepare", "prepare, theirs, Lanczos"),
    "preparation, theirs bilinear (their default)": ("prepare", "prepare, theirs, bilinear"),
    "training reads": ("read", "read, theirs"),
}


def alone(*words: str) -> float:
    """Measure something in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--one", *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(words: Sequence[str]) -> float:
    """Measure one thing in this process: the speed of a way, or the memory of reading a pack."""
    if words[0] == "memory":
        return reading_memory(Path(words[1]))
    with TemporaryDirectory() as folder:
        return WAYS[words[1]](Path(folder))


def speeds(rounds: int) -> list[dict[str, str | float]]:
    """Measure all ways in turns; medians, and of the ratios within a round."""
    taken = [{way: alone("speed", way) for way in WAYS} for _ in range(rounds)]
    return [
        {
            "": what,
            "mezzotint, images/s": median(found[ours] for found in taken),
            "datasets + torchvision, images/s": median(found[theirs] for found in taken),
            "times as fast": median(found[ours] / found[theirs] for found in taken),
        }
        for what, (ours, theirs) in COMPARED.items()
    ]


def sizes() -> list[dict[str, str | float | int]]:
    """Measure anonymous memory while packs of two sizes are read."""
    with TemporaryDirectory() as folder:
        packs = sized_packs(Path(folder))
        return [
            {
                "pack": f"{len(Pack.open(path)):,} pictures",
                "pack, MiB": (path / "pixels.bin").stat().st_size / MIB,
                "anonymous memory, MiB": alone("memory", str(path)),
            }
            for path in packs
        ]


def augmentations(machine: Machine) -> list[dict[str, str | float]]:
    """Measure every registered augmentation."""
    batch = BATCH * 3 * SIZE * SIZE * 4 / MIB
    found = {name: augmenting_memory(name, machine.device) for name in AUGMENTATIONS}
    return [{"augmentation": name, "peak, MiB": peak, "in batches": peak / batch} for name, peak in found.items()]


def report(asked: Namespace) -> None:
    """Measure everything and show the tables."""
    machine = Machine.detect()
    fast, read, augmented = speeds(asked.rounds), sizes(), augmentations(machine)
    small, large = (float(row["anonymous memory, MiB"]) for row in read)
    said = [
        f"Cats and dogs (128 px JPEG in Parquet) to {SIZE} px. Ours: decode, center crop, Lanczos, hash, write, by "
        "threads of one process, imports before. "
        f"Theirs: decode, resize (antialiased), center crop by a DataLoader of {WORKERS} "
        "workers, one pass with the start of the workers, Arrow tables made before, nothing written. "
        f"Reads: batches of {BATCH} float images on {machine.device}; ours from the pack, theirs decode each time, "
        f"workers running. Medians of {asked.rounds} rounds, every number in a process of its own.",
        table(fast),
        f"Anonymous memory (RssAnon) of a process after {_TOUCHED} batches from everywhere in a pack: "
        f"{large - small:+.1f} MiB for {TIMES} times the pictures.",
        table(read),
        f"Memory of an augmentation at its peak beside the batch it is given ({BATCH} x 3 x {SIZE} x {SIZE} float32, "
        f"{BATCH * 3 * SIZE * SIZE * 4 / MIB:g} MiB), its result included, as the allocator counts it.",
        table(augmented),
    ]
    claim = "Preparing and reading a data set beside datasets + torchvision, and the memory of reading and augmenting"
    show("data_speed", claim, said, machine, asked.write, ["datasets", "torchvision", "pillow"])


def main() -> None:
    parser = arguments(__doc__, devices=False)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, help="measure one thing in this process")
    asked = parser.parse_args()
    print(json.dumps(measure(asked.one))) if asked.one else report(asked)


if __name__ == "__main__":
    main()
