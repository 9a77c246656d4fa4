"""Original layouts, written small and exact from real pictures (drawn ones without development data), and read back."""

import gzip
import io
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest
from PIL import Image

from layouts import Files, as_folder, as_tar, as_zip, decoded, found, held, items, photographs
from mezzotint.data.sources import SOURCES
from mezzotint.data.sources.archives import members
from mezzotint.data.sources.batches import Refused, read_batch
from mezzotint.data.sources.caltech_birds import CaltechBirds
from mezzotint.data.sources.cats_dogs import CatsDogs
from mezzotint.data.sources.cifar10 import CIFAR10
from mezzotint.data.sources.ffhq import FFHQ
from mezzotint.data.sources.mnist import MNIST
from mezzotint.errors import BadInput


@pytest.fixture
def jpegs() -> list[bytes]:
    return photographs()


WAYS = pytest.mark.parametrize("pack", [as_folder, as_zip, as_tar])


# --- Archives --------------------------------------------------------------------------------------------------


@WAYS
def test_members_are_read_in_place(pack, tmp_path):
    source = members(pack(tmp_path / "x", {"b/2.txt": b"two", "a/1.txt": b"one", ".hidden/x": b"", "a/._1": b""}), "x")
    assert sorted(source.names) == ["a/1.txt", "b/2.txt"]
    assert [held(content) for content in source.contents(["a/1.txt", "b/2.txt", "a/1.txt"])] == [b"one", b"two", b"one"]
    assert (source.find("1.txt"), source.find("a/1.txt"), source.find(".txt")) == ("a/1.txt", "a/1.txt", None)
    with pytest.raises(BadInput, match=r"it holds no c\.txt"):
        source.beside("c.txt")


@pytest.mark.parametrize("name", ["../out.jpg", "/etc/out.jpg", "a/../../out.jpg", "..\\out.jpg", "C:\\out.jpg"])
@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_members_outside_their_archive_are_refused(pack, name, tmp_path):
    with pytest.raises(BadInput, match="names a file outside itself.*refused"):
        members(pack(tmp_path / "evil", {"good.jpg": b"x", name: b"x"}), "pictures")


def test_links_in_a_tar_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        link = tarfile.TarInfo("secret.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert members(tmp_path / "links.tar", "pictures").names == ()


def test_a_tar_that_leads_backwards_ends(tmp_path):
    entry = tarfile.TarInfo("a.jpg")
    header = bytearray(entry.tobuf())
    header[124:136] = b"\xff" * 11 + b"\x00"  # a negative size, in base 256
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(BadInput, match="damaged or incomplete|neither folder, zip nor tar"):
        members(tmp_path / "a.tar", "pictures")


def test_folders_are_read_through_links_each_once(tmp_path):
    as_folder(tmp_path / "there", {"a/1.jpg": b"1"})
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "linked").symlink_to(tmp_path / "there", target_is_directory=True)
    (tmp_path / "there" / "round").symlink_to(tmp_path / "here", target_is_directory=True)
    assert members(tmp_path / "here", "pictures").names == ("linked/a/1.jpg",)


def test_an_archive_inside_the_named_folder_is_pointed_at(tmp_path):
    as_folder(tmp_path, {"CUB_200_2011.tgz": b""})
    with pytest.raises(BadInput, match=r"holds no images\.txt; did you mean .*/CUB_200_2011\.tgz\?"):
        CaltechBirds().open(tmp_path, "train")


def test_wrong_and_damaged_archives_are_told_in_one_line(tmp_path, jpegs):
    (tmp_path / "page.tgz").write_bytes(b"<html>not found</html>")
    with pytest.raises(BadInput, match=r"neither folder, zip nor tar \(22 bytes, MD5 [0-9a-f]{32}\), must be the"):
        CaltechBirds().open(tmp_path / "page.tgz", "train")
    whole = as_tar(tmp_path / "half", {f"{n}.jpg": content for n, content in enumerate(jpegs)})
    whole.write_bytes(whole.read_bytes()[:-2000])
    with pytest.raises(BadInput, match=r"damaged or incomplete archive \(.*MD5") as caught:
        FFHQ().open(whole, "train")
    assert "\n" not in str(caught.value)
    other = as_zip(tmp_path / "other", {"readme.txt": b"hello"})
    with pytest.raises(BadInput, match=r"other\.zip is not the folder CUB_200_2011.*MD5.*holds no images\.txt"):
        CaltechBirds().open(other, "train")


