"""A network that is told what augmentation did: zeros and nothing are the same, other numbers aren't."""

import torch

from mezzotint.contracts import Condition
from mezzotint.networks import NetworkShape
from mezzotint.networks.unet import UNet, UNetOptions

SMALL = UNetOptions(channels=16, multipliers=(1, 2), blocks=1, attention=(4,), groups=8)


def _network(augmentation: int) -> UNet:
    torch.manual_seed(0)
    network = UNet(SMALL, NetworkShape(1, 1, 8, num_classes=2, augmentation=augmentation))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def _out(network: UNet, told: torch.Tensor | None) -> torch.Tensor:
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 0])
    return network(x, torch.tensor([0.1, 0.2, 0.3]), Condition(labels=labels, augmentation=told))


def test_zeros_and_nothing_are_the_same_and_each_image_is_told_its_own():
    network = _network(4)
    nothing, zeros = _out(network, None), _out(network, torch.zeros(3, 4))
    assert torch.equal(nothing, zeros)
    told = torch.zeros(3, 4)
    told[1] = torch.tensor([1.0, 0, -0.5, 0])
    differs = (_out(network, told) - nothing).flatten(1).abs().amax(1)
    assert differs[1] > 1e-3
    torch.testing.assert_close(differs[[0, 2]], torch.zeros(2), rtol=0, atol=1e-5)


def test_every_number_it_is_told_teaches_it():
    network = _network(4)
    _out(network, torch.ones(3, 4)).square().sum().backward()
    gradient = network.told.augmentation.weight.grad
    assert gradient is not None
    assert (gradient.abs().sum(0) > 0).all()


def test_a_network_that_isnt_told_has_no_weights_for_it():
    assert not [name for name, _ in _network(0).named_parameters() if "augmentation" in name]
    assert torch.equal(_out(_network(0), torch.ones(3, 4)), _out(_network(0), None))
