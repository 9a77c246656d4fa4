"""A comparison as a table: in the terminal, as CSV, Markdown or JSON; what can't be ranked stays apart."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mezzotint.cli.duration import spoken
from mezzotint.cli.scoring import number
from mezzotint.evaluation.literature import beside
from mezzotint.evaluation.metrics import Value
from mezzotint.evaluation.ranking import Ranked, ranked
from mezzotint.runs.compare import Entry

Group = Ranked[Entry]
_APART = "groups can't be ranked against each other: their protocol, extractor or reference differs"


def groups(entries: Sequence[Entry]) -> list[Group]:
    """Divide entries into groups that can be ranked, best first."""
    return ranked([(entry, entry.score) for entry in entries])


def verdict(group: Group) -> str | None:
    """Say how surely the first is better than the second."""
    if len(group.entries) < 2:
        return None
    if group.by is None:
        return "not ranked: the best of this metric is neither small nor large"
    first, second = (entry.name for entry, _ in group.entries[:2])
    if group.surely_best is None:
        return f"{first} before {second}; without errors nobody can say how surely"
    return (
        f"{first} is better than {second} with probability {group.surely_best:.3f} "
        f"({group.by}; normal approximation, errors of the draw of pictures, not of training)"
    )


def _cells(entry: Entry) -> dict[str, str]:
    """One line of a table in words."""
    score = entry.score
    values = {name: number(value) for name, value in score.values.items()}
    floor = {} if score.floor is None else score.floor.values
    for name in score.values:
        values[f"{name} floor"] = number(floor[name]) if name in floor else ""
    return {
        "name": entry.name,
        **values,
        "images seen": "" if entry.images_seen is None else f"{entry.images_seen:,}",
        "parameters": "" if entry.parameters is None else f"{entry.parameters:,}",
        "training": "" if entry.training_seconds is None else spoken(entry.training_seconds),
    }


def _notes(group: Group) -> list[str]:
    score = group.entries[0][1]
    warnings = dict.fromkeys(other.warning for _, other in group.entries if other.warning)
    return [
        *([told] if (told := verdict(group)) else []),
        *(f"warning: {warning}" for warning in warnings),
        *(f"literature: {entry.line(score)}" for entry in beside(score)),
    ]


def _titled(group: Group, rows: list[str]) -> str:
    score = group.entries[0][1]
    return "\n".join([score.description, *rows, *_notes(group)])


def _join(texts: list[str]) -> str:
    return "\n\n".join([*texts, _APART] if len(texts) > 1 else texts)


def _terminal(found: Sequence[Group]) -> str:
    return _join([_titled(group, _aligned([_cells(entry) for entry, _ in group.entries])) for group in found])


def _table(rows: list[dict[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Heads and lines; some have values that others lack, as without held-out images."""
    heads = list(dict.fromkeys(key for row in rows for key in row))
    return heads, [[row.get(head, "") for head in heads] for row in rows]


def _aligned(rows: list[dict[str, str]]) -> list[str]:
    heads, cells = _table(rows)
    table = [heads, *cells]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    ]


def _markdown(found: Sequence[Group]) -> str:
    return _join([_titled(group, _piped([_cells(entry) for entry, _ in group.entries])) for group in found])


def _piped(rows: list[dict[str, str]]) -> list[str]:
    heads, cells = _table(rows)
    lines = [heads, ["---"] * len(heads), *cells]
    return ["", *("| " + " | ".join(line) + " |" for line in lines), ""]


def _plain(entry: Entry, group: int) -> dict[str, Any]:
    """One entry with bare numbers, for programs."""
    score = entry.score
    floor = {} if score.floor is None else score.floor.values
    return {
        "group": group,
        "name": entry.name,
        "protocol": score.protocol,
        **{key: cell for name, value in score.values.items() for key, cell in _numbers(name, value, floor).items()},
        "images_seen": entry.images_seen,
        "parameters": entry.parameters,
        "training_seconds": entry.training_seconds,
        "reference_fingerprint": score.reference_fingerprint,
        "extractor_hash": score.extractor_hash,
        "warning": score.warning,
    }


def _numbers(name: str, value: Value, floor: Mapping[str, Value]) -> dict[str, float | None]:
    real = floor[name].value if name in floor else None
    return {name: value.value, f"{name}_error": value.error, f"{name}_floor": real}


def _csv(found: Sequence[Group]) -> str:
    rows = [_plain(entry, number) for number, group in enumerate(found, 1) for entry, _ in group.entries]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _json(found: Sequence[Group]) -> str:
    tree = [
        {
            "description": group.entries[0][1].description,
            "ranked_by": group.by,
            "probability_first_is_better": group.surely_best,
            "entries": [
                _plain(entry, n) | {"reused": entry.reused, "score": s.to_json()} for entry, s in group.entries
            ],
        }
        for n, group in enumerate(found, 1)
    ]
    return json.dumps(tree, indent=2)


FORMATS: dict[str, tuple[str, Callable[[Sequence[Group]], str]]] = {
    "table": (".txt", _terminal),
    "csv": (".csv", _csv),
    "markdown": (".md", _markdown),
    "json": (".json", _json),
}