# --- Birds -----------------------------------------------------------------------------------------------------


def birds(jpegs: list[bytes]) -> Files:
    root = "CUB_200_2011"
    names = ["001.Black_footed_Albatross/B_1.jpg", "002.Laysan_Albatross/L_2.jpg", "002.Laysan_Albatross/L_3.jpg"]
    files = {f"{root}/images/{name}": content for name, content in zip(names, jpegs, strict=False)}
    texts = {
        "images.txt": "".join(f"{n} {name}\n" for n, name in enumerate(names, 1)),
        "classes.txt": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n",
        "image_class_labels.txt": "1 1\n2 2\n3 2\n",
        "bounding_boxes.txt": "1 60.0 27.0 325.0 304.0\n2 1.0 2.0 3.5 4.0\n3 0.0 0.0 5.0 5.0\n",
        "train_test_split.txt": "1 1\n2 0\n3 1\n4 1\n5 0\n",
    }
    return {**{f"{root}/{name}": text.encode() for name, text in texts.items()}, **files}


@WAYS
def test_birds_have_labels_boxes_and_splits(pack, tmp_path, jpegs):
    path = pack(tmp_path / "birds", birds(jpegs))
    train = CaltechBirds().open(path, "train")
    assert [(item.label, item.box) for item in items(train)] == [(0, (60, 27, 325, 304)), (1, (0, 0, 5, 5))]
    assert [held(item.content) for item in items(train)] == [jpegs[0], jpegs[2]]
    assert train.class_names == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    assert [CaltechBirds().open(path, split).count for split in ("test", "all")] == [1, 3]
    assert train.provenance["annotations without a picture"] == "2 (4, 5)"
    with pytest.raises(BadInput, match="no split 'val' here"):
        CaltechBirds().open(path, "val")


def test_birds_with_the_real_annotations(shared_data, tmp_path):
    annotations = shared_data / "data" / "cub200_first50"
    for file in annotations.iterdir():
        (tmp_path / file.name).symlink_to(file)
    names = [line.split()[1] for line in (annotations / "images.txt").read_text().splitlines()]
    for name in names:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()
    whole, train, test = (CaltechBirds().open(tmp_path, split) for split in ("all", "train", "test"))
    assert (whole.count, train.count + test.count, len(whole.class_names)) == (2889, 2889, 50)
    assert whole.provenance["annotations without a picture"].startswith("10 (")
    for item in items(whole):
        assert item.label is not None
        assert whole.class_names[item.label] == item.name.split("/")[1]
        assert item.box is not None
        assert min(item.box[2:]) > 0


def test_birds_with_a_damaged_file_name_the_line(tmp_path, jpegs):
    files = birds(jpegs)
    bad = as_folder(tmp_path / "a", {**files, "CUB_200_2011/bounding_boxes.txt": b"1 60.0 27.0\n"})
    with pytest.raises(BadInput, match=r"bounding_boxes\.txt.*'1 60\.0 27\.0', must have 5 words"):
        CaltechBirds().open(bad, "train")
    bad = as_folder(tmp_path / "b", {**files, "CUB_200_2011/bounding_boxes.txt": b"1 a b c d\n"})
    with pytest.raises(BadInput, match="a box that is no number"):
        CaltechBirds().open(bad, "train")


# --- CIFAR: batches as Python 2 wrote them ----------------------------------------------------------------------


def short(text: str) -> bytes:
    return b"U" + bytes([len(text)]) + text.encode()


