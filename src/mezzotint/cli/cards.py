"""A data set in a few lines of text: what it is, and what would have to be downloaded."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mezzotint.cli.preparing import data_options
from mezzotint.data.originals import Place, places
from mezzotint.data.sources import SOURCES, Card, Offer, Source, gigabytes
from mezzotint.disk import home
from mezzotint.errors import BadInput
from mezzotint.options import Tree

_NAMES_SHOWN = 20


def is_source(name: str) -> bool:
    """Whether a name is a source's; a pack that is called like one comes first."""
    return name in SOURCES and not Path(name, "pack.json").is_file()


def card_of(name: str, assignments: Sequence[str]) -> tuple[Tree, str]:
    """Return what is known of a source without having its pictures, as a tree and as text.

    `BadInput` for overrides where nothing depends on them, and where the hub can't be asked.
    """
    options = data_options(name, assignments)
    split = options.split if "split" in options.model_fields_set else "all"
    if offer := options.source.offered(options.path, split):
        return asdict(offer), describe_offer(offer, assignments)
    if assignments:
        raise BadInput(f"override {assignments[0]!r}: what is known of {name} depends on no option")
    if card := options.source.card:
        return asdict(card), describe_card(name, card)
    return _source_tree(name, SOURCES[name]), describe_source(name, SOURCES[name])


def _lines(rows: Mapping[str, str]) -> list[str]:
    return [f"{key:9} {value}".rstrip() for key, value in rows.items()]


# --- Published data sets -------------------------------------------------------------------------------------


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
    return "\n".join([*_lines(rows), *sources, *pages])


# --- Data sets of the hub ------------------------------------------------------------------------------------


def describe_offer(offer: Offer, assignments: Sequence[str]) -> str:
    """Return what is told of a data set of the hub when asked so: splits, columns, licence, size of the download."""
    about = f"about {gigabytes(offer.size)}" if offer.size else "of unknown size,"
    published = {
        "download": f"{about} through `datasets`, all splits at once",
        "kept in": str(home() / "hub"),
        "from": f"https://huggingface.co/datasets/{offer.name}",
    }
    here = {"download": f"nothing: its files, {gigabytes(offer.size or 0)}, are here"}
    rows = {
        "data set": offer.name,
        "pictures": _counts(offer.pictures),
        "image": offer.image,
        "label": f"{offer.label} ({_names(offer.class_names)})" if offer.label else "none",
        "columns": ", ".join(offer.columns),
        "licence": offer.licence or "not told",
        **(here if offer.here else published),
        "use": f"mezzotint data prepare hub {shlex.join(assignments)} -o PACK",
    }
    return "\n".join(_lines(rows))


def _counts(pictures: Mapping[str, int | None]) -> str:
    known = [count for count in pictures.values() if count is not None]
    total = f"{sum(known):,}" if len(known) == len(pictures) else "not counted"
    named = (f"{split} {'?' if count is None else f'{count:,}'}" for split, count in pictures.items())
    return f"{total} ({', '.join(named)})"


def _names(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    return f"{len(names)} classes: {', '.join(names[:_NAMES_SHOWN])}{more}"


# --- Your own files ------------------------------------------------------------------------------------------


def describe_source(name: str, source: type[Source]) -> str:
    """Return what a source without a card reads and its options; nothing of it is downloaded."""
    known = _source_tree(name, source)
    rows = {
        "source": name,
        "reads": known["reads"],
        "path": known["path"] or "none",
        "download": "nothing: it reads what you have" if known["path"] else "nothing",
        "options": "" if known["options"] else "none",
    }
    use = f"mezzotint data prepare {name} {'path=... ' if known['path'] else ''}-o PACK"
    return "\n".join([*_lines(rows), *map(_option, known["options"]), *_lines({"use": use})])


def _option(option: Tree) -> str:
    return f"  {option['name']}={json.dumps(option['default'])}  {option['description']}"


def _source_tree(name: str, source: type[Source]) -> Tree:
    options = [
        {"name": key, "default": field.default, "description": field.description}
        for key, field in source.model_fields.items()
    ]
    return {"source": name, "reads": SOURCES.summaries()[name], "path": source.layout, "size": 0, "options": options}
