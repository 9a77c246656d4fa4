"""The samplers against diffusers' schedulers on their own grids, every move of it, with an exact denoiser.

Which pairs, and where ours departs from theirs on purpose and why, is listed in tests/agreement.py.
"""

import diffusers
import pytest

from agreement import BUT_LAST, ON_PURPOSE, THE_SAME, Pair, largest_difference
from mezzotint.samplers import SAMPLERS

ROUNDING = 1e-5


@pytest.mark.filterwarnings("ignore")  # of diffusers: deprecations of its own
@pytest.mark.parametrize("steps", [10, 25])
@pytest.mark.parametrize("pair", THE_SAME, ids=lambda pair: pair.name)
def test_every_move_agrees(pair: Pair, steps: int) -> None:
    assert largest_difference(pair, steps) < ROUNDING


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pair", ON_PURPOSE, ids=lambda pair: pair.name)
def test_what_is_said_to_differ_does(pair: Pair) -> None:
    assert largest_difference(pair, 10) > 10 * ROUNDING


def test_pairs_name_what_exists() -> None:
    for pair in (*THE_SAME, *ON_PURPOSE):
        assert pair.ours in SAMPLERS
        assert hasattr(diffusers, pair.theirs)
        assert pair.compared.startswith("every move")
        assert bool(pair.why) == (pair in ON_PURPOSE)
    assert BUT_LAST in {pair.compared for pair in THE_SAME}
