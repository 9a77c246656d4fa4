"""docs/how-to-choose.md is true: commands parse, names exist, links lead somewhere, large figures are measured."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from mezzotint.cli.main import CommandFolder, app
from mezzotint.cli.menu import KINDS
from mezzotint.diffusion.family import NORMS
from mezzotint.errors import BadInput
from mezzotint.evaluation.protocols import Protocol
from mezzotint.runs import build, recipe

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to-choose.md"
TEXT = PAGE.read_text("utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, flags=re.DOTALL)
PROSE = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
INLINE = sorted({" ".join(code.split()) for code in re.findall(r"`([^`]+)`", PROSE)})
BASES = ("cifar10-fast", "digits-edm", "cats-dogs-diffusion", "cats-dogs-diffusion-modern")
CLASSES = 10


@cache
def menu() -> set[str]:
    """The names of all commands, groups and the commands in them."""
    folder = CommandFolder()
    found = set(folder.list_commands(None))
    for group in ("data", "weights"):
        folder.package = f"mezzotint.cli.commands.{group}"
        found |= set(folder.list_commands(None))
    return found


def is_mention(code: str) -> bool:
    """Whether code names a command (`mezzotint data suggest`) and gives it nothing."""
    first, *words = code.split()
    return first == "mezzotint" and bool(words) and menu().issuperset(words)


def commands() -> list[str]:
    """Every command of the page, in blocks and in sentences, without the name it begins with."""
    lines = [line for block in BLOCKS for line in block.splitlines()] + INLINE
    return [line.removeprefix("mezzotint ") for line in lines if line.startswith("mezzotint ") and not is_mention(line)]


def parsed(line: str) -> dict[str, Any]:
    """Return what a command would be given; typer's own error where it wouldn't take these words."""
    command, words = get_command(app), shlex.split(line)
    while isinstance(command, CommandFolder):
        command = command.get_command(None, words.pop(0))
    return command.make_context("mezzotint", words).params


@cache
def names() -> set[str]:
    """All that can be chosen by name, and the commands."""
    return menu().union(NORMS, *(kind() for kind in KINDS.values()))


@cache
def flags() -> set[str]:
    root = CommandFolder()
    plain = [root.get_command(None, name) for name in ("train", "sample", "evaluate", "compare")]
    return {flag for command in plain for option in command.params for flag in option.opts}


def accepted(assignments: list[str]) -> bool:
    """Whether some recipe takes these overrides, and could be built and draw with them."""
    for base in BASES:
        try:
            build.check(recipe.read(base, assignments)[1], CLASSES)
        except BadInput:
            continue
        return True
    return False


def is_key(path: str) -> bool:
    """Whether some recipe has an option under this path."""
    return any(_has(recipe.read(base)[1].tree(), path.split(".")) for base in BASES)


def _has(tree: object, keys: list[str]) -> bool:
    return not keys or (isinstance(tree, dict) and keys[0] in tree and _has(tree[keys[0]], keys[1:]))


def is_known(code: str) -> bool:
    """Whether a word in backticks is something that exists."""
    if code in names() or is_mention(code) or code.removeprefix("mezzotint ") in commands():
        return True
    if code.startswith("--"):
        return code.split(maxsplit=1)[0] in flags()
    if "=" in code:
        return accepted(code.split())
    if "." in code:
        return is_key(code)
    try:
        return bool(Protocol.parse(code))
    except BadInput:
        return False


def test_the_page_is_read() -> None:
    assert len(commands()) >= 12
    assert len(INLINE) >= 60


@pytest.mark.parametrize("line", commands())
def test_a_command_parses_and_its_recipe_takes_its_overrides(line: str) -> None:
    given = parsed(line)
    if given.get("recipe") is not None:
        build.check(recipe.read(str(given["recipe"]), list(given.get("overrides") or ()))[1], CLASSES)
    elif line.startswith(("sample", "evaluate")):
        sampler, steps, changes = given["sampler"], given["steps"], list(given["overrides"] or ())
        changes += [f"sampling.sampler={sampler}"] * bool(sampler) + [f"sampling.steps={steps}"] * bool(steps)
        assert accepted(["family.class_conditional=true", "family.label_dropout=0.1", *changes])
    for protocol in given.get("protocol") or ():
        Protocol.parse(protocol)


@pytest.mark.parametrize("code", INLINE)
def test_a_word_in_backticks_exists(code: str) -> None:
    assert is_known(code)


def test_what_does_not_exist_is_told() -> None:
    for wrong in (
        "dpmpp-2n",
        "cifar10-fats",
        "family.schedule.men=1",
        "family.schedul",
        "--wheights",
        "fd-squeezenet-1x",
    ):
        assert not is_known(wrong), wrong
    with pytest.raises(Exception, match="No such option"):
        parsed("train digits-edm --budgets 3m")


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT))))
def test_a_link_leads_to_a_page_and_its_heading(link: str) -> None:
    path, _, anchor = link.partition("#")
    page = (PAGE.parent / path).resolve()
    assert page.is_file()
    assert not anchor or anchor in _anchors(page)


def test_large_figures_and_error_bars_stand_on_a_measured_page() -> None:
    pages = [ROOT / "LOG.md", *sorted((ROOT / "benchmarks").glob("*.md")), ROOT / "docs" / "recipes.md"]
    measured = " ".join(re.sub(r"\*\*", "", page.read_text("utf-8")) for page in pages)
    figures = re.findall(r"-?\d[\d,.]* ± \d[\d,.]*\d|\d{1,3}(?:,\d{3})+", " ".join(PROSE.split()))
    assert len(figures) >= 30
    assert [figure for figure in figures if not re.search(rf"(?<![\d.,]){re.escape(figure)}(?!\d)", measured)] == []
