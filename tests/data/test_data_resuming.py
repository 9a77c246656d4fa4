"""Preparations that are killed, interrupted, doubled or run out of disk; pictures that two packs share."""

import errno
import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mezzotint.cli.main import app
from mezzotint.data import building, writing
from mezzotint.data.building import Progress
from mezzotint.data.crops import Center
from mezzotint.data.decode import Decoder, Skipped
from mezzotint.data.overlap import overlap
from mezzotint.data.pack import Pack
from mezzotint.data.prepare import DataOptions, ensure_pack, prepare
from mezzotint.data.sources import Item
from mezzotint.data.writing import Journal, PackWriter, journal
from mezzotint.errors import BadInput, RunFailed
from mezzotint.options import parse

COUNT, FIRST_COLOUR, BROKEN = 1600, 700, (30, 900, 901)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen hundred pictures of two classes: grey at first, coloured from some place on, a few broken."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for number in range(COUNT):
        shape = (9, 9) if number < FIRST_COLOUR else (9, 9, 3)
        encoded = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8)).save(encoded, "PNG")
        file = folder / ("ab"[number % 2]) / f"{number:04}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"broken" if number in BROKEN else encoded.getvalue())
    return folder


def options(path: Path, **more: object) -> DataOptions:
    return parse(DataOptions, {"source": "folder", "path": str(path), "image_size": 8, **more})


def last(records: Iterator[Progress | Pack]) -> Pack:
    *_, pack = records
    assert isinstance(pack, Pack)
    return pack


