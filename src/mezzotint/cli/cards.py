"""A published data set in a few lines of text: what it is, and what would have to be downloaded."""

from dataclasses import asdict
from typing import Any

from mezzotint.data.originals import Place, places
from mezzotint.data.sources import SOURCES, Card, gigabytes
from mezzotint.disk import home


def card_named(name: str) -> Card | None:
    """Return the card of the source of this name; None for other names and for sources of your own files."""
    return SOURCES[name].card if name in SOURCES else None


def card_tree(card: Card) -> dict[str, Any]:
    """Return a card as plain dicts and lists."""
    return asdict(card)


def _file(place: Place) -> str:
    original = place.original
    size = f"  {original.size:,} bytes" if original.size else "  size unknown"
    digest = f"  MD5 {original.md5}" if original.md5 else ""
    splits = f"  for {', '.join(original.splits)}" if original.splits else ""
    had = f"  {gigabytes(place.had)} of it here" if place.had else ""
    return f"  {original.url}{size}{digest}{splits}{'  here' if place.here else had}"


def _download(card: Card) -> str:
    if card.originals:
        return f"about {gigabytes(card.size)}, unless path=... is given"
    if card.hub:
        return f"about {gigabytes(card.size)} through `datasets`, unless path=... is given"
    return f"about {gigabytes(card.size)}, by hand: see the pages below, then give path=..."


def describe_card(name: str, card: Card) -> str:
    """Return what a data set is, how large its download is, where it comes from, where it is kept, how it is used."""
    splits = ", ".join(f"{split} {count:,}" for split, count in card.pictures.items())
    files = places(SOURCES[name](), "all")
    kept = files[0].archive.parent if files else home() / "hub" if card.hub else None
    rows = {
        "data set": card.title,
        "pictures": f"{sum(card.pictures.values()):,} ({splits})",
        "labels": card.labels,
        "licence": card.licence,
        "cite": card.citation,
        "download": _download(card),
        **({"kept in": str(kept)} if kept else {}),
        "path": card.layout,
        "use": f"mezzotint data prepare {name} {'' if kept else 'path=... '}-o PACK",
    }
    hub = [f"  https://huggingface.co/datasets/{card.hub}"] if card.hub else []
    sources = ["from", *map(_file, files), *hub] if kept else []
    pages = ["pages", *(f"  {page}" for page in card.pages)] if card.pages else []
    return "\n".join([*(f"{key:9} {value}" for key, value in rows.items()), *sources, *pages])
