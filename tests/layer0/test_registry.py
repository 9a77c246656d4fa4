"""Registries: names and summaries cost no import; unknown names say what exists."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mezzotint.errors import BadInput
from mezzotint.registry import Folder, Table, table_summaries

FILES = {
    "__init__.py": "raise ImportError('a parent was run')",
    "parts/__init__.py": "raise ImportError('the folder was run')",
    "parts/heun.py": '"""Second order.\n\nMore."""\nclass Helper: ...\nclass Heun: ...\n',
    "parts/dpm_solver.py": '"""Multistep."""\nclass DPMSolver: ...\n',
    "parts/blocks.py": '"""No part."""\nclass Block: ...\n',
    "parts/silent.py": "class Silent: ...\n",
    "parts/broken.py": '"""Fails when run."""\nraise ImportError("run")\nclass Broken: ...\n',
    "table.py": """
class Linear:
    '''A line.

    More.'''
class Cosine:
    '''A cosine.'''
class Other: ...
ROWS: dict = {}
SCHEDULES = Table("schedule", {"linear": Linear, "cosine": Cosine})
""",
}


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        path = tmp_path / "rooms" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "rooms"
    for name in [name for name in sys.modules if name == "rooms" or name.startswith("rooms.")]:
        del sys.modules[name]


@pytest.mark.usefixtures("rooms")
def test_names_and_summaries_run_nothing() -> None:
    parts = Folder("rooms.parts", "part")
    assert list(parts) == ["broken", "dpm-solver", "heun", "silent"]
    assert parts.summaries() == {
        "broken": "Fails when run.", "dpm-solver": "Multistep.", "heun": "Second order.", "silent": "",
    }  # fmt: skip
    assert len(parts) == 4
    assert "heun" in parts
    assert "blocks" not in parts
    assert "rooms.parts" not in sys.modules


def test_a_part_is_the_class_named_like_its_file(rooms: Path) -> None:
    for init in ("__init__.py", "parts/__init__.py"):
        (rooms / init).write_text("")
    parts = Folder("rooms.parts", "part")
    assert parts["heun"].__name__ == "Heun"
    assert parts["dpm-solver"].__name__ == "DPMSolver"


def test_a_new_file_is_a_new_part(rooms: Path) -> None:
    (rooms / "parts/euler.py").write_text("class Euler: ...")
    assert "euler" in Folder("rooms.parts", "part")


@pytest.mark.usefixtures("rooms")
def test_unknown_names() -> None:
    with pytest.raises(BadInput, match=r"unknown part 'huen': did you mean heun\?"):
        Folder("rooms.parts", "part")["huen"]
    with pytest.raises(BadInput, match=r"unknown part 'dpm_solver': did you mean dpm-solver\?"):
        Folder("rooms.parts", "part")["dpm_solver"]
    with pytest.raises(BadInput, match="unknown thing 'c': there are ab, xy"):
        Table("thing", {"ab": int, "xy": str})["c"]


def test_tables_are_mappings() -> None:
    table = Table("thing", {"a": int, "b": str})
    assert (list(table), len(table), table["a"]) == (["a", "b"], 2, int)
    assert "a" in table
    assert "c" not in table
    assert dict(table) == {"a": int, "b": str}


@pytest.mark.usefixtures("rooms")
def test_table_summaries_run_nothing() -> None:
    assert table_summaries("rooms.table", "SCHEDULES") == {"linear": "A line.", "cosine": "A cosine."}
    assert "rooms" not in sys.modules
    with pytest.raises(LookupError, match="no table NONE"):
        table_summaries("rooms.table", "NONE")


def test_no_such_package() -> None:
    with pytest.raises(LookupError, match="no package"):
        list(Folder("mezzotint.nowhere", "part"))
    with pytest.raises(LookupError, match="no package"):
        list(Folder("nowhere", "part"))