def going(path: Path, destination: Path, groups: int) -> subprocess.Popen[bytes]:
    """A process that prepares, journaling every group, and stays after so many of them."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from mezzotint.data import building\n"
        "from mezzotint.data.prepare import DataOptions, prepare\n"
        "from mezzotint.options import parse\n"
        "building._JOURNAL_SECONDS = 0\n"
        "options = parse(DataOptions, {'source': 'folder', 'path': sys.argv[1], 'image_size': 8})\n"
        "for group, _ in enumerate(prepare(options, Path(sys.argv[2])), 1):\n"
        "    if group == int(sys.argv[3]):\n"
        "        print('going', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path), str(destination), str(groups)], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"going\n"
    return child


def killed(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGKILL)
    child.communicate()


@pytest.mark.parametrize("groups", [1, 5])
def test_a_killed_preparation_goes_on_and_ends_as_one_that_was_not(groups: int, pictures: Path, tmp_path: Path) -> None:
    whole = last(prepare(options(pictures), tmp_path / "whole"))
    child = going(pictures, tmp_path / "pack", groups)
    with pytest.raises(BadInput, match="another process is preparing it now; wait for it to end"):
        next(prepare(options(pictures), tmp_path / "pack"))
    killed(child)
    assert not (tmp_path / "pack").exists()
    if groups == 1:  # as if it had been killed in the second group, just as it was widening grey to colour
        (tmp_path / ".part-pack" / "pixels-3.bin").write_bytes(b"half")
    first, *_, pack = prepare(options(pictures), tmp_path / "pack")
    assert isinstance(first, Progress)
    assert first.done == (groups + 1) * 256  # what was journaled is not made again
    assert isinstance(pack, Pack)
    assert pack.info == whole.info
    assert pack.verify() == []
    assert sorted(file.name for file in pack.path.iterdir()) == ["labels.npy", "pack.json", "pixels.bin"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["pack", "whole"]
    assert pack.info.skipped == {"not an image": len(BROKEN)}


def test_what_is_left_of_another_preparation_is_not_gone_on_with(pictures: Path, tmp_path: Path) -> None:
    killed(going(pictures, tmp_path / "pack", 3))
    other = last(prepare(options(pictures, filter="box", crop="none"), tmp_path / "pack"))
    assert other.info == last(prepare(options(pictures, filter="box", crop="none"), tmp_path / "whole")).info


@pytest.mark.parametrize("damage", ["journal.json", "labels.part", "pixels-3.bin"])
def test_a_damaged_remainder_is_begun_anew(damage: str, pictures: Path, tmp_path: Path) -> None:
    killed(going(pictures, tmp_path / "pack", 2))
    (tmp_path / ".part-pack" / damage).write_bytes(b"{")
    first, *_, pack = prepare(options(pictures), tmp_path / "pack")
    assert isinstance(first, Progress)
    assert first.done == 256
    assert isinstance(pack, Pack)
    assert pack.info == last(prepare(options(pictures), tmp_path / "whole")).info


def test_an_interrupted_preparation_keeps_what_was_journaled(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_JOURNAL_SECONDS", 0)
    records = prepare(options(pictures), tmp_path / "pack")
    assert [type(next(records)) for _ in range(2)] == [Progress, Progress]
    records.close()  # type: ignore[attr-defined]
    assert (tmp_path / ".part-pack" / "journal.json").is_file()
    assert next(prepare(options(pictures), tmp_path / "pack")).done == 3 * 256  # type: ignore[union-attr]


@pytest.mark.parametrize("place", ["picture", "journal", "statistics"])
def test_a_full_disk_leaves_nothing_wherever_it_fills(
    place: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(building, "_JOURNAL_SECONDS", 0)
    owner, name = {
        "picture": (PackWriter, "_widen"),
        "journal": (writing, "_append"),
        "statistics": (writing, "_block_hashes"),
    }[place]
    monkeypatch.setattr(owner, name, full)
    with pytest.raises(RunFailed, match=r"can't be written \(No space left on device\)") as told:
        list(prepare(options(pictures), tmp_path / "pack"))
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_that_need_one_pack_make_it_once(pictures: Path) -> None:
    script = (
        "import sys\n"
        "from mezzotint.data.prepare import DataOptions, ensure_pack\n"
        "from mezzotint.options import parse\n"
        "seen = []\n"
        "options = parse(DataOptions, {'source': 'folder', 'path': sys.argv[1], 'image_size': 8})\n"
        "print(ensure_pack(options, seen.append).content_hash, len(seen))\n"
    )
    command = [sys.executable, "-c", script, str(pictures)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    hashes, made = zip(*(child.communicate(timeout=60)[0].split() for child in children), strict=True)
    assert hashes[0] == hashes[1]
    assert sorted(map(int, made))[0] == 0  # one of them only waited
    assert max(map(int, made)) == -(-COUNT // 256)


def test_a_journal_is_of_one_pack_only(tmp_path: Path) -> None:
    assert journal(tmp_path, "key", 8) == Journal(key="key")
    with PackWriter(tmp_path, 8, None) as writer:
        writer.add(np.zeros((1, 8, 8), np.uint8), None)
        writer.mark(Journal(key="key", done=3))
    assert journal(tmp_path, "key", 8) == Journal(key="key", done=3, count=1, channels=1)
    assert journal(tmp_path, "other", 8) == Journal(key="other")
    assert list(tmp_path.iterdir()) == []


# --- Pictures in two packs ---------------------------------------------------------------------------------------


def test_pictures_that_two_packs_share_are_counted(pictures: Path, tmp_path: Path) -> None:
    grey = [pictures / "a" / f"{n:04}.png" for n in (2, 4, 6)]
    colour = [pictures / "a" / f"{n:04}.png" for n in (800, 802)]
    for name, files in {"train": [*grey, *colour], "test": [grey[1], grey[2]], "other": colour[:1]}.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / f"copy of {file.name}").write_bytes(file.read_bytes())
    packs = {
        name: last(prepare(options(tmp_path / name), tmp_path / f"{name}-pack")) for name in ("train", "test", "other")
    }
    assert (packs["train"].channels, packs["test"].channels) == (3, 1)
    shared = overlap(packs["train"], packs["test"])
    assert (shared.ours.tolist(), shared.theirs.tolist()) == ([1, 2], [0, 1])
    assert not overlap(packs["test"], packs["other"])
    verify = ["data", "verify", str(packs["train"].path), "--against"]
    leak = CliRunner().invoke(app, [*verify, str(packs["test"].path)])
    assert leak.exit_code == 1
    assert "2 of its 5 pictures are 2 of the 2 of" in " ".join(leak.output.split())
    clean = CliRunner().invoke(app, ["data", "verify", str(packs["test"].path), "--against", str(packs["other"].path)])
    assert clean.exit_code == 0
    assert "shares no picture with the 1 of" in " ".join(clean.output.split())


def test_packs_made_in_other_ways_are_not_compared(tmp_path: Path) -> None:
    small = ensure_pack(parse(DataOptions, {"image_size": 8, "limit": 5}))
    large = ensure_pack(parse(DataOptions, {"image_size": 16, "limit": 5}))
    with pytest.raises(BadInput, match=r"has image_size 16, .* has 8; prepare both alike"):
        overlap(small, large)


def test_labels_outside_the_classes_are_counted_and_named() -> None:
    decoder = Decoder(8, Center(), "lanczos", False, num_classes=3)
    for label in (3, -1, None):
        result = decoder(Item("x", label, np.zeros((8, 8), np.uint8)))
        assert isinstance(result, Skipped)
        assert (result.reason, result.detail) == ("no class", f"its label {label} is none of 3 classes")
