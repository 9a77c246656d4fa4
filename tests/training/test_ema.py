"""The moving average: its half-life in images, and what it copies."""

import pytest
import torch
from torch import nn

from mezzotint.contracts import Family
from mezzotint.training.ema import Ema, decay


class Two(Family):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.register_buffer("adapted", torch.zeros(()))


@pytest.mark.parametrize("batch_size", [1, 10, 100])
def test_half_of_the_distance_remains_after_a_halflife_whatever_the_batch_size(batch_size: int) -> None:
    family = Two()
    ema = Ema(family, halflife_images=1000, warmup=0)
    with torch.no_grad():
        family.weight.fill_(1.0)
    for update in range(1000 // batch_size):
        ema.follow(family, batch_size, images_seen=(update + 1) * batch_size)
    torch.testing.assert_close(ema.family.get_parameter("weight").detach(), torch.full((3,), 0.5))


def test_warmup_bounds_the_halflife_by_a_part_of_the_images_seen() -> None:
    assert decay(64, 1_000, 500_000, 0.05) == pytest.approx(0.5 ** (64 / 50))
    assert decay(64, 100_000_000, 500_000, 0.05) == pytest.approx(0.5 ** (64 / 500_000))
    assert decay(64, 1_000, 0, 0.05) == 0.0


def test_buffers_are_copied_and_the_average_never_learns() -> None:
    family = Two()
    ema = Ema(family, 100, 0.05)
    family.get_buffer("adapted").fill_(7.0)
    ema.follow(family, 10, 10)
    assert ema.family.get_buffer("adapted") == 7.0
    assert not any(p.requires_grad for p in ema.family.parameters())
    assert not ema.family.training
