"""The table of sources in docs/data.md is true: every source is in it, with its licence and its size."""

from pathlib import Path

import pytest

from mezzotint.data.sources import SOURCES, gigabytes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"


def rows() -> dict[str, list[str]]:
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name.strip("`"): rest for name, *rest in cells}


def test_every_source_is_in_the_table_once() -> None:
    assert sorted(rows()) == sorted(SOURCES)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_row_says_how_it_was_tested_and_what_the_card_says(name: str) -> None:
    _, tested, licence, download = rows()[name]
    card = SOURCES[name].card
    assert "**real**" in tested or "replica" in tested
    if card:
        assert licence == card.licence
        assert download.startswith(gigabytes(card.size))
        assert ("by hand" in download) == (not card.originals and card.hub is None)
