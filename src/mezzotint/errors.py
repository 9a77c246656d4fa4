"""The two ways a command fails on purpose, each told in one clear line."""

from collections.abc import Iterable
from difflib import get_close_matches


class BadInput(ValueError):
    """An option, file, checkpoint or folder that can't be used: what, where, what would be right (exit 2)."""


class RunFailed(RuntimeError):
    """Work that started well and could not go on, with the reason (exit 1)."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Say which known names are nearest to a wrong one: `did you mean a, b?`, else all that exist."""
    known = sorted(known)
    close = get_close_matches(name, known, n=count, cutoff=0.5)
    if close:
        return f"did you mean {', '.join(close)}?"
    return f"there are {', '.join(known)}" if known else "there are none"
