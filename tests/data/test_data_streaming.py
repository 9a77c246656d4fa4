"""Streams: every picture comes, none twice at once, none that is held out, and a stopped run goes on where it stood."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny
from layouts import as_tar
from mezzotint.data.loading import Loader, Turn
from mezzotint.data.prepare import DataOptions
from mezzotint.data.sources import Item, Shard
from mezzotint.data.streaming import open_loader
from mezzotint.disk import home
from mezzotint.errors import BadInput
from mezzotint.options import parse

SHARDS, EACH = 5, 24
PICTURES = range(SHARDS * EACH)


def numbered(number: int) -> bytes:
    """A picture that tells its number by its grey level."""
    encoded = io.BytesIO()
    Image.fromarray(np.full((8, 8), number + 40, np.uint8)).save(encoded, "PNG")
    return encoded.getvalue()


def tars(folder: Path) -> dict[str, object]:
    for shard in range(SHARDS):
        numbers = PICTURES[shard * EACH : (shard + 1) * EACH]
        files = {
            f"{n:03}.{kind}": content
            for n in numbers
            for kind, content in (("png", numbered(n)), ("cls", b"%d" % (n % 3)))
        }
        as_tar(folder / f"train-{shard}", files, "w" if shard else "w:gz")
    return {"source": "webdataset", "path": str(folder)}


def parquets(folder: Path) -> dict[str, object]:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    for shard in range(SHARDS):
        numbers = PICTURES[shard * EACH : (shard + 1) * EACH]
        rows = {"image": [{"bytes": numbered(n), "path": None} for n in numbers], "label": [n % 3 for n in numbers]}
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(folder / "data" / f"train-{shard:05}-of-{SHARDS:05}.parquet", batch_size=7)
    return {"source": "parquet", "path": str(folder)}


def hub(folder: Path) -> dict[str, object]:
    return parquets(folder) | {"source": "hub"}


@pytest.fixture(params=[tars, parquets, hub], scope="module")
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The same 120 pictures in five shards, as three kinds of source."""
    folder = tmp_path_factory.mktemp(request.param.__name__)
    return request.param(folder) | {"stream": True, "image_size": 8, "held_out": 0.1, "shuffle_buffer": 32}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path / "home"))


def loader(tree: dict[str, object], seed: int = 0) -> Loader:
    return open_loader(parse(DataOptions, tree), seed)


def numbers(feed: Callable, positions: range) -> list[int]:
    """The numbers of the pictures at some positions, read in chunks; their labels are checked."""
    pixels, labels = feed(positions.start, len(positions))
    found = pixels[:, 0, 0, 0].numpy().astype(int) - 40
    assert pixels.shape[1:] == (1, 8, 8)
    assert (labels.numpy() == found % 3).all()
    return found.tolist()


# --- Which pictures ----------------------------------------------------------------------------------------------


def test_all_but_the_held_out_come_in_every_round(tree: dict[str, object]) -> None:
    stream = loader({**tree, "shuffle_buffer": 40})
    held = {int(level) - 40 for level in stream.held_out(99)[0][:, 0, 0, 0]}
    assert len(held) >= 12
    rounds = [numbers(stream.chunk, range(start, start + len(PICTURES))) for start in (0, 120, 240)]
    for found in rounds:
        assert set(found) == set(PICTURES) - held
    assert rounds[0] != rounds[1] != rounds[2]
    assert rounds[0] != sorted(rounds[0])


def test_the_order_follows_from_the_seed(tree: dict[str, object]) -> None:
    same, again, other = loader(tree), loader(tree), loader(tree, seed=1)
    assert numbers(same.chunk, range(64)) == numbers(again.chunk, range(64)) != numbers(other.chunk, range(64))
    assert same.pack.content_hash == other.pack.content_hash
    small = loader({**tree, "shuffle_buffer": 4})
    assert numbers(small.chunk, range(64)) != numbers(again.chunk, range(64))


@pytest.mark.parametrize("forget", [False, True])
@pytest.mark.parametrize("start", [1, 40, 97, 250])
def test_any_position_is_found_again(start: int, forget: bool, tree: dict[str, object]) -> None:
    whole = loader(tree)
    through = [number for at in range(0, 300, 20) for number in numbers(whole.chunk, range(at, at + 20))]
    if forget:  # how large shards of unknown size are
        shutil.rmtree(home() / "streams", ignore_errors=True)
    assert numbers(loader(tree).chunk, range(start, start + 40)) == through[start : start + 40]


