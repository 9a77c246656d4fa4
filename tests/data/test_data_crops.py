"""Which part of a picture is used, by which filter, and which pictures: crops, boxes, subsets, equal pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mezzotint.data.crops import CROPS, Box, Crop, RandomResized, Region
from mezzotint.data.decode import Decoded, Decoder, Filter
from mezzotint.data.loading import Loader, divide
from mezzotint.data.pack import Origin, Pack
from mezzotint.data.prepare import DataOptions, ensure_pack, prepare
from mezzotint.data.sources import Item
from mezzotint.data.writing import PackWriter
from mezzotint.errors import BadInput
from mezzotint.options import parse

NOISE = np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype=np.uint8)


def options(**tree) -> DataOptions:
    return parse(DataOptions, tree)


def item(box=None, name="x", content=NOISE) -> Item:
    return Item(name, None, content, box)


def edges(region: Region) -> tuple[float, ...]:
    return region.left, region.top, region.right, region.bottom


def decoded(crop: Crop, found: Item, size: int = 16, method: Filter = "lanczos") -> Decoded:
    result = Decoder(size, crop, method, grey=False, num_classes=0)(found)
    assert isinstance(result, Decoded), result
    return result


# --- Boxes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        ((10, 10, 16, 16), 0.0, (10, 10, 26, 26)),
        ((10, 12, 16, 8), 0.0, (10, 8, 26, 24)),  # squared about its centre
        ((20, 10, 16, 16), 0.25, (16, 6, 40, 30)),  # a quarter on every side
        ((0, 0, 16, 8), 0.0, (0, 0, 16, 16)),  # moved inside
        ((50, 30, 10, 10), 0.5, (40, 20, 60, 40)),
        ((0, 0, 60, 40), 1.0, (10, 0, 50, 40)),  # no larger than the picture
    ],
)
def test_boxes_are_squared_widened_and_moved_inside(box, margin, expected):
    region = Box(margin=margin).region(60, 40, item(box))
    assert edges(region) == pytest.approx(expected)
    assert region.notes == ()


def test_what_is_in_the_box_is_what_comes_out():
    result = decoded(Box(), item((20, 8, 16, 16)))
    np.testing.assert_array_equal(result.pixels, NOISE[8:24, 20:36].transpose(2, 0, 1))


@pytest.mark.parametrize("box", [(-5, 10, 15, 10), (50, 30, 30, 30), (0, -1, 60, 42)])
def test_boxes_that_reach_outside_are_clamped_and_noted(box):
    region = Box().region(60, 40, item(box))
    assert region.notes == ("box clamped to the picture",)
    left, top, right, bottom = edges(region)
    assert 0 <= left < right <= 60
    assert 0 <= top < bottom <= 40
    assert right - left == pytest.approx(bottom - top)


@pytest.mark.parametrize("box", [None, (70, 10, 5, 5), (10, 10, 0, 5), (10, 10, -3, 5), (float("nan"), 0, 5, 5)])
def test_pictures_without_a_usable_box_are_centred_and_noted(box):
    region = Box().region(60, 40, item(box))
    assert edges(region) == (10, 0, 50, 40)
    assert len(region.notes) == 1
    assert region.notes[0].endswith("centred")


def test_a_box_too_small_for_the_size_is_skipped_as_tiny():
    result = Decoder(32, Box(), "lanczos", False, 0)(item((10, 10, 4, 4)))
    assert not isinstance(result, Decoded)
    assert (result.reason, result.detail) == ("tiny", "4 of 60x40 pixels, for 32")


# --- Random parts, filters ---------------------------------------------------------------------------------------


def test_random_parts_repeat_by_name_and_fit():
    crop = RandomResized(scale=(0.2, 0.9), ratio=(0.5, 2.0))
    regions = [crop.region(60, 40, item(name=f"picture {n}")) for n in range(200)]
    assert regions == [crop.region(60, 40, item(name=f"picture {n}")) for n in range(200)]
    assert regions != [crop.but(seed=1).region(60, 40, item(name=f"picture {n}")) for n in range(200)]
    sides = np.array([(r.right - r.left, r.bottom - r.top) for r in regions])
    assert all(0 <= r.left < r.right <= 60 and 0 <= r.top < r.bottom <= 40 for r in regions)
    area, ratio = sides.prod(1) / (60 * 40), sides[:, 0] / sides[:, 1]
    assert area.min() < 0.3
    assert area.max() <= 0.9 + 1e-9
    assert ratio.min() == pytest.approx(0.5, abs=0.05)
    assert ratio.max() == pytest.approx(2.0, abs=0.05)
    assert len({round(r.left + r.top, 3) for r in regions}) > 150


def test_the_whole_picture_is_a_random_part_of_scale_one():
    region = RandomResized(scale=(1, 1)).region(40, 40, item())
    assert edges(region) == pytest.approx((0, 0, 40, 40))


@pytest.mark.parametrize("kind", list(CROPS))
@pytest.mark.parametrize("method", ["lanczos", "bicubic", "box", "area"])
def test_every_crop_by_every_filter_keeps_a_flat_picture_flat(kind: str, method: Filter):
    flat = np.full((40, 60, 3), (10, 200, 90), np.uint8)
    pixels = decoded(CROPS[kind](), item((10, 10, 20, 20), content=flat), method=method).pixels
    assert (pixels == np.array([10, 200, 90])[:, None, None]).all()


def test_area_averages_on_reduction_and_interpolates_on_enlargement():
    small, big = CROPS["center"](), NOISE[:40, :40]
    means = big.reshape(20, 2, 20, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    reduced = decoded(small, item(content=big), size=20, method="area").pixels
    assert np.abs(reduced - means).max() <= 1  # rounded twice: along rows, then along columns
    ramp = np.tile(np.arange(0, 160, 10, dtype=np.uint8), (16, 1))
    assert len(np.unique(decoded(small, item(content=ramp), size=32, method="area").pixels)) > 16
    assert len(np.unique(decoded(small, item(content=ramp), size=32, method="box").pixels)) == 16


# --- Whole packs -------------------------------------------------------------------------------------------------


def test_pack_says_which_crop_and_counts_what_had_no_box(tmp_path):
    for place in range(3):
        Image.fromarray(NOISE[:, place : place + 40]).save(tmp_path / f"{place}.png")
    tree = {"source": "folder", "path": str(tmp_path), "image_size": 16, "filter": "area"}
    info = ensure_pack(options(**tree, crop={"kind": "box", "margin": 0.1})).info
    assert (info.crop, info.filter) == ("box (margin 0.1)", "area")
    assert info.notes == {"no box: centred": 3}
    assert info.mean == ensure_pack(options(**tree)).info.mean
    assert ensure_pack(options(**tree)).info.crop == "center"
    random = ensure_pack(options(**tree, crop="random-resized"))
    assert random.content_hash != ensure_pack(options(**tree)).content_hash
    *_, again = prepare(options(**tree, crop="random-resized"), tmp_path / "again")
    assert isinstance(again, Pack)
    assert again.content_hash == random.content_hash


@pytest.mark.parametrize("tree", [{"crop": {"kind": "box", "margin": -1}}, {"crop": "boxes"}, {"filter": "nearest"}])
def test_wrong_crops(tree):
    with pytest.raises(BadInput, match=next(iter(tree))):
        options(**tree)


# --- Subsets -----------------------------------------------------------------------------------------------------


def rows(pack: Pack) -> set[bytes]:
    return {row.numpy().tobytes() for row in pack.pixels(np.arange(len(pack)))}


def labels(pack: Pack) -> list[int]:
    found = pack.labels(np.arange(len(pack)))
    assert found is not None
    return found.tolist()


def test_classes_by_name_and_number_are_numbered_anew():
    everything = ensure_pack(options(image_size=8))
    threes, sevens = (labels(everything).count(digit) for digit in (3, 7))
    for classes in (["7", "3"], [3, 7], ["3", 7]):
        pack = ensure_pack(options(image_size=8, classes=classes))
        assert pack.class_names == ("3", "7")
        assert (labels(pack).count(0), labels(pack).count(1)) == (threes, sevens)
        assert pack.info.offered == len(pack) == threes + sevens
    assert rows(pack) < rows(everything)
    few = ensure_pack(options(image_size=8, classes=[3], limit=10))
    assert (len(few), set(labels(few))) == (10, {0})


def test_fraction_and_seed():
    tenth, fifth, other = (
        ensure_pack(options(image_size=8, fraction=part, subset_seed=seed))
        for part, seed in [(0.1, 0), (0.2, 0), (0.1, 1)]
    )
    assert (len(tenth), len(fifth), len(other)) == (144, 287, 144)
    assert rows(tenth) < rows(fifth)
    assert rows(tenth) != rows(other)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"classes": ["tree"]}, r"data\.classes: there is no class 'tree'; .*0.*9"),
        ({"classes": [10]}, r"data\.classes: there is no class number 10, only 0 to 9"),
        ({"classes": [-1]}, r"no class number -1"),
        ({"limit": 3, "fraction": 0.5}, r"limit=3 and fraction=0\.5 both say how many"),
        ({"fraction": 1.5}, r"fraction"),
    ],
)
def test_wrong_subsets(tree, message):
    with pytest.raises(BadInput, match=message):
        ensure_pack(options(image_size=8, **tree))


def test_misspelt_classes_hear_of_the_nearest_and_unlabelled_pictures_have_none(tmp_path):
    for name in ("robin", "sparrow"):
        (tmp_path / name).mkdir()
        Image.fromarray(NOISE).save(tmp_path / name / "x.png")
    tree = {"source": "folder", "path": str(tmp_path), "image_size": 16}
    with pytest.raises(BadInput, match=r"no class 'robbin'; .*robin"):
        ensure_pack(options(**tree, classes=["robbin"]))
    with pytest.raises(BadInput, match="the pictures have no classes"):
        ensure_pack(options(source={"kind": "folder", "labelled": False}, path=str(tmp_path), classes=["robin"]))
    with pytest.raises(BadInput, match=r"data\.classes: .* used whole"):
        ensure_pack(options(pack=str(ensure_pack(options(**tree)).path), image_size=16, classes=["robin"]))


def test_packs_that_use_no_new_option_keep_their_names():
    wanted = options(image_size=8)
    assert ensure_pack(wanted).path == ensure_pack(wanted.but(classes=(), crop=CROPS["center"]())).path
    assert ensure_pack(wanted).path != ensure_pack(wanted.but(subset_seed=1)).path


# --- Equal pictures ----------------------------------------------------------------------------------------------


def written(path: Path, places: list[int]) -> Pack:
    """A pack whose n-th picture is all of the grey level places[n]."""
    path.mkdir()
    donor = ensure_pack(options(image_size=8, limit=5)).info
    with PackWriter(path, 8, None) as writer:
        for level in places:
            writer.add(np.full((1, 8, 8), level, np.uint8), 0)
        kept = {name: getattr(donor, name) for name in Origin.model_fields}
        writer.finish(Origin(**kept | {"class_names": ("all",), "offered": len(places)}))
    return Pack.open(path)


def test_equal_pictures_are_found_and_never_divided(tmp_path):
    levels = [n // 2 if n < 120 else n for n in range(200)]  # sixty pairs, eighty alone
    pack = written(tmp_path / "pairs", levels)
    assert pack.info.duplicates == tuple((n, n + 1) for n in range(0, 120, 2))
    held_out, trained = divide(pack, 0.2)
    assert len(held_out) == 40
    assert sorted([*held_out, *trained]) == list(range(200))
    assert not {levels[n] for n in held_out} & {levels[n] for n in trained}
    assert {levels[n] for n in held_out if n < 120}
    loader = Loader(pack, seed=0, held_out=0.2)
    np.testing.assert_array_equal(loader.held_out_indices, held_out)


def test_large_groups_are_trained_on_and_only_equal_pictures_cant_be_divided(tmp_path):
    crowd = written(tmp_path / "crowd", [0] * 90 + list(range(1, 11)))
    held_out, trained = divide(crowd, 0.05)
    assert len(held_out) == 5
    assert min(held_out) >= 90
    assert len(trained) == 95
    with pytest.raises(BadInput, match=r"too many pictures are equal to hold 2 out; set data\.held_out=0"):
        divide(written(tmp_path / "same", [7] * 20), 0.1)
    assert len(divide(Pack.open(tmp_path / "same"), 0)[1]) == 20


def test_coloured_packs_find_grey_equals_from_before_they_were_widened(tmp_path):
    for name, colour in (("0", (9, 9, 9)), ("1", (200, 0, 0)), ("2", (9, 9, 9))):
        Image.new("RGB", (16, 16), colour).save(tmp_path / f"{name}.png")
    pack = ensure_pack(options(source="folder", path=str(tmp_path), image_size=16))
    assert (pack.channels, pack.info.duplicates) == (3, ((0, 2),))


def test_packs_of_earlier_versions_are_divided_as_before(tmp_path):
    pack = written(tmp_path / "old", [n // 2 for n in range(100)])
    file = pack.path / "pack.json"
    file.write_text(pack.info.model_dump_json(exclude={"duplicates"}))
    old = Pack.open(pack.path)
    assert old.info.duplicates is None
    assert len(divide(old, 0.1)[0]) == 10
