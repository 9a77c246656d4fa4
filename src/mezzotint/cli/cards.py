"""A published data set in a few lines of text: what it is, and what would have to be downloaded."""

from dataclasses import asdict
from typing import Any

from mezzotint.data.sources import SOURCES, Card, Original, gigabytes


def card_named(name: str) -> Card | None:
    """Return the card of the source of this name; None for other names and for sources of your own files."""
    return SOURCES[name].card if name in SOURCES else None


def card_tree(card: Card) -> dict[str, Any]:
    """Return a card as plain dicts and lists."""
    return asdict(card)


def _original(original: Original) -> str:
    size = f"  {original.size:,} bytes" if original.size else ""
    return f"  {original.url}{size}" + (f"  MD5 {original.md5}" if original.md5 else "")


def describe_card(name: str, card: Card) -> str:
    """Return what a data set is, how large its download is, where it comes from and how it is then used."""
    splits = ", ".join(f"{split} {count:,}" for split, count in card.pictures.items())
    rows = {
        "data set": card.title,
        "pictures": f"{sum(card.pictures.values()):,} ({splits})",
        "labels": card.labels,
        "licence": card.licence,
        "cite": card.citation,
        "download": f"about {gigabytes(card.size)}",
        "path": card.layout,
        "use": f"mezzotint data prepare {name} path=... -o PACK",
        "from": "",
    }
    return "\n".join([*(f"{key:9} {value}".rstrip() for key, value in rows.items()), *map(_original, card.originals)])
