"""Sheets: where each picture lands, enlargement, white between."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mezzotint.generation.grid import grid, visible_scale


@given(
    st.integers(1, 11), st.sampled_from([1, 3]), st.integers(1, 5), st.integers(1, 5),
    st.none() | st.integers(1, 6), st.integers(0, 3), st.integers(1, 3),
)  # fmt: skip
def test_every_picture_is_at_its_place(n: int, c: int, h: int, w: int, columns: int | None, gap: int, k: int) -> None:
    pixels = torch.randint(0, 256, (n, c, h, w), dtype=torch.uint8)
    sheet = grid(pixels, columns, gap, k)
    across = (sheet.shape[2] - gap) // (w * k + gap)
    assert sheet.dtype == torch.uint8
    for i in range(n):
        top, left = gap + i // across * (h * k + gap), gap + i % across * (w * k + gap)
        cell = sheet[:, top : top + h * k, left : left + w * k]
        assert torch.equal(cell[:, ::k, ::k], pixels[i])
        assert torch.equal(cell[:, k - 1 :: k, k - 1 :: k], pixels[i])


def test_everything_else_is_white() -> None:
    sheet = grid(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), columns=3, gap=2, scale=1)
    assert sheet.shape == (1, 2 + 2 * 10, 2 + 3 * 10)
    assert set(sheet.unique().tolist()) == {0, 255}
    assert int((sheet == 0).sum()) == 5 * 64
    assert bool((sheet[:, 12:, 22:] == 255).all())  # the sixth cell is empty


@pytest.mark.parametrize(("side", "scale"), [(1, 8), (8, 6), (16, 3), (28, 2), (32, 2), (48, 1), (64, 1), (256, 1)])
def test_small_pictures_are_enlarged(side: int, scale: int) -> None:
    assert visible_scale(side, side) == scale
    assert grid(torch.zeros(1, 1, side, side, dtype=torch.uint8), gap=0).shape == (1, side * scale, side * scale)


def test_square_by_default_and_never_wider_than_its_pictures() -> None:
    nine, two = torch.zeros(9, 3, 48, 48, dtype=torch.uint8), torch.zeros(2, 3, 48, 48, dtype=torch.uint8)
    assert grid(nine, gap=0).shape == (3, 144, 144)
    assert grid(two, columns=10, gap=0).shape == (3, 48, 96)


def test_no_pictures() -> None:
    with pytest.raises(ValueError, match="at least one"):
        grid(torch.zeros(0, 1, 8, 8, dtype=torch.uint8))
