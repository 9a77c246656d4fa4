"""Every sampler x schedule and prediction x schedule against an exact denoiser; `pytest -s` prints the tables."""

from collections.abc import Callable

import pytest
import torch

from measures import Checked, all_moments, dependences, moved_by_rounding, order, orders, round_trips
from mezzotint.diffusion.denoiser import PREDICTIONS
from mezzotint.diffusion.schedules.cosine import Cosine
from mezzotint.diffusion.schedules.karras import Karras
from mezzotint.options import parse
from mezzotint.samplers import SAMPLERS, Sampler
from mezzotint.samplers.adaptive import Adaptive
from mezzotint.samplers.dpmpp_2s import DPMPP2S
from mezzotint.samplers.lms import LMS
from mezzotint.samplers.unipc import UniPC

TABLES: dict[str, Callable[[], Checked]] = {
    "order of convergence": orders,
    "error of mean / covariance": all_moments,
    "change of an image drawn alone": dependences,
    "float32: error at sigma_min / sigma_max": lambda: round_trips(torch.float32),
    "bfloat16: error at sigma_min / sigma_max": lambda: round_trips(torch.bfloat16),
}


@pytest.mark.parametrize("title", TABLES)
def test_every_pair_is_as_it_should_be(title: str) -> None:
    found = TABLES[title]()
    widths = {
        key: max(len(row[key]) for row in [*found.rows, dict.fromkeys(found.rows[0], key)]) for key in found.rows[0]
    }
    print(f"\n{title}\n{'  '.join(key.ljust(widths[key]) for key in widths)}")
    for row in found.rows:
        print("  ".join(row[key].ljust(widths[key]) for key in widths))
    assert not found.wrong


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("sampler", "steps"), [("heun", 18), ("ddim", 50)])
def test_bfloat16_moves_what_is_drawn_by_less_than_half_a_grey_level(prediction: str, sampler: str, steps: int) -> None:
    """Of noise too: its D is off by units of codes at sigma_max (the table), but that shrinks along with the noise."""
    moved = moved_by_rounding(PREDICTIONS[prediction](), Cosine(), SAMPLERS[sampler](), steps)
    assert 1e-6 < moved < 1 / 255


VARIANTS = [
    *(DPMPP2S(r=r) for r in (0.25, 1)),
    *(LMS(slopes=slopes) for slopes in (1, 2, 3)),
    *(UniPC(predictor_order=order) for order in (1, 3)),
    *(parse(UniPC, {"predictor_order": order, "b": "bh1"}) for order in (1, 2)),
]


@pytest.mark.parametrize("sampler", VARIANTS, ids=repr)
def test_order_of_convergence_of_variants(sampler: Sampler) -> None:
    assert order(sampler, Karras()) == pytest.approx(sampler.order, abs=0.2)


def test_a_wrong_order_would_be_seen() -> None:
    """The measure itself: Euler's method isn't of second order, nor Heun's of first."""
    assert order(SAMPLERS["euler"](), Karras()) == pytest.approx(1, abs=0.1)
    assert order(SAMPLERS["heun"](), Karras()) == pytest.approx(2, abs=0.1)


def test_dormand_prince_is_of_fifth_order() -> None:
    undivided = parse(Adaptive, {"pair": "dormand-prince", "relative": 1, "absolute": 1})
    assert order(undivided, Karras(), (64, 128)) == pytest.approx(5, abs=0.5)
