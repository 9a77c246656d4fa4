"""Counts over a whole pack, against numpy on the array it was made of."""

from pathlib import Path

import numpy as np

from mezzotint.exploration.contents import MOST_CLASS_MEANS, chunks, contents, some_rows
from packing import pack_of


def test_levels_classes_and_means_are_those_of_the_pictures(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (700, 16, 16, 3), dtype=np.uint8)
    labels = random.integers(0, 3, 700)
    found = contents(pack_of(pixels, tmp_path, labels))
    planes = pixels.transpose(0, 3, 1, 2)
    assert (found.levels == [np.bincount(planes[:, c].ravel(), minlength=256) for c in range(3)]).all()
    assert list(found.classes.values()) == np.bincount(labels).tolist()
    np.testing.assert_allclose(found.mean_image, planes.mean(0))
    np.testing.assert_allclose(found.class_means, [planes[labels == k].mean(0) for k in range(3)])


def test_many_classes_have_counts_but_no_means(tmp_path: Path) -> None:
    count = MOST_CLASS_MEANS + 1
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
    found = contents(pack_of(pixels, tmp_path, np.arange(count)))
    assert len(found.classes) == count
    assert found.class_means.shape == (0, 1, 8, 8)


def test_chunks_are_all_pictures_in_order_and_few_at_a_time(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 128, 128, 1), dtype=np.uint8)
    pack = pack_of(pixels, tmp_path)
    parts = list(chunks(pack, np.arange(300)))
    assert np.concatenate([rows for rows, _ in parts]).tolist() == list(range(300))
    assert max(part.numel() for _, part in parts) <= 2**22
    assert len(parts) > 1


def test_some_rows_are_the_same_for_a_seed_and_all_where_enough_are_asked(tmp_path: Path) -> None:
    pack = pack_of(np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), dtype=np.uint8), tmp_path)
    assert some_rows(pack, 80, 3).tolist() == list(range(50))
    assert some_rows(pack, 20, 3).tolist() == some_rows(pack, 20, 3).tolist() != some_rows(pack, 20, 4).tolist()
