"""The bridge between uint8 and [-1, 1], and PNG."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mezzotint.errors import RunFailed
from mezzotint.pixels import from_pillow, read_png, to_images, to_pillow, to_pixels, write_png

ALL_LEVELS = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)


def test_every_level_survives_the_round_trip() -> None:
    assert torch.equal(to_pixels(to_images(ALL_LEVELS)), ALL_LEVELS)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_round_trip_in_other_float_types(dtype: torch.dtype) -> None:
    assert torch.equal(to_pixels(to_images(ALL_LEVELS).to(dtype)), ALL_LEVELS)


def test_images_are_float32_from_minus_one_to_one() -> None:
    images = to_images(ALL_LEVELS)
    assert (images.dtype, images.min().item(), images.max().item()) == (torch.float32, -1.0, 1.0)
    assert torch.allclose(images.flatten().diff(), torch.tensor(2 / 255), atol=1e-6)


def test_neither_direction_changes_its_input() -> None:
    pixels, images = ALL_LEVELS.clone(), to_images(ALL_LEVELS)
    before = images.clone()
    to_images(pixels)
    to_pixels(images)
    assert torch.equal(pixels, ALL_LEVELS)
    assert torch.equal(images, before)


@given(st.floats(width=32, allow_nan=False))
def test_rounds_to_the_nearest_level_and_saturates(value: float) -> None:
    level = int(to_pixels(torch.tensor([[[[value]]]])).item())
    exact = (value + 1) * 127.5
    assert level == 0 if exact <= 0 else level == 255 if exact >= 255 else abs(level - exact) <= 0.5 + 1e-4


def test_not_a_number_is_black() -> None:
    images = torch.tensor([float("nan"), float("inf"), -float("inf")]).view(1, 3, 1, 1)
    assert to_pixels(images).flatten().tolist() == [0, 255, 0]


@pytest.mark.parametrize("channels", [1, 3])
def test_png_and_pillow_round_trips(tmp_path: Path, channels: int) -> None:
    pixels = torch.randint(0, 256, (channels, 7, 5), dtype=torch.uint8)
    assert torch.equal(from_pillow(to_pillow(pixels)), pixels)
    path = tmp_path / "new" / "folder" / "picture.png"
    write_png(path, pixels)
    assert torch.equal(read_png(path), pixels)
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


def test_pillow_picture_has_the_right_size_and_mode() -> None:
    grey, coloured = (to_pillow(torch.zeros(c, 7, 5, dtype=torch.uint8)) for c in (1, 3))
    assert (grey.size, grey.mode, coloured.mode) == ((5, 7), "L", "RGB")


def test_a_failed_write_leaves_the_old_picture(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    good = torch.full((1, 2, 2), 7, dtype=torch.uint8)
    write_png(path, good)
    with pytest.raises(Exception):  # noqa: B017, PT011  (Pillow decides which)
        write_png(path, torch.zeros(5, 2, 2, dtype=torch.uint8))
    assert torch.equal(read_png(path), good)


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RunFailed, match=r"picture\.png: can't be written \(No space left on device\)"):
        write_png(tmp_path / "picture.png", torch.zeros(1, 2, 2, dtype=torch.uint8))
    assert list(tmp_path.iterdir()) == []
