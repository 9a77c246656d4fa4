"""README.md is true: its commands run in order, its Python runs, its file map is complete, its targets exist."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from mezzotint.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")

# The commands as written, with less to do: a test has seconds, not half an hour.
_SHORTER = {
    "--budget 30m": "--budget 25s network.channels=16 training.batch_size=16 training.sheet_size=4",
    "training.images=20k": "training.images=640 training.sheet_size=4",
    "-n 100": "-n 9",
    "-n 40": "-n 9",
    "fd-squeezenet-1k": "fd-squeezenet-8",
    "--against digits:test": "--against digits:test --protocol fd-classifier-16",
}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def _commands() -> list[list[str]]:
    lines = [line for block in _blocks("bash") for line in block.splitlines() if line.startswith("mezzotint ")]
    for long, short in _SHORTER.items():
        lines = [line.replace(long, short) for line in lines]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.slow
def test_its_commands_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEZZOTINT_WEIGHTS", str(shared_data / "weights"))
    for i in range(24):
        kind = tmp_path / "my-pictures" / ("light" if i % 2 else "dark")
        kind.mkdir(parents=True, exist_ok=True)
        planes = [Image.effect_noise((40 + i, 48), 60 + i + plane) for plane in range(3)]
        Image.merge("RGB", planes).save(kind / f"{i}.jpg")
    commands = _commands()
    assert len(commands) >= 10, "the README's command blocks were not found"
    for command in commands:
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, (command, result.output, result.exception)
    assert (tmp_path / "samples" / "mine" / "sheet.png").is_file()
    assert (tmp_path / "samples" / "trial.png").is_file()
    assert (tmp_path / "compared" / "sheet.png").is_file()


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = _blocks("python")
    short = code.replace(
        '"training.images=5k"', '"training.images=256", "network.channels=32", "training.sheet_size=4"'
    )
    assert short != code
    exec(short, {})
    assert (tmp_path / "runs" / "from-python" / "recipe.yaml").is_file()


def test_its_file_map_names_every_file_and_nothing_else() -> None:
    (file_map,) = _blocks("text")
    package = ROOT / "src" / "mezzotint"
    files = {str(path.relative_to(package)) for path in package.rglob("*.py") if path.read_text("utf-8").strip()}
    named, folder = set(), ""
    for line in file_map.splitlines():
        entry, _, clause = line.strip().partition(" ")
        if entry.endswith("/"):
            folder = entry
        else:
            assert len(clause.strip()) > 10, f"{entry} has no clause"
            named.add(f"{folder}{entry}" if line.startswith("  ") else entry)
    assert named == files | {"recipes/*.yaml"}


def test_its_make_targets_exist_and_its_links_lead_somewhere() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"^make (\w+)", "\n".join(_blocks("bash")), flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
