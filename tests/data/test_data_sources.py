"""Sources list what there is, read any of it in order, and say in one line what is wrong with a path."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet as pq

from mezzotint.data.sources import SOURCES, Listing, Source
from mezzotint.data.sources.digits import Digits
from mezzotint.data.sources.folder import Folder
from mezzotint.data.sources.parquet import Parquet
from mezzotint.errors import BadInput


def items(listing: Listing, *indices: int):
    return list(listing.read(np.array(indices or range(listing.count))))


def picture(path: Path, colour=(200, 30, 40), size=(16, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def test_every_source_is_registered_options_with_a_summary():
    assert {"digits", "folder", "parquet", "caltech-birds", "imagenet-64", "webdataset", "hub", "npz"} <= set(SOURCES)
    assert all(issubclass(SOURCES[name], Source) and SOURCES.summaries()[name] for name in SOURCES)


WITH_FILES = sorted(set(SOURCES) - {"digits"})


@pytest.mark.parametrize("name", WITH_FILES)
def test_a_missing_or_wrong_path_is_told_in_one_line(name, tmp_path):
    source, card = SOURCES[name](), SOURCES[name].card
    (tmp_path / "page.html").write_text("<html>not found</html>")
    (tmp_path / "empty").mkdir()
    for path in (None, tmp_path / "pag.html", tmp_path / "page.html", tmp_path / "empty"):
        with pytest.raises(BadInput) as caught:
            source.open(path, "train")
        assert str(caught.value).startswith("data.")
        assert "\n" not in str(caught.value)
        if card and path is None:
            assert [*(original.url for original in card.originals), *card.pages][0] in str(caught.value)


@pytest.mark.parametrize("name", [name for name in SOURCES if SOURCES[name].card])
def test_a_card_says_what_would_be_downloaded(name):
    card = SOURCES[name].card
    assert min(card.pictures.values()) > 0
    assert all(original.url.startswith(("http://", "https://")) for original in card.originals)
    assert all(len(original.md5 or "0" * 32) == 32 for original in card.originals)
    assert all((card.title, card.labels, card.licence, card.citation, card.layout, card.size))


def test_digits_scale_to_full_range_and_splits_partition():
    train, test, whole = (Digits().open(None, split) for split in ("train", "test", "all"))
    assert (train.count, test.count, whole.count) == (1437, 360, 1797)
    pixels = np.stack([np.asarray(item.content) for item in items(whole)])
    assert (pixels.min(), pixels.max(), pixels.dtype) == (0, 255, np.uint8)
    assert items(test, 0)[0].name == items(whole, 1437)[0].name == "digit 1437"
    with pytest.raises(BadInput, match=r"data.split.*'trian'.*train"):
        Digits().open(None, "trian")
    with pytest.raises(BadInput, match="take no path"):
        Digits().open(Path("x"), "train")


def test_folder_classes_are_sorted_subfolders_read_recursively(tmp_path):
    picture(tmp_path / "dog" / "deep" / "b.png")
    picture(tmp_path / "cat" / "a.png")
    picture(tmp_path / "cat" / ".hidden.png")
    picture(tmp_path / "stray.png")
    listing = Folder().open(tmp_path, "train")
    assert listing.class_names == ("cat", "dog")
    found = [(item.name, item.label) for item in items(listing)]
    assert found == [("cat/a.png", 0), ("dog/deep/b.png", 1), ("stray.png", None)]
    assert Folder(labelled=False).open(tmp_path, "train").class_names == ()


def test_folder_of_splits_and_flat_folder(tmp_path):
    picture(tmp_path / "train" / "x" / "1.png")
    picture(tmp_path / "test" / "y" / "2.png")
    assert [item.name for item in items(Folder().open(tmp_path, "test"))] == ["test/y/2.png"]
    assert Folder().open(tmp_path, "all").class_names == ("x", "y")
    with pytest.raises(BadInput, match="no split 'val'"):
        Folder().open(tmp_path, "val")
    assert Folder().open(tmp_path / "test" / "y", "train").class_names == ()


def test_folder_survives_link_loops_and_notices_changes(tmp_path):
    first = picture(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b").symlink_to(tmp_path / "a", target_is_directory=True)
    listing = Folder().open(tmp_path, "train")
    assert [item.name for item in items(listing)] == ["a/1.png"]
    os.utime(first, ns=(1, 1))
    assert Folder().open(tmp_path, "train").identity != listing.identity


@pytest.mark.parametrize("kind", [Folder, Parquet])
def test_missing_path_names_the_option_and_the_nearest_name(kind, tmp_path):
    (tmp_path / "flowers").mkdir()
    with pytest.raises(BadInput, match=r"data\.path.*flowrs does not exist.*did you mean flowers"):
        kind().open(tmp_path / "flowrs", "train")
    with pytest.raises(BadInput, match=r"data\.path: is not set"):
        kind().open(None, "train")
    with pytest.raises(BadInput, match=r"data\.path.*holds no"):
        kind().open(tmp_path / "flowers", "train")


def table(path: Path, labels, names=None, column="image") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": b"%d" % row, "path": None} for row in range(len(labels))]
    features = f'{{"info": {{"features": {{"{column}": {{"_type": "Image"}}'
    if names:
        listed = ", ".join(f'"{name}"' for name in names)
        features += f', "label": {{"names": [{listed}], "_type": "ClassLabel"}}'
    data = pa.table({column: images, "label": labels})
    pq.write_table(data.replace_schema_metadata({"huggingface": features + "}}}"}), path, row_group_size=3)
    return path


def test_parquet_reads_chosen_rows_across_groups_and_files(tmp_path):
    table(tmp_path / "train-0.parquet", [0, 1, 0, 1, 1], ["cat", "dog"], column="img")
    table(tmp_path / "train-1.parquet", [1, 0], ["cat", "dog"], column="img")
    table(tmp_path / "test-0.parquet", [0], ["cat", "dog"], column="img")
    listing = Parquet().open(tmp_path, "train")
    assert (listing.count, listing.class_names) == (7, ("cat", "dog"))
    found = [(item.name, item.content, item.label) for item in items(listing, 1, 4, 5)]
    assert found == [("train-0.parquet:1", b"1", 1), ("train-0.parquet:4", b"4", 1), ("train-1.parquet:0", b"0", 1)]
    assert Parquet().open(tmp_path / "*.parquet", "train").count == 8
    with pytest.raises(BadInput, match="no split 'val'"):
        Parquet().open(tmp_path, "val")


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        ([7, 3, 7], ("3", "7"), [1, 0, 1]),
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        ([-1, -1], (), [None, None]),
        ([2, None], ("2",), [0, None]),
    ],
)
def test_parquet_labels_without_names(tmp_path, labels, names, numbers):
    listing = Parquet().open(table(tmp_path / "x.parquet", labels), "train")
    assert listing.class_names == names
    assert [item.label for item in items(listing)] == numbers


def test_parquet_says_what_is_wrong(tmp_path):
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(BadInput, match=r"broken\.parquet is not a whole Parquet file"):
        Parquet().open(tmp_path / "broken.parquet", "train")
    good = table(tmp_path / "good.parquet", [0], ["a"])
    with pytest.raises(BadInput, match=r"data\.source\.image.*no column 'imge'; did you mean image"):
        Parquet(image="imge").open(good, "train")
    with pytest.raises(BadInput, match="must hold encoded images"):
        Parquet(image="label").open(good, "train")
    table(tmp_path / "other.parquet", [0], ["b"])
    with pytest.raises(BadInput, match="differ in columns or class names"):
        Parquet().open(tmp_path / "[go]*.parquet", "train")


def test_parquet_refuses_a_damaged_schema(tmp_path):
    bad = pa.table({"image": [{"bytes": b"x", "path": "x"}]}).replace_schema_metadata({"huggingface": "{"})
    pq.write_table(bad, tmp_path / "bad.parquet")
    with pytest.raises(BadInput, match="damaged `huggingface` schema"):
        Parquet().open(tmp_path / "bad.parquet", "train")


def test_parquet_reads_what_the_datasets_library_writes(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"picture": [{"bytes": b"a", "path": None}, {"bytes": b"b", "path": None}], "kind": [1, 0]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "written.parquet")
    listing = Parquet().open(tmp_path / "written.parquet", "train")
    assert listing.class_names == ("cat", "dog")
    assert [(item.content, item.label) for item in items(listing, 0, 1)] == [(b"a", 1), (b"b", 0)]


def test_parquet_passes_over_rows_that_nobody_chose(tmp_path):
    images = [{"bytes": b"%d" % row, "path": None} for row in range(600)]
    pq.write_table(pa.table({"image": images, "label": [0] * 600}), tmp_path / "one-group.parquet")
    listing = Parquet().open(tmp_path / "one-group.parquet", "train")
    assert [item.content for item in items(listing, 3, 599)] == [b"3", b"599"]


def test_reading_some_rows_of_parquet_imports_no_pandas(tmp_path):
    encoded = picture(tmp_path / "a.png").read_bytes()
    pq.write_table(pa.table({"image": [encoded] * 5}), tmp_path / "a.parquet")
    script = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from mezzotint.data.sources.parquet import Parquet\n"
        "listing = Parquet().open(Path(sys.argv[1]), 'train')\n"
        "print(*(item.name for item in listing.read(np.array([1, 4]))), 'pandas' in sys.modules)\n"
    )
    told = subprocess.check_output([sys.executable, "-c", script, str(tmp_path / "a.parquet")], text=True)
    assert told.split() == ["a.parquet:1", "a.parquet:4", "False"]
