"""Measured tables: printed, and written as a page with the claim, the command, the day, versions and hardware."""

import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mezzotint.disk import write_text
from mezzotint.machine import Machine

HERE = Path(__file__).parent
Row = Mapping[str, str | int | float | None]


def arguments(description: str | None, devices: bool = True) -> ArgumentParser:
    """Return a parser with what every script is asked; without `devices` for one that measures the CPU alone."""
    parser = ArgumentParser(description=(description or "").partition("\n")[0])
    if devices:
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--write", action="store_true", help="write benchmarks/<name>.md as well")
    return parser


def _cell(value: str | int | float | None) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else value


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table; the first row's keys are its columns."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _versions(packages: Sequence[str]) -> str:
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _hardware(machine: Machine) -> str:
    facts = machine.environment()
    return f"{facts['hardware']}, {machine.device}, {machine.threads} threads, {facts['platform']}"


def show(
    name: str, claim: str, parts: Sequence[str], machine: Machine, write: bool, packages: Sequence[str] = ()
) -> None:
    """Print a measurement's parts (tables, sentences, pictures); with `write` make a page of them."""
    body = "\n\n".join(parts)
    print(f"\n{body}")
    if not write:
        return
    command = f"python benchmarks/{Path(sys.argv[0]).name} {shlex.join(sys.argv[1:])}".strip()
    made = [
        f"# {claim}",
        f"    {command}",
        f"{date.today().isoformat()}; Python {sys.version.split()[0]}, {_versions(['mezzotint', 'torch', *packages])}; "
        f"{_hardware(machine)}. All in one run.",
        body,
    ]
    write_text(HERE / f"{name}.md", "\n\n".join(made) + "\n")
    print(f"\nwritten: benchmarks/{name}.md")
