"""Measuring speed: what is counted, and that works are timed in turn."""

import pytest
import torch
from torch import nn

from mezzotint.networks.blocks import Downsample, Upsample
from mezzotint.networks.resampling import SmoothDouble, SmoothHalve
from mezzotint.training.speed import (
    Convolution,
    alone_seconds,
    convolutions,
    flops,
    interleaved,
    medians,
    roofline_seconds,
    total_flops,
)

CPU = torch.device("cpu")


class Net(nn.Module):
    """One convolution called twice, and a strided one."""

    def __init__(self) -> None:
        super().__init__()
        self.same, self.strided = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 6, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.strided(self.same(self.same(x)))


def test_works_are_timed_in_turn_after_warming_up():
    order: list[str] = []
    found = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, CPU, warmup=2)
    assert "".join(order) == "aabbababab"
    assert {name: len(values) for name, values in found.items()} == {"a": 3, "b": 3}
    assert medians({"a": [3.0, 1.0, 2.0]}) == {"a": 2.0}


def test_every_convolution_of_a_call_is_found():
    network, x = Net(), torch.randn(2, 4, 8, 8)
    found = convolutions(lambda: network(x).sum().backward())
    same = (2, 4, 8, 8), (4, 4, 3, 3), (1, 1), (1, 1)
    assert found == {
        Convolution(*same, differentiates_x=False): 1,
        Convolution(*same, differentiates_x=True): 1,
        Convolution((2, 4, 8, 8), (6, 4, 3, 3), (2, 2), (0, 0), differentiates_x=True): 1,
    }


def test_a_module_that_pads_or_enlarges_is_counted_as_what_it_convolves():
    network, x = nn.Sequential(Downsample(4), Upsample(4)), torch.randn(2, 4, 8, 8)
    found = convolutions(lambda: network(x).sum().backward())
    assert {(convolution.x, convolution.transposed) for convolution in found} == {
        ((2, 4, 9, 9), False),
        ((2, 4, 4, 4), True),
    }
    assert total_flops(found) == flops(lambda: network(x).sum().backward())


def test_operations_of_convolutions_are_those_that_torch_counts():
    network, x = Net(), torch.randn(2, 4, 8, 8)

    def update() -> None:
        network(x).sum().backward()

    assert total_flops(convolutions(update)) == flops(update)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=2),
        nn.Conv2d(4, 4, 3, dilation=(1, 3), groups=4, bias=False),
        nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1, groups=2),
        SmoothHalve(),
        SmoothDouble(),
    ],
)
def test_groups_and_dilation_are_those_of_the_call(module: nn.Module):
    x = torch.randn(2, 4, 9, 9, requires_grad=True)
    ((one, _),) = convolutions(lambda: module(x)).items()
    assert one.flops() == 3 * flops(lambda: module(x))
    assert one(x, torch.ones(one.weight)).shape == module(x).shape
    assert alone_seconds(one, torch.float32, CPU, 1) > 0


def test_a_roofline_is_the_sum_over_calls(monkeypatch):
    one, two = (Convolution((1, n, 4, 4), (n, n, 1, 1), (1, 1), (0, 0), True) for n in (1, 2))
    monkeypatch.setattr("mezzotint.training.speed.alone_seconds", lambda c, *_: float(c.x[1]))
    assert roofline_seconds({one: 3, two: 1}, torch.float32, CPU) == 5.0


def test_a_convolution_runs_alone_in_both_types():
    convolution = Convolution((1, 3, 6, 6), (4, 3, 3, 3), (1, 1), (1, 1), differentiates_x=False)
    assert all(alone_seconds(convolution, dtype, CPU, 1) > 0 for dtype in (torch.float32, torch.bfloat16))