def batch(pixels: np.ndarray, labels: list[int], module: bytes = b"numpy.core.multiarray\n_reconstruct\n") -> bytes:
    """The opcodes of `data_batch_1`: protocol 2, a dict of batch_label, labels, data and filenames."""
    array = b"c" + module + b"q\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09"
    kind = b"cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"(K\x01M" + struct.pack("<H", len(pixels)) + b"M\x00\x0c\x86"
    state = shape + kind + b"\x89T" + struct.pack("<i", pixels.size) + pixels.tobytes() + b"tb"
    names = b"](" + b"".join(short(f"picture_{row}.png") for row in range(len(labels))) + b"e"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    entries = short("batch_label") + short("training batch 1 of 5") + short("labels") + numbers + short("data")
    return b"\x80\x02}q\x01(" + entries + array + state + short("filenames") + names + b"u."


def cifar(jpegs: list[bytes]) -> tuple[Files, np.ndarray]:
    pictures = [Image.open(io.BytesIO(content)).convert("RGB").resize((32, 32)) for content in jpegs]
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    flat = pixels.transpose(0, 3, 1, 2).reshape(12, -1)
    names = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    batches = {name: batch(flat[2 * n : 2 * n + 2], [n, 9 - n]) for n, name in enumerate(names)}
    return {f"cifar-10-batches-py/{name}": content for name, content in batches.items()}, pixels


@pytest.mark.parametrize("pack", [as_folder, as_tar])
def test_cifar_batches_are_read_without_unpickling(pack, tmp_path, jpegs, monkeypatch):
    files, pixels = cifar(jpegs)
    path = pack(tmp_path / "cifar", files)
    monkeypatch.setattr(pickle, "loads", None)
    train, test = CIFAR10().open(path, "train"), CIFAR10().open(path, "test")
    assert (train.count, test.count, train.class_names[3]) == (10, 2, "cat")
    assert [item.label for item in items(train)] == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert np.array_equal(decoded(train), pixels[:10])
    assert np.array_equal(decoded(test, 1), pixels[11:])
    assert items(test, 1)[0].name == "picture_1.png"


def test_the_replica_is_what_python_would_unpickle():
    pixels = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    known = pickle.loads(batch(pixels, [1, 2]), encoding="latin1")  # our own bytes, made above
    read = read_batch(batch(pixels, [1, 2]))
    assert np.array_equal(known.pop("data"), read.pop("data"))
    assert known == read


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_plain_batches_of_every_old_protocol_are_read(protocol):
    python_2 = {
        0: b"(dp1\nS'labels'\np2\n(lp3\nI6\naI9\nasS'name'\np4\ng2\ns.",
        1: b"}q\x01(U\x06labelsq\x02]q\x03(K\x06K\x09eU\x04nameh\x02u.",
        2: b"\x80\x02}q\x01U\x06labelsq\x02]q\x03(K\x06K\x09es.",
    }[protocol]
    assert read_batch(python_2)["labels"] == [6, 9]
    assert read_batch(python_2) == pickle.loads(python_2)  # our own bytes, written above


class Attack:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"data": Attack()}, protocol=2),
        pickle.dumps({"data": Attack()}, protocol=4),
        batch(np.zeros((1, 3072), np.uint8), [0], b"os\nsystem\n"),
        b"\x80\x02cos\nsystem\nU\x04true\x85R.",
        b"\x80\x02}U\x01bK\x01R.",
        pickle.dumps([1, 2], protocol=2),
        b"<html>",
        b"",
        batch(np.zeros((1, 3072), np.uint8), [0])[:-5],
    ],
)
def test_other_pickles_are_refused_and_nothing_runs(content, tmp_path, monkeypatch, jpegs):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused):
        read_batch(content)
    files = {**cifar(jpegs)[0], "cifar-10-batches-py/test_batch": content}
    with pytest.raises(BadInput, match=r"test_batch in .* is no CIFAR-10 batch"):
        CIFAR10().open(as_tar(tmp_path / "cifar", files), "test")
    assert not (tmp_path / "attacked").exists()


