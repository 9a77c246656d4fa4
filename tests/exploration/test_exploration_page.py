"""The page about a data set: whole, by itself, and true."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mezzotint.data.pack import Pack
from mezzotint.data.prepare import DataOptions, prepare
from mezzotint.exploration import figures
from mezzotint.exploration.dataset import Dataset, look, summary
from mezzotint.exploration.page import write
from mezzotint.exploration.schedules import named_schedules
from mezzotint.exploration.sections import sections
from mezzotint.options import parse
from packing import pack_of, smooth

CHOSEN = named_schedules(["linear", "karras"])


class Tags(HTMLParser):
    """Which tags are opened, and whether each one is closed in turn."""

    EMPTY = ("meta", "img", "source", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def last(records: Iterator[str | Dataset]) -> Dataset:
    *said, found = records
    assert all(isinstance(line, str) for line in said)
    assert isinstance(found, Dataset)
    return found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A folder of two classes, with a broken file, two equal pictures and a name that isn't harmless in HTML."""
    root = tmp_path_factory.mktemp("page") / "a <b> & c"
    drawn = smooth(np.random.default_rng(0), 30, 24, 3)
    for number, pixels in enumerate(drawn):
        folder = root / ("<script>" if number % 3 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn[1] if number == 2 else pixels).crop((0, 0, 24, 20)).save(folder / f"{number:02}.png")
    (root / "dog" / "broken.png").write_bytes(b"nothing")
    options = parse(DataOptions, {"source": "folder", "path": root, "image_size": 16})
    *_, pack = prepare(options, root.parent / "pack")
    return last(look(pack))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page(pictures: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page about them."""
    folder = tmp_path_factory.mktemp("written") / "out"
    assert write(pictures, CHOSEN, folder) == folder / "index.html"
    return folder / "index.html"


def test_the_page_stands_alone(page: Path) -> None:
    text, tags = page.read_text("utf-8"), Tags()
    tags.feed(text)
    assert tags.open == []
    assert not re.search(r"https?:|<script|@import|url\(", text)
    sources = [given.get("src") or given.get("srcset") or "" for tag, given in tags.seen if tag in ("img", "source")]
    assert len(sources) > 15
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert all(given.get("alt") for tag, given in tags.seen if tag == "img")
    assert "a &lt;b&gt; &amp; c" in text


def test_the_page_says_what_is_so(page: Path) -> None:
    text = page.read_text("utf-8")
    for words in (
        "30 of 31 pictures could be used",
        "broken.png",
        "the same pictures on both sheets",
        "24 x 20 pixels in the middle",
        "All 30 pictures were compared",
        "1 pictures repeat another one exactly",
        "2 classes, from 10 pictures (dog) to 20",
        "family.prediction.sigma_data=",
    ):
        assert words in text


def test_originals_of_which_not_all_were_prepared_would_be_enlarged(pictures: Dataset) -> None:
    assert pictures.originals is not None
    listing = replace(pictures.originals.listing, count=99)
    some = replace(pictures, originals=replace(pictures.originals, listing=listing))
    info = pictures.pack.info.model_copy(update={"skipped": {"tiny": 1}})
    tiny = replace(pictures, pack=Pack(pictures.pack.path, info, None))
    said = {
        "side and are enlarged.": pictures,
        "side and would be enlarged.": some,
        "enlarged or left out as tiny.": tiny,
    }
    for words, found in said.items():
        shapes = next(part for part in sections(found, CHOSEN) if part.title.startswith("Sizes"))
        assert shapes.sentences[1].endswith(words)


def test_every_picture_is_a_file_too(pictures: Dataset, page: Path) -> None:
    named = [picture.name for section in sections(pictures, CHOSEN) for picture in section.pictures]
    assert len(named) == len(set(named))
    assert {file.stem for file in page.parent.glob("*.png")} == set(named)
    for file in page.parent.glob("*.png"):
        with Image.open(file) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 1


def test_drawings_follow_the_page(pictures: Dataset) -> None:
    for section in sections(pictures, CHOSEN):
        for picture in section.pictures:
            if callable(picture.drawn):
                light, dark = (figures.png(picture.drawn(ink)) for ink in (figures.LIGHT, figures.DARK))
                assert light[:4] == dark[:4] == b"\x89PNG"
                assert light != dark


def test_numbers_as_json(pictures: Dataset) -> None:
    found = summary(pictures)
    assert found["pictures"] == 30
    assert found["classes"] == {"<script>": 20, "dog": 10}
    assert found["skipped"] == {"not an image": 1}
    assert found["originals"]["width"][2:4] == [24, 24]
    assert found["near_duplicates"]["nearest"][0]["difference"] == 0
    assert found["overrides"].startswith("family.prediction=edm ")


def test_a_pack_alone_without_labels_or_originals(tmp_path: Path) -> None:
    pack = pack_of(smooth(np.random.default_rng(0), 20, 8, 1), tmp_path)
    (tmp_path / "pixels.npz").unlink()
    found = last(look(pack))
    text = write(found, CHOSEN, tmp_path / "out").read_text("utf-8")
    assert "no longer where they were" in text
    assert "<h2>Classes</h2>" not in text
    assert summary(found)["originals"] is None


def test_one_picture_of_one_grey_level_is_no_crash(tmp_path: Path) -> None:
    pack = pack_of(np.full((1, 8, 8, 1), 77, np.uint8), tmp_path)
    assert write(last(look(pack)), CHOSEN, tmp_path / "out").is_file()


@pytest.mark.parametrize("count", [3, 60])
def test_classes_are_named_where_they_can_be_read(count: int) -> None:
    figure = figures.class_counts({f"class {k}": k + 1 for k in range(count)}, figures.LIGHT)
    figure.canvas.draw()
    named = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert ("class 0" in named) == (count == 3)
