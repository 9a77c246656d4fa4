"""A pack refuses to open when changed, can be moved, and its loader computes every position."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint import seeds
from mezzotint.data import pack as packs
from mezzotint.data import writing
from mezzotint.data.loading import Loader, divide, iterate
from mezzotint.data.pack import Pack
from mezzotint.data.prepare import DataOptions, prepare
from mezzotint.errors import BadInput


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Pack:
    *_, pack = prepare(DataOptions(image_size=16, limit=101), tmp_path_factory.mktemp("packs") / "digits")
    assert isinstance(pack, Pack)
    return pack


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copytree(made.path, tmp_path / "copy"))


def flip_byte(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def test_moved_pack_is_the_same(made, copy):
    moved = Pack.open(copy)
    assert moved.content_hash == made.content_hash
    assert moved.verify() == []
    everything = np.arange(101)
    assert torch.equal(moved.pixels(everything), made.pixels(everything))
    raw = np.memmap(copy / "pixels.bin", "uint8", "r", shape=(101, 1, 16, 16))
    np.testing.assert_array_equal(raw, made.pixels(everything))


def test_pixels_and_labels_types(made):
    pixels, labels = made.pixels(np.array([5, 0])), made.labels(np.array([5, 0]))
    assert (pixels.dtype, pixels.shape, labels.dtype) == (torch.uint8, (2, 1, 16, 16), torch.int64)
    with pytest.raises(IndexError):
        made.pixels(np.array([101]))


@pytest.mark.parametrize(("file", "place"), [("pixels.bin", 12345), ("labels.npy", -3)])
def test_a_changed_byte_is_refused_and_verified(copy, file, place):
    flip_byte(copy / file, place)
    with pytest.raises(BadInput, match=rf"{file} has changed.*prepare it again"):
        Pack.open(copy)
    (problem,) = Pack.open(copy, check=False).verify()
    assert problem.startswith(f"{file} has changed")


def test_a_change_between_sampled_blocks_is_found_by_verify(copy, monkeypatch):
    monkeypatch.setattr("mezzotint.data.writing._BLOCK_BYTES", 1024)
    monkeypatch.setattr(packs, "_SAMPLED_BLOCKS", 3)
    *_, pack = prepare(DataOptions(image_size=16, limit=101), copy.parent / "fine")
    assert isinstance(pack, Pack)
    assert packs._sampled(26) == [0, 12, 25]
    flip_byte(pack.path / "pixels.bin", 5 * 1024 + 7)
    assert Pack.open(pack.path).verify() == ["pixels.bin has changed (bytes 5120 to 6144)"]
    flip_byte(pack.path / "pixels.bin", 12 * 1024)
    with pytest.raises(BadInput, match="bytes 12288 to 13312"):
        Pack.open(pack.path)


def test_truncated_missing_and_foreign_folders(copy, tmp_path):
    (copy / "pixels.bin").write_bytes((copy / "pixels.bin").read_bytes()[:-1])
    with pytest.raises(BadInput, match=r"pixels\.bin holds 25855 bytes, must hold 25856"):
        Pack.open(copy)
    (copy / "pixels.bin").unlink()
    with pytest.raises(BadInput, match="holds 0 bytes"):
        Pack.open(copy)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="is no pack"):
        Pack.open(tmp_path / "empty")
    with pytest.raises(BadInput, match="did you mean copy"):
        Pack.open(tmp_path / "cpy")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="is a file"):
        Pack.open(tmp_path / "file")


@pytest.mark.parametrize("change", [{"count": "many"}, {"format": "mezzotint pack 2"}, {"extra": 1}, {"channels": 2}])
def test_damaged_description(copy, change):
    text = json.loads((copy / "pack.json").read_text())
    (copy / "pack.json").write_text(json.dumps({**text, **change}))
    with pytest.raises(BadInput, match=next(iter(change))):
        Pack.open(copy)


def test_a_pickle_for_labels_is_refused(copy):
    np.save(copy / "labels.npy", np.array([{}] * 101, dtype=object), allow_pickle=True)
    with pytest.raises(BadInput, match=r"labels\.npy is missing or damaged"):
        Pack.open(copy)


def test_hash_list_and_content_must_agree(copy):
    text = json.loads((copy / "pack.json").read_text())
    (copy / "pack.json").write_text(json.dumps({**text, "content_hash": "0" * 64}))
    with pytest.raises(BadInput, match=r"pack\.json has changed"):
        Pack.open(copy)


# --- Loading --------------------------------------------------------------------------------------------------


def test_held_out_is_fixed_disjoint_and_never_trained_on(made):
    loader, other = Loader(made, seed=1, held_out=0.1), Loader(made, seed=2, held_out=0.1)
    np.testing.assert_array_equal(loader.held_out_indices, other.held_out_indices)
    assert (len(loader.held_out_indices), len(loader)) == (10, 91)
    both = np.concatenate([loader.held_out_indices, loader.train_indices])
    np.testing.assert_array_equal(np.sort(both), np.arange(101))
    assert len(loader.held_out(4)[0]) == 4
    assert len(loader.held_out(99)[0]) == 10
    assert [len(part) for part in divide(made, 0.0)] == [0, 101]
    assert len(divide(made, 1e-9)[0]) == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9), position=st.integers(0, 1000), length=st.integers(1, 200), cut=st.integers(0, 200))
def test_any_position_is_computed_without_those_before(made, seed, position, length, cut):
    loader, cut = Loader(made, seed, held_out=0.1), min(cut, length)
    whole, labels = loader.chunk(position, length)
    parts = [loader.chunk(position, cut)] if cut else []
    parts += [loader.chunk(position + cut, length - cut)] if cut < length else []
    assert torch.equal(whole, torch.cat([pixels for pixels, _ in parts]))
    assert labels is not None
    assert len(labels) == length


@pytest.mark.parametrize("epoch", [0, 3])
def test_each_epoch_holds_every_training_picture_once(made, epoch):
    loader = Loader(made, seed=5)
    pixels, _ = loader.chunk(epoch * len(loader), len(loader))
    expected = made.pixels(loader.train_indices)
    assert sorted(p.numpy().tobytes() for p in pixels) == sorted(p.numpy().tobytes() for p in expected)
    assert not torch.equal(pixels, loader.chunk((epoch + 1) * len(loader), len(loader))[0])


def test_iterate_keeps_the_order_of_its_indices(made):
    batches = [pixels for pixels, _ in iterate(made, 25, np.arange(101))]
    assert [len(batch) for batch in batches] == [25, 25, 25, 25, 1]
    assert torch.equal(torch.cat(batches), made.pixels(np.arange(101)))
    held_out, _ = divide(made, 0.1)
    (only,) = [pixels for pixels, _ in iterate(made, 50, held_out)]
    assert torch.equal(only, made.pixels(held_out))


# --- Memory ------------------------------------------------------------------------------------------------------


def test_labels_are_mapped_and_orders_kept_in_few_bytes(made):
    assert made._labels is not None
    assert isinstance(made._labels.base, np.memmap)
    labels = made.labels(np.array([0]))
    labels[0] = 77  # a copy: the file stays as it is
    assert made.verify() == []
    assert (seeds._order(1000, 0, 0).itemsize, seeds._order(70_000, 0, 0).itemsize) == (2, 4)
    assert seeds.shuffled(1000, 0, 0, 5).dtype == np.int64


def test_statistics_and_hashes_do_not_depend_on_the_parts_they_are_made_in(made, monkeypatch):
    file = made.path / "pixels.bin"
    pixels = made.pixels(np.arange(101)).numpy()[:, 0] / 255
    monkeypatch.setattr(writing, "_READ_BYTES", 1000)  # three pictures; the last part is shorter
    assert len(writing._parts(file, 256)) == 34
    mean, std = writing._statistics(file, 1, 256)
    assert (mean, std) == (made.info.mean, made.info.std)
    assert np.allclose([*mean, *std], [pixels.mean(), pixels.std()], atol=1e-12)
    assert writing._block_hashes(file) == made.info.block_hashes
