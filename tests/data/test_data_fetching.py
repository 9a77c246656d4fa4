"""Data sets that fetch themselves: against a server of our own that breaks off, lies, or is gone."""

import gzip
import shutil
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from hashlib import md5
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layouts import as_zip, found, photographs
from mezzotint.cli.training import preparation_shown
from mezzotint.data.building import Progress
from mezzotint.data.originals import fetch, places, unpack
from mezzotint.data.prepare import DataOptions, ensure_pack, shown
from mezzotint.data.sources import SOURCES, Original, Source, celeba, gigabytes
from mezzotint.data.sources.ffhq import FFHQ
from mezzotint.data.sources.imagenet_64 import ImageNet64
from mezzotint.data.sources.lsun_bedroom import LSUNBedroom
from mezzotint.data.sources.mnist import MNIST
from mezzotint.disk import home
from mezzotint.errors import BadInput, RunFailed
from mezzotint.options import parse


class Server(HTTPServer):
    """Serves files by path, as it is told to: cut short, or not able to resume."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.resumes = files, True
        self.cut: int | None = None
        self.asked: list[tuple[str, str | None]] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        wanted, name = self.headers.get("Range"), self.path.lstrip("/")
        server.asked.append((name, wanted))
        if name not in server.files:
            self.send_error(404)
            return
        start = int(wanted[len("bytes=") : -1]) if wanted and server.resumes else 0
        body = server.files[name][start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if server.cut is None else body[: server.cut])  # HTTP/1.0: then it hangs up

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path / "home"))
    serving = Server({})
    thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
    thread.start()
    yield serving
    serving.shutdown()
    thread.join()
    serving.server_close()


def publish(server: Server, monkeypatch: pytest.MonkeyPatch, source: type[Source], *files: str, **how: Any) -> None:
    """Let a source's originals be files of this server, with their true sizes and hashes."""
    card = source.card
    assert card is not None
    originals = tuple(replace(_original(server, name), **how) for name in files)
    monkeypatch.setattr(source, "card", replace(card, originals=originals))


def _original(server: Server, name: str) -> Original:
    content = server.files[name]
    return Original(server.url(name), len(content), md5(content, usedforsecurity=False).hexdigest())


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


