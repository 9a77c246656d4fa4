"""Gradient checkpointing: bit for bit the plain gradient, less kept."""

import pytest
import torch
from torch import Tensor, nn

from mezzotint.contracts import Batch, Condition, Family, Loss, Phase
from mezzotint.machine import Machine
from mezzotint.networks import NetworkShape
from mezzotint.networks.unet import UNet, UNetOptions
from mezzotint.training.cost import memory
from mezzotint.training.recompute import recompute

CPU = Machine(torch.device("cpu"), "float32", 1)
OPTIONS = UNetOptions(channels=16, multipliers=(1, 2), blocks=1, attention=(4,), groups=8, dropout=0.2)


class Regression(Family):
    """A U-Net that learns nothing in particular."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = UNet(OPTIONS, NetworkShape(1, 1, 8))
        for p in self.network.parameters():  # it starts as zero: give every branch a gradient
            nn.init.normal_(p, std=0.1)

    def phases(self) -> list[Phase]:
        return [Phase("only", self.network, self._loss)]

    def _loss(self, batch: Batch) -> Loss:
        out = self.network(batch.images, torch.zeros(len(batch.images)), Condition())
        return Loss((out - 1).square().mean())


def _batch(rows: int) -> Batch:
    return Batch(torch.linspace(-1, 1, rows * 64).reshape(rows, 1, 8, 8), None, None, 0, 0)


def _gradients(family: Regression) -> dict[str, Tensor]:
    torch.manual_seed(5)
    family.train()._loss(_batch(3)).value.backward()
    return {name: p.grad for name, p in family.named_parameters() if p.grad is not None}


def test_gradients_are_equal_bit_for_bit_dropout_included() -> None:
    plain, saving = Regression(), Regression()
    recompute(saving.network.blocks())
    ours, theirs = _gradients(plain), _gradients(saving)
    assert ours.keys() == theirs.keys() == dict(plain.named_parameters()).keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_blocks_are_really_computed_twice_and_only_where_gradients_are_wanted() -> None:
    family, calls = Regression(), list[int]()
    blocks = family.network.blocks()
    blocks[0].residual.conv1.register_forward_hook(lambda *_: calls.append(1))  # pyright: ignore
    recompute(blocks)
    _gradients(family)
    assert len(calls) == 2
    with torch.no_grad():
        family._loss(_batch(1))
    assert len(calls) == 3


@pytest.mark.slow
def test_a_compiled_network_computes_blocks_again_and_learns_the_same() -> None:
    plain, saving = Regression(), Regression()
    recompute(saving.network.blocks())
    saving.network.compile(backend="aot_eager", dynamic=False)  # all of the compiled path but its kernels
    ours, theirs = _gradients(plain), _gradients(saving)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(theirs[name], gradient, msg=name)
    torch.manual_seed(5)
    loss = plain._loss(_batch(3)).value
    torch.manual_seed(5)
    torch.testing.assert_close(saving._loss(_batch(3)).value, loss)


def test_it_keeps_less_by_count() -> None:
    family = Regression()
    plain, saving = memory(family, _batch, CPU), memory(family, _batch, CPU, family.network.blocks())
    assert saving.image < 0.8 * plain.image
