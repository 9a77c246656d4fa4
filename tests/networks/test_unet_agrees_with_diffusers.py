"""Our U-Net is diffusers.UNet2DModel under other names: same parameters, same output."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from diffusers_names import renamed_state, theirs, unpatched
from mezzotint.contracts import Condition
from mezzotint.networks import NetworkShape
from mezzotint.networks.unet import UNet, UNetOptions


def _randomise(network: UNet) -> UNet:
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
        is_scale = "norm" in name and name.endswith("weight")
        torch.nn.init.normal_(parameter, mean=float(is_scale), std=fan_in**-0.5)
    return network.eval()


CASES = {
    "ho-et-al-at-32px": (UNetOptions(channels=32, blocks=2), NetworkShape(3, 3, 32)),
    "digits-8px": (UNetOptions(channels=16, multipliers=(1, 2), attention=(4,), groups=8), NetworkShape(1, 1, 8)),
    "64px-learned-variance": (
        UNetOptions(channels=16, multipliers=(1, 1, 2, 3, 4), blocks=1, attention=(16, 8), groups=8),
        NetworkShape(3, 6, 64),
    ),
    "several-heads": (
        UNetOptions(channels=32, multipliers=(1, 2, 2), attention=(8, 32), channels_per_head=8, dropout=0.1),
        NetworkShape(4, 4, 32),
    ),
    "classes": (
        UNetOptions(channels=32, multipliers=(1, 2), blocks=1, attention=(), groups=16),
        NetworkShape(3, 3, 16, num_classes=10),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_parameters_map_one_to_one_and_outputs_agree(case: str):
    options, shape = CASES[case]
    ours, other = _randomise(UNet(options, shape)), theirs(options, shape).eval()
    state = renamed_state(ours)
    assert len(state) == len(ours.state_dict())
    assert set(state) == set(other.state_dict())
    other.load_state_dict(state, strict=True)

    x = torch.randn(3, shape.channels_in, shape.image_size, shape.image_size)
    level = torch.tensor([0.0, 17.25, 999.0])
    labels = torch.tensor([0, 3, 9]) if shape.num_classes else None
    with torch.no_grad():
        output: Tensor = ours(x, level, Condition(labels=labels))
        expected = other(x, level, labels, return_dict=False)[0]
    assert expected.std() > 0.1
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)


def test_patches_folded_outside_are_their_network_at_the_folded_size():
    options, shape = (
        UNetOptions(channels=16, multipliers=(1, 2), attention=(4,), groups=8, patch=2),
        NetworkShape(3, 3, 16),
    )
    ours, other = _randomise(UNet(options, shape)), theirs(*unpatched(options, shape)).eval()
    other.load_state_dict(renamed_state(ours), strict=True)
    x, level = torch.randn(2, 3, 16, 16), torch.tensor([3.0, 700.0])
    with torch.no_grad():
        expected = pixel_shuffle(other(pixel_unshuffle(x, 2), level, return_dict=False)[0], 2)
        torch.testing.assert_close(ours(x, level, Condition()), expected, rtol=1e-5, atol=1e-5)
