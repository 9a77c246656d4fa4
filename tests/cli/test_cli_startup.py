"""A training starts quickly: what it doesn't need is not imported before its first update."""

import subprocess
import sys
from pathlib import Path

import pytest

import tiny

HEAVY = ("torch._dynamo", "torch._inductor", "torchvision", "datasets", "scipy", "sympy", "matplotlib")
SCRIPT = """
import sys
from pathlib import Path
import mezzotint.cli.main
from mezzotint.cli.training import follow
from mezzotint.runs.drive import drive
from mezzotint.runs.run import enter
folder, heavy, *words = sys.argv[1:]
with enter(Path(folder), None, *words[:1], words[1:]) as run:
    print(next(drive(run, run.loader())).kind)
print([name for name in heavy.split(",") if name in sys.modules])
"""


@pytest.mark.parametrize("classes", ["false", "true"])
def test_a_training_imports_nothing_heavy_before_its_first_update(
    shared_data: Path, tmp_path: Path, classes: str
) -> None:
    data = f"data.path={shared_data / 'data' / 'mnist_test.parquet'}"
    small = [word for word in tiny.OVERRIDES if not word.startswith("training.log_images")]
    words = ["mnist-edm", data, "data.image_size=8", "data.limit=100", *small, "training.log_images=32"]
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), ",".join(HEAVY), *words, "network.attention=[8]"]
    command += [f"family.class_conditional={classes}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["update", "[]"], done.stderr