def test_cifar_from_the_hub(shared_data):
    listing = CIFAR10().open(shared_data / "data" / "cifar10_jpeg_test.parquet", "test")
    assert (listing.count, len(listing.class_names)) == (10_000, 10)


# --- MNIST -----------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize(("kind", "first"), [("mnist", "0"), ("fashion-mnist", "T-shirt/top")])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_plain_and_gzipped(kind, first, ending, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    labels = np.array([5, 0, 4, 1, 9], np.uint8)
    for stem, rows in (("train", slice(0, 3)), ("t10k", slice(3, 5))):
        for name, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            content = idx(array[rows])
            (tmp_path / f"{stem}-{name}-ubyte{ending}").write_bytes(gzip.compress(content) if ending else content)
    source = SOURCES[kind]()
    train, whole = source.open(tmp_path, "train"), source.open(tmp_path, "all")
    assert (train.count, whole.count, train.class_names[0]) == (3, 5, first)
    assert [item.label for item in items(whole)] == labels.tolist()
    assert np.array_equal(decoded(whole), pixels)


def test_idx_says_what_is_wrong(tmp_path):
    with pytest.raises(BadInput, match=r"holds no train-images-idx3-ubyte\[\.gz\], must be a folder of"):
        MNIST().open(tmp_path, "train")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(2, np.uint8)))
    for content, message in (
        (b"<html>", r"\(6 bytes\) is no idx file"),
        (idx(np.zeros((2, 28, 28), np.uint8))[:-1], "should hold 1,568 bytes, has 1,567"),
        (idx(np.zeros((3, 28, 28), np.uint8)), "3 pictures and 2 labels"),
        (b"\x1f\x8b broken", "can't be read"),
    ):
        (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
        with pytest.raises(BadInput, match=message):
            MNIST().open(tmp_path, "train")


# --- Cats and dogs ---------------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize(
    "names", [("PetImages/Cat/0.jpg", "PetImages/Dog/0.jpg"), ("train/cat.0.jpg", "train/dog.0.jpg")]
)
def test_kaggle_cats_and_dogs(pack, names, tmp_path, jpegs):
    files = {**dict(zip(names, jpegs, strict=False)), "PetImages/Cat/Thumbs.db": b"x", "test1/1.jpg": jpegs[2]}
    listing = CatsDogs().open(pack(tmp_path / "pets", files), "train")
    assert listing.class_names == ("cat", "dog")
    assert found(listing) == {names[0]: (0, jpegs[0]), names[1]: (1, jpegs[1])}


@pytest.mark.parametrize("packed", [False, True])
def test_oxford_pets_by_species_and_breed(packed, tmp_path, jpegs):
    names = ["Abyssinian_1", "yorkshire_terrier_2", "Abyssinian_3"]
    pictures = {f"images/{name}.jpg": content for name, content in zip(names, jpegs, strict=False)}
    lists = {
        "annotations/trainval.txt": b"# a comment\nAbyssinian_1 1 1 1\nyorkshire_terrier_2 2 2 1\nGone_9 3 1 2\n",
        "annotations/test.txt": b"Abyssinian_3 1 1 1\n",
    }
    for name, files in (("images", pictures), ("annotations", lists)):
        as_tar(tmp_path / name, files) if packed else as_folder(tmp_path, files)
    train = CatsDogs().open(tmp_path, "train")
    assert [(item.label, held(item.content)) for item in items(train)] == [(0, jpegs[0]), (1, jpegs[1])]
    assert train.provenance["annotations without a picture"].startswith("1 (")
    breeds = CatsDogs(labels="breed").open(tmp_path, "all")
    assert (breeds.count, breeds.class_names) == (3, ("Abyssinian", "yorkshire_terrier", "Gone"))


def test_cats_and_dogs_from_the_hub(shared_data):
    listing = CatsDogs().open(shared_data / "data" / "cats_dogs_128.parquet", "train")
    assert (listing.count, listing.class_names) == (4002, ("cat", "dog"))