@pytest.mark.parametrize("world", [2, 3, 7])
def test_processes_share_no_picture(world: int, tree: dict[str, object]) -> None:
    batch, chunk = 42, 6
    seen = []
    for rank in range(world):
        feed = loader(tree).feed(Turn(rank, world, batch, chunk))
        starts = [
            at
            for update in range(4)
            for at in range(update * batch + rank * chunk, (update + 1) * batch, world * chunk)
        ]
        seen.append({number for start in starts for number in numbers(feed, range(start, start + chunk))})
        again = loader(tree).feed(Turn(rank, world, batch, chunk))
        assert numbers(again, range(starts[-1], starts[-1] + chunk)) == numbers(
            feed, range(starts[-1], starts[-1] + chunk)
        )
    assert all(seen)
    assert sum(map(len, seen)) == len(set.union(*seen))
    held = loader(tree).held_out(99)[0][:, 0, 0, 0].numpy().astype(int) - 40
    assert not set.union(*seen) & set(held.tolist())


def test_what_a_process_has_taken_counts_its_own_chunks() -> None:
    turn = Turn(rank=1, world=2, batch_size=100, chunk_size=30)  # chunks at 0, 30, 60, 90: it has 30..59 and 90..99
    assert [turn.taken(position) for position in (30, 90, 130, 190, 230)] == [0, 30, 40, 70, 80]
    assert [Turn().taken(position) for position in (0, 7)] == [0, 7]


@pytest.mark.parametrize("tree", [hub], indirect=True)
def test_shards_of_unknown_size_are_counted_once(tree: dict[str, object]) -> None:
    numbers(loader(tree).chunk, range(200))
    counts = [int(file.read_text()) for file in (home() / "streams").glob("*/*")]
    assert counts == [EACH] * SHARDS
    assert len(loader(tree)) == 0  # it isn't known how many there are


# --- Bad pictures, bad options -------------------------------------------------------------------------------------


def test_pictures_that_cannot_be_read_are_counted_and_replaced(tmp_path: Path) -> None:
    files = {f"{n:02}.png": numbered(n) if n % 4 else b"broken" for n in range(32)}
    as_tar(tmp_path / "train-0", files, "w")
    tree = {"source": "webdataset", "path": str(tmp_path), "stream": True, "image_size": 8, "shuffle_buffer": 16}
    stream = loader(tree)
    assert stream.trouble() == {}
    pixels, labels = stream.chunk(0, 16)
    assert labels is None
    assert all((int(level) - 40) % 4 for level in pixels[:, 0, 0, 0])
    assert stream.trouble()["skipped/not an image"] >= 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limit": 9}, "stream=true reads all of a source as it is; leave limit out"),
        ({"classes": [1]}, "leave classes out"),
        ({"shuffle_buffer": 0}, "shuffle_buffer"),
        ({"source": "digits", "path": None}, r"data\.stream: these pictures are in no shards"),
    ],
)
def test_what_cannot_stream_is_told(change: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message):
        loader(tars(tmp_path) | {"stream": True, "image_size": 8} | change)


def test_pieces_of_a_shard_are_all_of_it() -> None:
    from mezzotint.data.rows import _pieces

    items = [Item(str(n), None, b"") for n in range(11)]
    for count in (11, None):
        pieces = _pieces(Shard("s", count, lambda start: iter(items[start:])), 3)
        assert [piece.count for piece in pieces] == ([4, 4, 3] if count else [None] * 3)
        assert sorted(int(item.name) for piece in pieces for item in piece.read(0)) == list(range(11))
        assert [item.name for item in pieces[1].read(2)] == ["7", "10"]


# --- Runs ----------------------------------------------------------------------------------------------------------


def streamed(tree: dict[str, object]) -> list[str]:
    return [
        "data.source=" + str(tree["source"]),
        *(f"data.{key}={value}" for key, value in tree.items() if key != "source"),
    ]


@pytest.mark.parametrize("tree", [tars, hub], indirect=True)
def test_a_stopped_run_on_a_stream_ends_as_one_that_was_not(tree: dict[str, object], tmp_path: Path) -> None:
    changes = [*streamed(tree), "evaluation.monitor=off"]
    whole, _ = tiny.train(tmp_path, "whole", changes)
    tiny.train(tmp_path, "parts", changes, tiny.after(3))
    parts, records = tiny.train(tmp_path, "parts", changes)
    assert records[0].images_seen > 96
    assert tiny.same(tiny.tensors(whole), tiny.tensors(parts))


def test_epochs_of_a_stream_of_unknown_length_are_refused(tmp_path: Path) -> None:
    changes = [*streamed(hub(tmp_path / "set") | {"stream": True, "image_size": 8}), "training.images=3ep"]
    with pytest.raises(BadInput, match=r"training\.images.*how many training images there are isn't known"):
        tiny.train(tmp_path, "epochs", changes)
