"""The U-Net by itself: sizes, gradients, what it depends on, number types, refused options."""

import copy

import pytest
import torch
from torch import Tensor

from mezzotint.contracts import Condition
from mezzotint.errors import BadInput
from mezzotint.machine import Machine
from mezzotint.networks import NETWORKS, Architecture, NetworkShape
from mezzotint.networks.unet import UNet, UNetOptions
from mezzotint.options import parse

SMALL = UNetOptions(channels=16, multipliers=(1, 2), blocks=1, attention=(4,), groups=8)


def _network(shape: NetworkShape, options: UNetOptions = SMALL, *, randomised: bool = True) -> UNet:
    torch.manual_seed(0)
    network = UNet(options, shape)
    if randomised:  # a fresh network is the zero function
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


def _inputs(shape: NetworkShape, count: int = 2) -> tuple[Tensor, Tensor, Condition]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, shape.channels_in, shape.image_size, shape.image_size, generator=generator)
    labels = torch.arange(count) % shape.num_classes if shape.num_classes else None
    return x, torch.rand(count, generator=generator), Condition(labels=labels)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [8, 16, 24, 32, 64])
def test_serves_sizes_and_channels(size: int, channels: int):
    shape = NetworkShape(channels, 2 * channels, size)
    network = _network(shape, SMALL.but(attention=(size // 2,)) if size < 64 else SMALL.but(attention=()))
    with torch.no_grad():
        assert network(*_inputs(shape)).shape == (2, 2 * channels, size, size)


def test_patches_are_squares_of_pixels_and_come_back_where_they_were():
    shape = NetworkShape(3, 3, 16)
    network = _network(shape, SMALL.but(patch=2))
    x, level, condition = _inputs(shape)
    inner = _network(NetworkShape(12, 12, 8))  # the same weights, its channels given as patches already
    inner.load_state_dict(network.state_dict())
    patches = x.unflatten(2, (8, 2)).unflatten(4, (8, 2)).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
    expected = inner(patches, level, condition).unflatten(1, (3, 2, 2)).permute(0, 1, 4, 2, 5, 3).reshape(x.shape)
    assert torch.equal(network(x, level, condition), expected)


def test_starts_as_the_zero_function():
    shape = NetworkShape(3, 3, 8)
    assert torch.equal(_network(shape, randomised=False)(*_inputs(shape)), torch.zeros(2, 3, 8, 8))


def test_gradient_reaches_every_parameter():
    shape = NetworkShape(1, 1, 8, num_classes=2)
    network = _network(shape).train()
    network(*_inputs(shape)).square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A constant added to all keys changes no softmax, so their bias has a zero gradient up to rounding.
    assert [name for name in silent if not name.endswith("attention.key.bias")] == []


@pytest.mark.parametrize("level_scale", [1.0, 1000.0])
def test_depends_on_level_and_labels_row_by_row(level_scale: float):
    shape = NetworkShape(1, 1, 8, num_classes=3)
    network = _network(shape, SMALL.but(level_scale=level_scale))
    x = torch.randn(1, 1, 8, 8).expand(3, 1, 8, 8)
    level, labels = torch.tensor([0.1, 0.1, 0.7]), torch.tensor([0, 2, 0])
    first, other_label, other_level = network(x, level, Condition(labels=labels)).detach()
    assert (first - other_label).abs().max() > 1e-3
    assert (first - other_level).abs().max() > 1e-3
    alone = network(x[1:2], level[1:2], Condition(labels=labels[1:2]))[0]
    torch.testing.assert_close(alone, other_label, rtol=1e-5, atol=1e-5)


def test_level_scale_multiplies_the_level():
    shape = NetworkShape(1, 1, 8)
    scaled, plain = _network(shape, SMALL.but(level_scale=250.0)), _network(shape)
    x, level, condition = _inputs(shape)
    torch.testing.assert_close(scaled(x, level, condition), plain(x, 250.0 * level, condition))


def test_same_seed_same_output_and_dropout_draws_from_the_default_generator():
    shape = NetworkShape(1, 1, 8)
    network = _network(shape, SMALL.but(dropout=0.3))
    inputs = _inputs(shape)
    assert torch.equal(network(*inputs), network(*inputs))
    network.train()
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(network(*inputs))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_bfloat16_autocast_is_close_to_float32():
    shape = NetworkShape(3, 3, 16)
    network = _network(shape, SMALL.but(attention=(8,)))
    inputs = _inputs(shape)
    with torch.no_grad():
        exact = network(*inputs)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(*inputs)
    assert rough.dtype == torch.bfloat16
    assert 0 < (rough - exact).std() / exact.std() < 0.03


@pytest.mark.parametrize("num_classes", [0, 3])
def test_a_lightened_network_gives_the_same_up_to_rounding(num_classes: int):
    shape, machine = NetworkShape(3, 3, 16, num_classes), Machine(torch.device("cpu"), "bfloat16", 1)
    network = _network(shape, SMALL.but(attention=(8,)))
    lightened = copy.deepcopy(network)
    machine.lighten(lightened)
    assert lightened.conv_in.weight.dtype == torch.bfloat16
    assert lightened.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        exact = network(*_inputs(shape))
        with machine.autocast():
            light, plain = lightened(*_inputs(shape)), network(*_inputs(shape))
    assert (light - exact).std() < 1.2 * (plain - exact).std()


def test_float64_throughout():
    shape = NetworkShape(1, 1, 8)
    network, (x, level, condition) = _network(shape), _inputs(shape)
    single = network(x, level, condition)
    double = network.double()(x.double(), level.double(), condition)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


def test_every_network_is_registered_with_options():
    assert NETWORKS["unet"] is UNet
    for name in NETWORKS:
        assert issubclass(NETWORKS[name], Architecture)
        assert parse(NETWORKS[name].Options, {}).tree()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"channels": 48, "groups": 32}, "groups=32 must divide the 48 channels of a level, e.g. .*16, 24, 48"),
        ({"multipliers": []}, "multipliers"),
        ({"multipliers": [1, 0]}, "multipliers.1"),
        ({"dropout": 1.0}, "dropout"),
        ({"chanels": 64}, "chanels: unknown key: did you mean channels"),
    ],
)
def test_wrong_options_are_refused(tree: dict[str, object], message: str):
    with pytest.raises(BadInput, match=message):
        parse(UNetOptions, tree)


@pytest.mark.parametrize(
    ("options", "size", "message"),
    [
        (UNetOptions(), 28, "image_size=28 .* multiple of 8"),
        (UNetOptions(patch=2), 24, "image_size=24 .* after patches of 2 .* multiple of 16"),
        (UNetOptions(), 8, "attention=16 does not occur: 8 px has levels of 8, 4, 2, 1 features per side"),
        (UNetOptions(channels_per_head=24), 32, "channels_per_head=24 must divide the 128 channels"),
        (UNetOptions(attention=(16, 5)), 32, "attention=5 does not occur: 32 px has levels of 32, 16, 8, 4 features"),
        (
            SMALL.but(patch=2, attention=(28,)),
            28,
            "attention=28 does not occur: 28 px in patches of 2 has levels of 14, 7 features",
        ),
    ],
)
def test_options_that_do_not_fit_the_images_are_refused(options: UNetOptions, size: int, message: str):
    with pytest.raises(BadInput, match=message):
        UNet(options, NetworkShape(3, 3, size))


def test_a_network_of_classes_asks_for_labels():
    shape = NetworkShape(1, 1, 8, num_classes=3)
    x, level, _ = _inputs(shape)
    with pytest.raises(BadInput, match="3 classes needs labels"):
        _network(shape)(x, level, Condition())
