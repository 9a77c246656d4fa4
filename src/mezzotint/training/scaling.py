"""Loss scaling for float16: lifts gradients above the smallest numbers of the type, and gives way when they overflow.

Micikevicius et al. 2018, sec. 3.2: back-propagate the loss times a factor and divide the gradients by it; halve the
factor when a gradient isn't finite (that update is skipped), double it after a long time without.
"""

FIRST = 2.0**14
PATIENCE = 2000
"""Updates without an overflow after which the factor is doubled."""
LARGEST = 2.0**24


def rescaled(scale: float, steady: int, finite: bool) -> tuple[float, int]:
    """Return the next factor, and for how many updates it has held; a factor of exactly 1 means none and stays."""
    if scale == 1:
        return scale, 0
    if not finite:
        return max(scale / 2, 2.0), 0
    if steady + 1 < PATIENCE:
        return scale, steady + 1
    return min(scale * 2, LARGEST), 0