@pytest.fixture
def digits(server: Server, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """MNIST of five pictures, published at four addresses."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    for stem in ("train", "t10k"):
        server.files[f"{stem}-images-idx3-ubyte.gz"] = idx(pixels)
        server.files[f"{stem}-labels-idx1-ubyte.gz"] = idx(np.arange(5, dtype=np.uint8))
    publish(server, monkeypatch, MNIST, *server.files)
    return pixels


def downloads(name: str) -> list[str]:
    return sorted(file.name for file in (home() / "downloads" / name).glob("*"))


def brought(source: Source, split: str = "train") -> Path | None:
    return shown(fetch(source, split), None)


# --- Fetching --------------------------------------------------------------------------------------------------


def test_a_data_set_without_a_path_is_fetched_checked_and_prepared(server: Server, digits: np.ndarray) -> None:
    seen: list[Progress] = []
    pack = ensure_pack(parse(DataOptions, {"source": "mnist", "image_size": 28}), seen.append)
    assert np.array_equal(pack.pixels(np.arange(5)).numpy()[:, 0], digits)
    assert {(record.what, record.unit) for record in seen} == {
        *((f"fetch {name}", "MB") for name in server.files),
        ("prepare", "images"),
    }
    assert downloads("mnist") == sorted(server.files)
    asked = len(server.asked)
    ensure_pack(parse(DataOptions, {"source": "mnist", "image_size": 16}))
    assert len(server.asked) == asked == 4  # the second time from the folder


@pytest.mark.parametrize("resumes", [True, False])
def test_an_interrupted_download_goes_on_where_the_server_can(
    resumes: bool, server: Server, digits: np.ndarray
) -> None:
    server.cut, server.resumes = 100, resumes
    name = "train-images-idx3-ubyte.gz"
    with pytest.raises(RunFailed, match=r"interrupted .* is kept: the same command goes on") as told:
        brought(MNIST())
    assert "\n" not in str(told.value)
    assert downloads("mnist") == [f"{name}.part"]
    assert places(MNIST(), "train")[0].had == 100
    server.cut = None
    brought(MNIST())
    assert server.asked[:2] == [(name, None), (name, "bytes=100-")]
    assert downloads("mnist") == sorted(server.files)


def test_another_file_than_published_is_told_and_not_kept(server: Server, digits: np.ndarray) -> None:
    name, page = "train-images-idx3-ubyte.gz", b"<html>moved</html>"
    published = server.files[name]
    server.files[name] = page
    hashes = [md5(content, usedforsecurity=False).hexdigest() for content in (page, published)]
    expected = f"wrong archive, 18 bytes, MD5 {hashes[0]}; expected {len(published):,} bytes, MD5 {hashes[1]}"
    with pytest.raises(BadInput, match=expected):
        brought(MNIST())
    assert downloads("mnist") == []


def test_a_page_instead_of_a_zip_of_unknown_hash_is_not_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["a.zip"] = b"<html>"
    publish(server, monkeypatch, LSUNBedroom, "a.zip", size=0, md5=None, unpack=True)
    with pytest.raises(BadInput, match=r"a\.zip: wrong archive, 6 bytes, MD5 \w{32}; expected a zip"):
        brought(LSUNBedroom())
    assert downloads("lsun-bedroom") == []


def test_what_cannot_be_reached_is_told_in_one_line(server: Server, digits: np.ndarray) -> None:
    del server.files["train-images-idx3-ubyte.gz"]
    with pytest.raises(BadInput, match=r"data\.path: is not set, and .*404.*set data\.path to a folder of") as told:
        brought(MNIST())
    assert "\n" not in str(told.value)
    server.shutdown()
    server.server_close()
    with pytest.raises(BadInput, match=r"can't be fetched \(.*refused.*\): fetch it by other means"):
        brought(MNIST())
    assert downloads("mnist") == []


def test_one_archive_is_the_path_and_splits_choose(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"PetImages/Cat/{n}.jpg": content for n, content in enumerate(photographs()[:2])}
    server.files["kaggle.zip"] = as_zip(home().parent / "cats", files).read_bytes()
    publish(server, monkeypatch, SOURCES["cats-dogs"], "kaggle.zip")
    path = brought(SOURCES["cats-dogs"]())
    assert path == home() / "downloads" / "cats-dogs" / "kaggle.zip"
    assert found(SOURCES["cats-dogs"]().open(path, "train")).keys() == files.keys()
    named = {split: [original.url[-9:] for original in ImageNet64().originals(split)] for split in ("train", "val")}
    assert named == {"train": ["1_npz.zip", "2_npz.zip"], "val": ["l_npz.zip"]}
    assert [original.url[-16:] for original in LSUNBedroom().originals("val")] == ["bedroom_val_lmdb.zip"[-16:]]


def test_a_zip_that_cannot_be_read_in_place_is_unpacked_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = home().parent / "batch.npz"
    arrays.parent.mkdir(parents=True, exist_ok=True)
    np.savez(arrays, data=np.zeros((2, 12288), np.uint8), labels=np.array([1, 1000]))
    content = as_zip(home().parent / "x", {"train_data_batch_1.npz": arrays.read_bytes()}).read_bytes()
    server.files["part1.zip"] = content
    publish(server, monkeypatch, ImageNet64, "part1.zip", splits=("train",), unpack=True)
    path = brought(ImageNet64())
    assert path == home() / "downloads" / "imagenet-64"
    assert [item.label for item in ImageNet64().open(path, "train").read(np.arange(2))] == [0, 999]
    assert downloads("imagenet-64") == ["part1"]  # the zip is gone
    assert brought(ImageNet64()) == path
    assert len(server.asked) == 1


def test_unpacking_leaves_its_folder_neither_outwards_nor_half(tmp_path: Path) -> None:
    for files, message in (({"../evil": b"x"}, "names a file outside itself"), ({"a/b": b"x" * 999}, "damaged zip")):
        archive = as_zip(tmp_path / "z", files)
        if "damaged" in message:
            archive.write_bytes(archive.read_bytes().replace(b"x" * 999, b"y" * 999))
        with pytest.raises(BadInput, match=message):
            unpack(archive, tmp_path / "out")
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["z.zip"]
    unpack(as_zip(tmp_path / "z", {"out/a/b": b"x", "out/c": b""}), tmp_path / "out")
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["a", "b", "c", "out"]


def test_zips_given_by_hand_are_pointed_at(tmp_path: Path) -> None:
    as_zip(tmp_path / "Imagenet64_train_part1_npz", {"train_data_batch_1.npz": b""})
    with pytest.raises(BadInput, match=r"holds no train_data_batch.*unzip .*part1_npz\.zip first"):
        ImageNet64().open(tmp_path, "train")


# --- What can't be fetched as files ------------------------------------------------------------------------------


def test_faces_that_nobody_publishes_as_a_file_say_where_to_get_them() -> None:
    assert brought(FFHQ()) is None
    with pytest.raises(
        BadInput, match=r"data\.path: is not set.*https://github\.com/NVlabs/ffhq-dataset, about 1\.95 GB"
    ):
        ensure_pack(parse(DataOptions, {"source": "ffhq"}))


def test_celebrities_come_from_the_hub_with_an_attribute_as_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "Smiling": datasets.Value("bool")})
    for split, count in (("train", 3), ("valid", 1)):
        rows = {
            "image": [{"bytes": b, "path": None} for b in photographs()[:count]],
            "Smiling": [True, False, True][:count],
        }
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(tmp_path / "celeba" / "data" / f"{split}-00000-of-00001.parquet")
    monkeypatch.setattr(celeba, "_CARD", replace(celeba._CARD, hub=str(tmp_path / "celeba")))
    tree = {"source": {"kind": "celeba", "attribute": "Smiling"}, "image_size": 16}
    pack = ensure_pack(parse(DataOptions, tree))
    labels = pack.labels(np.arange(3))
    assert labels is not None
    assert (pack.class_names, labels.tolist()) == (("not Smiling", "Smiling"), [1, 0, 1])
    assert len(ensure_pack(parse(DataOptions, {"source": "celeba", "split": "val", "image_size": 16}))) == 1


# --- What is said and asked for before -------------------------------------------------------------------------


def test_what_does_not_fit_on_the_disk_is_refused_before_it_is_fetched(
    server: Server, digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(home().parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(
        BadInput, match=r"downloads.mnist: 0 MB are free, .* are needed for http.*MEZZOTINT_HOME"
    ) as told:
        brought(MNIST())
    assert "\n" not in str(told.value)
    assert not [name for name in downloads("mnist") if name.endswith((".gz", ".part"))]


def test_room_for_what_is_unpacked_is_asked_for_too(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["train_64x64.zip"] = as_zip(tmp_path / "a", {"a": b"x"}).read_bytes()
    publish(server, monkeypatch, ImageNet64, "train_64x64.zip", unpack=True)
    size = len(server.files["train_64x64.zip"])
    usage = shutil.disk_usage(home().parent)
    for free, fits in ((2 * size - 1, False), (2 * size, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        if fits:
            brought(ImageNet64())
        else:
            with pytest.raises(BadInput, match="unpacking included"):
                brought(ImageNet64())


def test_what_is_fetched_from_where_and_how_large_is_said_first(
    server: Server, digits: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    with preparation_shown() as show:
        shown(fetch(MNIST(), "train"), show)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fetching ")]
    for line, name in zip(lines, server.files, strict=True):
        assert f"{server.url(name)} ({gigabytes(len(server.files[name]))}, into " in line
