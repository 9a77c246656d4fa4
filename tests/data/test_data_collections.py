"""Annotated collections and generic containers, written small from real or drawn pictures, and read back."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from layouts import as_folder, as_tar, as_zip, decoded, found, held, items, photographs
from mezzotint.data.sources.celeba import CelebA
from mezzotint.data.sources.ffhq import FFHQ
from mezzotint.data.sources.fgvc_aircraft import FGVCAircraft
from mezzotint.data.sources.flowers102 import Flowers102
from mezzotint.data.sources.hub import Hub
from mezzotint.data.sources.imagenet_64 import ImageNet64
from mezzotint.data.sources.lsun_bedroom import LSUNBedroom
from mezzotint.data.sources.npz import NPZ
from mezzotint.data.sources.webdataset import WebDataset
from mezzotint.errors import BadInput

WAYS = pytest.mark.parametrize("pack", [as_folder, as_zip, as_tar])


@pytest.fixture
def jpegs() -> list[bytes]:
    return photographs()


# --- Flowers and aircraft ---------------------------------------------------------------------------------------


@pytest.fixture
def flowers(tmp_path):
    from scipy.io import savemat

    savemat(tmp_path / "imagelabels.mat", {"labels": np.array([[77, 1, 102, 3]], np.uint8)})
    sets = {"trnid": np.array([[3, 1]], np.uint16), "valid": np.array([[2]], np.uint16), "tstid": np.array([[4]])}
    savemat(tmp_path / "setid.mat", sets)
    return tmp_path


@pytest.mark.parametrize("packed", [False, True])
def test_flowers_read_matlab_labels_and_splits(packed, flowers, jpegs):
    files = {f"jpg/image_{n:05}.jpg": content for n, content in enumerate(jpegs[:4], 1)}
    as_tar(flowers / "102flowers", files) if packed else as_folder(flowers, files)
    train = Flowers102().open(flowers, "train")
    assert [(item.label, held(item.content)) for item in items(train)] == [(76, jpegs[0]), (101, jpegs[2])]
    assert [Flowers102().open(flowers, split).count for split in ("validation", "test", "all")] == [1, 1, 4]
    assert (train.class_names[0], len(train.class_names)) == ("1", 102)


def test_flowers_say_what_is_wrong(flowers, jpegs):
    with pytest.raises(BadInput, match=r"holds no jpg/ and no 102flowers\.tgz"):
        Flowers102().open(flowers, "train")
    as_folder(flowers, {"jpg/image_00001.jpg": jpegs[0]})
    assert Flowers102().open(flowers, "train").provenance["annotations without a picture"].startswith("1 (")
    (flowers / "setid.mat").write_bytes(b"no matlab")
    with pytest.raises(BadInput, match=r"setid\.mat is no MATLAB file with a vector 'trnid'"):
        Flowers102().open(flowers, "train")


def aircraft(jpegs):
    texts = {
        "images_train.txt": "0000001\n",
        "variants.txt": "707-320\nA300B4\n",
        "families.txt": "Boeing 707\n",
        "images_variant_train.txt": "0000001 A300B4\n",
        "images_variant_val.txt": "0000002 707-320\n",
        "images_variant_test.txt": "0000003 707-320\n0000004 A300B4\n",
        "images_family_train.txt": "0000001 Boeing 707\n",
        "images_box.txt": "0000001 3 4 12 23\n0000002 1 1 5 5\n",
    }
    pictures = {f"data/images/000000{n}.jpg": content for n, content in enumerate(jpegs[:3], 1)}
    files = {**{f"data/{name}": text.encode() for name, text in texts.items()}, **pictures}
    return {f"fgvc-aircraft-2013b/{name}": content for name, content in files.items()}


@WAYS
def test_aircraft_lose_their_banner_and_keep_their_box(pack, tmp_path, jpegs):
    path = pack(tmp_path / "aircraft", aircraft(jpegs))
    (item,) = items(FGVCAircraft().open(path, "train"))
    whole = np.asarray(Image.open(io.BytesIO(jpegs[0])).convert("RGB"))
    assert isinstance(item.content, np.ndarray)
    assert np.array_equal(item.content, whole[:-20])
    assert (item.label, item.box) == (1, (2, 3, 10, 20))
    test = FGVCAircraft().open(path, "test")
    assert (test.count, test.provenance["annotations without a picture"]) == (1, "1 (0000004)")
    assert FGVCAircraft(labels="family").open(path, "train").class_names == ("Boeing 707",)


def test_aircraft_that_are_no_jpeg_are_left_to_be_counted(tmp_path, jpegs):
    files = {**aircraft(jpegs), "fgvc-aircraft-2013b/data/images/0000001.jpg": b"broken"}
    (item,) = items(FGVCAircraft().open(as_zip(tmp_path / "a", files), "train"))
    assert item.content == b"broken"


# --- Faces and rooms -------------------------------------------------------------------------------------------


@WAYS
def test_ffhq_splits_by_number(pack, tmp_path, jpegs):
    names = ["thumbs/00000/00007.png", "thumbs/59000/59999.png", "thumbs/60000/60000.png", "thumbs/LICENSE.txt"]
    path = pack(tmp_path / "ffhq", dict(zip(names, jpegs, strict=False)))
    assert found(FFHQ().open(path, "train")) == {names[0]: (None, jpegs[0]), names[1]: (None, jpegs[1])}
    for word in ("validation", "val"):
        assert found(FFHQ().open(path, word)) == {names[2]: (None, jpegs[2])}


@pytest.mark.parametrize("kind", ["txt", "csv"])
@pytest.mark.parametrize("packed", [False, True])
def test_celeba_lists_and_attributes(kind, packed, tmp_path, jpegs):
    names = [f"{n:06}.jpg" for n in (1, 2, 3)]
    pictures = {f"img_align_celeba/{name}": content for name, content in zip(names, jpegs, strict=False)}
    as_zip(tmp_path / "img_align_celeba", pictures) if packed else as_folder(tmp_path, pictures)
    lists = {
        "txt": (
            "000001.jpg 0\n000002.jpg 0\n000003.jpg 2\n",
            "3\nBald Smiling Young\n000001.jpg -1  1 -1\n000002.jpg -1 -1  1\n000003.jpg 1 1 1\n",
        ),
        "csv": (
            "image_id,partition\n000001.jpg,0\n000002.jpg,0\n000003.jpg,2\n",
            "image_id,Bald,Smiling,Young\n000001.jpg,-1,1,-1\n000002.jpg,-1,-1,1\n000003.jpg,1,1,1\n",
        ),
    }
    for stem, text in zip(("list_eval_partition", "list_attr_celeba"), lists[kind], strict=True):
        (tmp_path / f"{stem}.{kind}").write_text(text)
    train = CelebA(attribute="Smiling").open(tmp_path, "train")
    assert train.class_names == ("not Smiling", "Smiling")
    assert [(item.label, held(item.content)) for item in items(train)] == [(1, jpegs[0]), (0, jpegs[1])]
    test = CelebA().open(tmp_path, "test")
    assert [(item.label, held(item.content)) for item in items(test)] == [(None, jpegs[2])]
    with pytest.raises(BadInput, match="there is no 'Smilling'; did you mean Smiling"):
        CelebA(attribute="Smilling").open(tmp_path, "train")


@WAYS
def test_bedrooms_in_nested_folders(pack, tmp_path, jpegs):
    names = ["data0/lsun/bedroom/0/1/b.jpg", "data0/lsun/bedroom/0/0/a.jpg"]
    path = pack(tmp_path / "rooms", dict(zip(names, jpegs, strict=False)))
    assert found(LSUNBedroom().open(path, "train")) == {names[0]: (None, jpegs[0]), names[1]: (None, jpegs[1])}


def test_bedrooms_in_the_original_lmdb(tmp_path, jpegs):
    import lmdb  # pyright: ignore[reportMissingImports]

    for split, contents in (("train", jpegs[:3]), ("val", jpegs[3:4])):
        keys = [f"{7 * n + 1:040x}".encode() for n in range(len(contents))][::-1]
        with (
            lmdb.open(str(tmp_path / f"bedroom_{split}_lmdb"), map_size=1 << 24) as opened,
            opened.begin(write=True) as t,
        ):
            for key, content in zip(keys, contents, strict=True):
                t.put(key, content)
    train = LSUNBedroom().open(tmp_path, "train")
    assert [held(item.content) for item in items(train)] == [jpegs[2], jpegs[1], jpegs[0]]
    assert [item.name for item in items(train)] == sorted(item.name for item in items(train))
    assert [held(item.content) for item in items(LSUNBedroom().open(tmp_path, "all"), 1, 3)] == [jpegs[1], jpegs[3]]
    assert LSUNBedroom().open(tmp_path / "bedroom_val_lmdb", "train").count == 1
    (tmp_path / "bedroom_val_lmdb" / "data.mdb").write_bytes(b"x" * 9000)
    with pytest.raises(BadInput, match="is not a whole LMDB"):
        LSUNBedroom().open(tmp_path, "val")


def test_an_lmdb_without_its_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    as_folder(tmp_path, {"bedroom_train_lmdb/data.mdb": b""})
    with pytest.raises(BadInput, match=r"pip install 'mezzotint\[lmdb\]'"):
        LSUNBedroom().open(tmp_path, "train")


# --- Arrays ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_imagenet_batches_in_their_order(save, tmp_path):
    draw = np.random.default_rng(0)
    data = draw.integers(0, 256, (600, 12288), dtype=np.uint8)
    save(tmp_path / "train_data_batch_1.npz", data=data[:300], labels=np.arange(1, 301), mean=np.zeros(12288))
    save(tmp_path / "train_data_batch_10.npz", data=data[599:], labels=np.array([1000]))
    save(tmp_path / "train_data_batch_2.npz", data=data[300:599], labels=np.arange(301, 600))
    listing = ImageNet64().open(tmp_path, "train")
    chosen = items(listing, 0, 255, 256, 299, 300, 598, 599)
    assert [item.label for item in chosen] == [0, 255, 256, 299, 300, 598, 999]
    expected = data[[0, 255, 256, 299, 300, 598, 599]].reshape(-1, 3, 64, 64).transpose(0, 2, 3, 1)
    assert np.array_equal(decoded(listing, 0, 255, 256, 299, 300, 598, 599), expected)
    with pytest.raises(BadInput, match=r"holds no val_data\*\.npz"):
        ImageNet64().open(tmp_path, "validation")


def test_npz_shapes_names_and_splits(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 9), dtype=np.uint8)
    file = tmp_path / "own.npz"
    np.savez(file, x_train=pixels, y_train=np.array([[7], [3], [7], [9]]), x_test=pixels[:1, 0])
    train, test = NPZ().open(file, "train"), NPZ().open(file, "test")
    assert (train.class_names, [item.label for item in items(train)]) == (("3", "7", "9"), [1, 0, 1, 2])
    assert np.array_equal(decoded(train, 2)[0], pixels[2].transpose(1, 2, 0))
    assert (test.count, test.class_names, decoded(test).shape) == (1, (), (1, 8, 9))
    assert NPZ(labelled=False).open(file, "train").class_names == ()
    assert NPZ(image="x_test", labelled=False).open(file, "train").count == 1
    with pytest.raises(BadInput, match="no split 'val' here"):
        NPZ().open(file, "val")
    with pytest.raises(BadInput, match="no array 'x_tran'; did you mean x_train"):
        NPZ(image="x_tran").open(file, "train")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((2, 8, 8))}, "is float64 \\[2, 8, 8\\], must be uint8"),
        ({"images": np.array([{}], dtype=object)}, "pickled objects: refused"),
        ({"images": np.zeros((2, 8, 8), np.uint8), "labels": np.zeros(3, int)}, "must hold 2 whole numbers"),
        ({"other": np.zeros((2, 8, 8), np.uint8)}, "no array of pictures; its arrays: \\['other'\\]"),
    ],
)
def test_npz_says_what_is_wrong(arrays, message, tmp_path):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(BadInput, match=message):
        NPZ().open(tmp_path / "bad.npz", "train")


def test_a_damaged_npz_is_told(tmp_path):
    (tmp_path / "page.npz").write_bytes(b"<html>")
    with pytest.raises(BadInput, match="is not a whole .npz file"):
        NPZ().open(tmp_path / "page.npz", "train")


# --- Shards and the hub ----------------------------------------------------------------------------------------


def test_webdataset_samples_across_shards(tmp_path, jpegs):
    first = {"a/1.jpg": jpegs[0], "a/1.cls": b"3\n", "a/2.cls": b"1", "a/2.jpg": jpegs[1], "a/3.cls": b"9"}
    second = {"b/1.json": json.dumps({"label": 1, "caption": "x"}).encode(), "b/1.png": jpegs[2], "b/2.jpg": jpegs[3]}
    as_tar(tmp_path / "train-0", first, "w")
    as_tar(tmp_path / "train-1", second)
    as_tar(tmp_path / "test-0", {"c/1.jpg": jpegs[4], "c/1.cls": b"cat"})
    listing = WebDataset().open(tmp_path, "train")
    assert listing.class_names == ("1", "3")
    assert [item.label for item in items(listing)] == [1, 0, 0, None]
    assert [item.content for item in items(listing, 1, 2, 3)] == jpegs[1:4]
    assert WebDataset().open(tmp_path / "te*.tgz", "train").class_names == ("cat",)
    assert WebDataset(labelled=False).open(tmp_path, "train").class_names == ()
    with pytest.raises(BadInput, match="no split 'val'"):
        WebDataset().open(tmp_path, "val")


def test_webdataset_says_what_is_wrong(tmp_path, jpegs):
    with pytest.raises(BadInput, match=r"holds no \*\.tar files"):
        WebDataset().open(tmp_path, "train")
    with pytest.raises(BadInput, match="is no JSON object"):
        WebDataset().open(as_tar(tmp_path / "bad", {"1.jpg": jpegs[0], "1.json": b"["}), "train")
    with pytest.raises(BadInput, match="holds no samples"):
        WebDataset().open(as_tar(tmp_path / "none", {"1.txt": b""}), "train")


def test_hub_layout_on_disk_is_read_through_datasets(tmp_path, jpegs):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])})
    for split, rows in (("train", [0, 1, 2]), ("test", [3])):
        photos = [{"bytes": jpegs[row], "path": None} for row in rows]
        table = datasets.Dataset.from_dict({"photo": photos, "kind": [row % 2 for row in rows]}, features=features)
        table.to_parquet(tmp_path / "set" / "data" / f"{split}-00000-of-00001.parquet")
    listing = Hub().open(tmp_path / "set", "train")
    assert (listing.count, listing.class_names) == (3, ("cat", "dog"))
    assert [(item.label, item.content) for item in items(listing, 0, 2)] == [(0, jpegs[0]), (0, jpegs[2])]
    assert Hub(labelled=False).open(tmp_path / "set", "all").count == 4
    for options, split, message in (
        ({}, "val", "no split 'val'"),
        ({"image": "phto"}, "train", "no column 'phto'; did you mean photo"),
        ({"label": "photo"}, "train", "is Image, must be ClassLabel"),
        ({"dataset": str(tmp_path / "nothing")}, "train", "can't be loaded"),
    ):
        with pytest.raises(BadInput, match=message):
            Hub.model_validate(options).open(tmp_path / "set", split)
    with pytest.raises(BadInput, match=r"data\.source\.dataset: is not set"):
        Hub().open(None, "train")
