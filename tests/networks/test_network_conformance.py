"""What every noise-conditioned network promises, asked of each one that the folder holds."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.errors import BadInput
from mezzotint.machine import Machine
from mezzotint.networks import NETWORKS, Network, NetworkShape
from mezzotint.options import Options, parse
from mezzotint.training.recompute import recompute
from mezzotint.training.speed import flops

NAMES = [name for name in NETWORKS if issubclass(NETWORKS[name], Network)]
SMALL: dict[str, dict[str, Any]] = {  # a network that isn't named here is tested at its defaults
    "adm": {"channels": 16, "multipliers": [1, 2], "blocks": 1, "groups": 4, "channels_per_head": 8},
    "dit": {"width": 16, "depth": 2, "heads": 2},
    "four-block-unet": {
        "channels": 16,
        "multipliers": [1, 1, 2, 2],
        "groups": 2,
        "attentions": 1,
        "channels_per_head": 8,
        "largest_attention": 16,
    },
    "ncsnpp": {"channels": 16, "multipliers": [1, 2], "blocks": 1, "groups": 4},
    "plain": {"widths": [8, 16, 8], "groups": 2, "embedding": 16, "dilations": [1, 2]},
    "small-unet": {"widths": [8, 16], "depth": 1, "embedding": 8, "groups": 2, "attention_levels": 1},
    "unet": {"channels": 16, "multipliers": [1, 2], "blocks": 1, "groups": 4},
}


def _options(name: str, size: int, **changes: object) -> Options:
    tree = {**SMALL.get(name, {}), **changes}
    if "attention" in NETWORKS[name].Options.model_fields:
        tree["attention"] = [size // 2]
    return parse(NETWORKS[name].Options, tree)


def _network(name: str, shape: NetworkShape, **changes: object) -> Network:
    torch.manual_seed(0)
    network = NETWORKS[name](_options(name, shape.image_size, **changes), shape)
    return _awake(network).eval()


def _awake(network: Network) -> Network:
    """Fill weights that start at zero: a fresh network is the zero function."""
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network


def _inputs(shape: NetworkShape, count: int = 2) -> tuple[Tensor, Tensor, Condition]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, shape.channels_in, shape.image_size, shape.image_size, generator=generator)
    labels = torch.arange(count) % shape.num_classes if shape.num_classes else None
    return x, torch.rand(count, generator=generator), Condition(labels=labels)


every_network = pytest.mark.parametrize("name", NAMES)
SHAPE = NetworkShape(3, 3, 8)
CLASSES = NetworkShape(1, 1, 8, num_classes=3)


def test_the_folder_holds_the_networks_of_the_literature():
    assert {"adm", "dit", "four-block-unet", "ncsnpp", "plain", "small-unet", "unet"} <= set(NAMES)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [8, 16, 32, 64])
@every_network
def test_serves_sizes_and_channels(name: str, size: int, channels: int):
    shape = NetworkShape(channels, 2 * channels, size)
    with torch.no_grad():
        found = _network(name, shape)(*_inputs(shape, 1))
    assert found.shape == (1, 2 * channels, size, size)
    assert found.isfinite().all()
    assert found.std() > 1e-3


@pytest.mark.parametrize("size", [128, 256])
@every_network
def test_serves_large_images_too(name: str, size: int):
    shape = NetworkShape(3, 3, size)
    with torch.device("meta"):
        network = NETWORKS[name](_options(name, size), shape)
        x, level, condition = torch.zeros(1, 3, size, size), torch.zeros(1), Condition()
        assert network(x, level, condition).shape == (1, 3, size, size)


ANY_SIZE = {"plain"}


@every_network
def test_an_odd_size_is_served_or_refused_by_name(name: str):
    shape, options = NetworkShape(1, 1, 27), parse(NETWORKS[name].Options, SMALL.get(name, {}))
    if name in ANY_SIZE:
        assert NETWORKS[name](options, shape)(*_inputs(shape)).shape == (2, 1, 27, 27)
    else:
        with pytest.raises(BadInput, match="image_size=27"):
            NETWORKS[name](options, shape)


@every_network
def test_starts_as_the_zero_function(name: str):
    network = NETWORKS[name](_options(name, 8), SHAPE)
    assert torch.equal(network(*_inputs(SHAPE)), torch.zeros(2, 3, 8, 8))


@every_network
def test_gradient_reaches_every_parameter(name: str):
    shape = NetworkShape(1, 1, 16, num_classes=2, augmentation=4)  # at 8 px four levels end in one pixel: no attention
    network = _network(name, shape).train()
    x, level, condition = _inputs(shape, 4)
    told = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
    network(x, level, Condition(labels=condition.labels, augmentation=told)).square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A constant added to all keys changes no softmax, so their bias has a zero gradient up to rounding.
    assert [name for name in silent if not name.endswith("key.bias")] == []


@every_network
def test_depends_on_level_and_labels_row_by_row(name: str):
    network = _network(name, CLASSES)
    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(1)).expand(3, 1, 8, 8)
    level, labels = torch.tensor([0.1, 0.1, 0.7]), torch.tensor([0, 2, 0])
    first, other_label, other_level = network(x, level, Condition(labels=labels)).detach()
    assert (first - other_label).abs().max() > 1e-3
    assert (first - other_level).abs().max() > 1e-3


@every_network
def test_labels_are_needed_by_a_network_of_classes_and_ignored_by_others(name: str):
    x, level, condition = _inputs(CLASSES)
    with pytest.raises(BadInput, match="3 classes needs labels"):
        _network(name, CLASSES)(x, level, Condition())
    plain = _network(name, NetworkShape(1, 1, 8))
    assert torch.equal(plain(x, level, condition), plain(x, level, Condition()))


@every_network
def test_zeros_and_nothing_say_the_same_of_augmentation(name: str):
    shape = NetworkShape(1, 1, 8, augmentation=4)
    network, (x, level, _) = _network(name, shape), _inputs(shape, 3)
    nothing = network(x, level, Condition())
    assert torch.equal(nothing, network(x, level, Condition(augmentation=torch.zeros(3, 4))))
    told = torch.zeros(3, 4)
    told[1] = torch.tensor([2.0, 0, -1.5, 0])
    differs = (network(x, level, Condition(augmentation=told)) - nothing).flatten(1).abs().amax(1)
    assert differs[1] > 1e-3
    torch.testing.assert_close(differs[[0, 2]], torch.zeros(2), rtol=0, atol=1e-5)


@every_network
def test_no_image_depends_on_its_batch_even_in_training(name: str):
    network, (x, level, condition) = _network(name, CLASSES, dropout=0.0), _inputs(CLASSES, 3)
    together = network.train()(x, level, condition)
    assert condition.labels is not None
    for row in range(3):
        alone = network(x[row : row + 1], level[row : row + 1], Condition(labels=condition.labels[row : row + 1]))
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)


@every_network
def test_dropout_is_drawn_in_training_alone(name: str):
    network, inputs = _network(name, SHAPE, dropout=0.3), _inputs(SHAPE)
    calm = network(*inputs)
    assert torch.equal(calm, network(*inputs))
    network.train()
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(network(*inputs))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], calm)
    assert torch.equal(_network(name, SHAPE, dropout=0.0).train()(*inputs), calm)


def _trained_once(network: Network, shape: NetworkShape) -> list[Tensor]:
    torch.manual_seed(7)
    output = network(*_inputs(shape))
    return [output.detach(), *torch.autograd.grad(output.square().sum(), list(network.parameters()))]


@every_network
def test_blocks_computed_again_give_the_same_bits(name: str):
    network = _network(name, CLASSES, dropout=0.2).train()
    blocks = network.blocks()
    inside = [part for block in blocks for part in block.modules()]
    assert blocks
    assert len({id(part) for part in inside}) == len(inside), "a block lies in another"
    plain = _trained_once(network, CLASSES)
    recompute(blocks)
    again = _trained_once(network, CLASSES)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


@every_network
def test_bfloat16_autocast_is_close_to_float32(name: str):
    shape = NetworkShape(3, 3, 16)
    network, inputs = _network(name, shape), _inputs(shape)
    with torch.no_grad():
        exact = network(*inputs)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(*inputs)
    assert rough.dtype == torch.bfloat16
    assert 0 < (rough - exact).std() / exact.std() < 0.05


@every_network
def test_gradients_under_autocast_are_finite_float32(name: str):
    network = _network(name, CLASSES).train()
    with torch.autocast("cpu", torch.bfloat16):
        output = network(*_inputs(CLASSES))
    output.float().square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


@every_network
def test_a_network_prepared_to_draw_draws_the_same_up_to_rounding(name: str):
    machine, network = Machine(torch.device("cpu"), "bfloat16", 1), _network(name, CLASSES)
    lightened = copy.deepcopy(network)
    machine.lighten(lightened)
    assert torch.bfloat16 in {parameter.dtype for parameter in lightened.parameters()}
    x, level, condition = _inputs(CLASSES)
    with torch.inference_mode(), machine.autocast():
        exact = network(x, level, condition)
        found = lightened(x.contiguous(memory_format=torch.channels_last), level, condition)
    assert (found - exact).std() / exact.std() < 0.05


@every_network
def test_weights_are_float32_and_float64_is_kept_throughout(name: str):
    network, (x, level, condition) = _network(name, CLASSES), _inputs(CLASSES)
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
    single = network(x, level, condition)
    double = network.double()(x.double(), level.double(), condition)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@every_network
def test_memory_format_is_kept(name: str, layout: torch.memory_format):
    network = _network(name, SHAPE).to(memory_format=layout)  # type: ignore[call-overload]
    x, level, condition = _inputs(SHAPE)
    found = network(x.contiguous(memory_format=layout), level, condition)
    assert found.is_contiguous(memory_format=layout)
    torch.testing.assert_close(found, _network(name, SHAPE)(x, level, condition), rtol=1e-4, atol=1e-5)


@every_network
def test_saved_weights_are_all_that_tells_two_networks_apart(name: str):
    network = _network(name, SHAPE)
    other = NETWORKS[name](_options(name, 8), SHAPE).eval()
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(*_inputs(SHAPE)), network(*_inputs(SHAPE)))


@every_network
def test_operations_are_counted_and_grow_with_the_image(name: str):
    found = []
    for size in (8, 16):
        shape = NetworkShape(3, 3, size)
        network, inputs = _network(name, shape), _inputs(shape, 1)
        found.append(flops(lambda network=network, inputs=inputs: network(*inputs)))
    assert 3 * found[0] < found[1]


@every_network
def test_it_is_one_graph_to_the_compiler(name: str):
    network, inputs = _network(name, CLASSES), _inputs(CLASSES)
    whole = torch.compile(network, backend="eager", fullgraph=True, dynamic=False)  # fails where the graph breaks
    with torch.no_grad():
        torch.testing.assert_close(whole(*inputs), network(*inputs))


@every_network
def test_defaults_are_options_that_read_back(name: str):
    options = parse(NETWORKS[name].Options, {})
    assert parse(NETWORKS[name].Options, options.tree()) == options
