"""Originals: sizes from headers, a look at some, and which of them a pack's pictures are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint.data.pack import Pack
from mezzotint.data.prepare import DataOptions, prepare
from mezzotint.data.sources import Item
from mezzotint.exploration.originals import originals, rows_of, shown, size_of
from mezzotint.options import parse

SIZES = {"a.png": (40, 20), "b.png": (30, 30), "c.png": (12, 60), "e.png": (24, 16)}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Four pictures of one colour each, and a broken one among them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, (name, size) in enumerate(SIZES.items()):
        Image.new("RGB", size, (60 * number, 0, 100)).save(folder / name)
    (folder / "d.png").write_bytes(b"nothing")
    return folder


def prepared(pictures: Path, **options: object) -> Pack:
    tree = {"source": "folder", "path": pictures, "image_size": 8, **options}
    *_, pack = prepare(parse(DataOptions, tree), pictures.parent / "pack")
    assert isinstance(pack, Pack)
    return pack


def test_sizes_and_which_original_each_picture_is(pictures: Path) -> None:
    pack = prepared(pictures)
    found = originals(pack)
    assert found is not None
    assert dict(zip(found.names, map(tuple, found.sizes.tolist()), strict=True)) == SIZES
    assert found.ratios.tolist() == [2.0, 1.0, 0.2, 1.5]
    assert found.enlarged(20) == 0.5
    rows = rows_of(found, pack)
    assert rows is not None
    colours = shown(found, rows)[:, 0, 30, 30].tolist()  # the middle of each, red
    assert colours == pack.pixels(np.arange(4))[:, 0, 4, 4].tolist() == [0, 60, 120, 180]


def test_originals_are_shown_whole_on_white(pictures: Path) -> None:
    found = originals(prepared(pictures))
    assert found is not None
    sheet = shown(found, np.array([2, 0]), most=30)  # 12 x 60, then 40 x 20, each to fit 30 x 30
    assert sheet.shape == (2, 3, 30, 30)
    inside = (sheet != 255).any(1)
    assert [int(part.any(0).sum()) for part in inside] == [6, 30]
    assert [int(part.any(1).sum()) for part in inside] == [30, 15]


def test_a_choice_of_pictures_is_not_matched(pictures: Path) -> None:
    pack = prepared(pictures, limit=3)
    found = originals(pack)
    assert found is not None
    assert len(found.sizes) == 4
    assert rows_of(found, pack) is None


def test_originals_that_have_moved_or_changed_are_not_shown(pictures: Path) -> None:
    pack = prepared(pictures)
    Image.new("RGB", (9, 9)).save(pictures / "f.png")
    assert originals(pack) is None
    pictures.rename(pictures.with_name("elsewhere"))
    assert originals(pack) is None


def test_a_turned_photograph_has_the_size_it_is_seen_at(tmp_path: Path) -> None:
    picture, exif = Image.new("RGB", (40, 20)), Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert size_of(Item("turned.jpg", None, tmp_path / "turned.jpg")) == (20, 40)
    assert size_of(Item("turned.jpg", None, (tmp_path / "turned.jpg").read_bytes())) == (20, 40)
    assert size_of(Item("array", None, np.zeros((5, 7, 3), np.uint8))) == (7, 5)
    assert size_of(Item("broken", None, b"nothing")) is None
    assert size_of(Item("missing", None, tmp_path / "missing.png")) is None


def test_what_cannot_be_decoded_stays_white(pictures: Path) -> None:
    found = originals(prepared(pictures))
    assert found is not None
    data = (pictures / "a.png").read_bytes()
    (pictures / "a.png").write_bytes(data[: len(data) // 2])
    sheet = shown(found, np.arange(2))
    assert (sheet[0] == 255).all()
    assert (sheet[1] != 255).any()
    assert sheet.dtype == torch.uint8
