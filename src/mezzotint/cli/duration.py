"""Times as people write them."""

import re

from mezzotint.errors import BadInput

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def seconds(text: str) -> float:
    """Read 90s, 10m, 2h, 1h30m or 1d as seconds."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadInput(f"duration {text!r}: must look like 90s, 10m, 2h or 1h30m")
    total = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if total <= 0:
        raise BadInput(f"duration {text!r}: must be longer than nothing")
    return total


def spoken(total_seconds: float) -> str:
    """Write seconds for people: 45 s, 12 min, 3.4 h."""
    if total_seconds < 100:
        return f"{total_seconds:.0f} s"
    return f"{total_seconds / 60:.0f} min" if total_seconds < 6000 else f"{total_seconds / 3600:.1f} h"
