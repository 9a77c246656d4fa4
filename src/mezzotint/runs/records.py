"""Records on disk: JSON that says where it is broken, and logs that survive a crash."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mezzotint.disk import write_bytes, writing
from mezzotint.errors import BadInput

Record = dict[str, Any]
"""What one JSON object holds: string keys, and numbers, text, lists and objects inside."""


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_line(record: Mapping[str, object]) -> bytes:
    """One line of JSON that every reader accepts: numbers that aren't finite become null."""
    return json.dumps(_finite(record), allow_nan=False, ensure_ascii=False).encode() + b"\n"


def parse_record(content: bytes, path: Path, first_line: int = 1) -> Record:
    """Parse one JSON object; `BadInput` names the file and the line, counted from `first_line`."""
    try:
        record = json.loads(content.decode())
    except UnicodeDecodeError:
        raise BadInput(f"{path}, line {first_line}: not UTF-8 text; repair or remove it") from None
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise BadInput(f"{path}, line {line}: not valid JSON ({error.msg}); repair or remove it") from None
    if not isinstance(record, dict):
        raise BadInput(f"{path}, line {first_line}: must be a JSON object, is {type(record).__name__}")
    return record


def read_bytes(path: Path) -> bytes:
    """Read a whole file; `BadInput` where it can't be."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: can't be read ({error.strerror or error})") from None


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode()), dict)
    except ValueError:
        return False


def read_lines(path: Path) -> list[tuple[int, bytes, Record]]:
    """Lines of a .jsonl file, each with its number and what it holds; a last one cut short is left out."""
    lines = read_bytes(path).splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith(b"\n") and not _is_record(lines[-1]):
        lines.pop()
    return [(n, line, parse_record(line, path, n)) for n, line in enumerate(lines, 1) if line.strip()]


def _whole_lines(content: bytes) -> bytes:
    """Finish a last line that lacks only its end, and drop one that was cut short."""
    start = content.rfind(b"\n") + 1
    if start == len(content):
        return content
    return content + b"\n" if _is_record(content[start:]) else content[:start]


def _ends_mid_line(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) not in (b"", b"\n")


def append_line(path: Path, record: Mapping[str, object]) -> None:
    """Append one record to a .jsonl file and flush it, mending a last line that a crash cut short."""
    line = json_line(record)
    with writing(path):
        if path.exists() and _ends_mid_line(path):
            write_bytes(path, _whole_lines(path.read_bytes()))
        with path.open("ab") as file:
            file.write(line)
