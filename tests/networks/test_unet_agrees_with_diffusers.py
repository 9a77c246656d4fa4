"""Our U-Net is diffusers.UNet2DModel under other names: same parameters, same output.

The settings on their side that make it Ho et al.'s network: sines before cosines (flip_sin_to_cos False) at frequencies
that include 1/10000 (freq_shift 1), norm_eps 1e-6, downsampling that pads right and below (downsample_padding 0).
"""

import re
import warnings

import pytest
import torch
from torch import Tensor

from mezzotint.contracts import Condition
from mezzotint.networks import NetworkShape
from mezzotint.networks.unet import UNet, UNetOptions

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers.models.unets.unet_2d import UNet2DModel

# Ours -> theirs, by prefix and by leaf; every key is renamed by one line of each.
PREFIXES = {
    r"level_embedding\.linear(\d)": r"time_embedding.linear_\1",
    r"class_embedding|conv_in|conv_out": r"\g<0>",
    r"norm_out": "conv_norm_out",
    r"(down|up)\.(\d+)\.resample": r"\1_blocks.\2.\1samplers.0.conv",
    r"(down|up)\.(\d+)\.layers\.(\d+)\.residual": r"\1_blocks.\2.resnets.\3",
    r"(down|up)\.(\d+)\.layers\.(\d+)\.attention": r"\1_blocks.\2.attentions.\3",
    r"middle\.(\d)\.residual": r"mid_block.resnets.\1",
    r"middle\.0\.attention": "mid_block.attentions.0",
}
LEAVES = {
    "residual": {"embed": "time_emb_proj", "shortcut": "conv_shortcut"},
    "attention": {"norm": "group_norm", "query": "to_q", "key": "to_k", "value": "to_v", "out": "to_out.0"},
}


def renamed(key: str) -> str:
    """Name in diffusers of one of our parameters."""
    pattern = next(pattern for pattern in PREFIXES if re.match(rf"({pattern})\.", key))
    matched = re.match(pattern, key)
    assert matched
    *middle, parameter = key[matched.end() + 1 :].split(".")
    table = next((leaves for part, leaves in LEAVES.items() if matched[0].endswith(part)), {})
    return ".".join([matched.expand(PREFIXES[pattern]), *(table.get(leaf, leaf) for leaf in middle), parameter])


def _theirs(options: UNetOptions, shape: NetworkShape) -> UNet2DModel:
    attends = [size in options.attention for size in options.resolutions(shape.image_size)]
    return UNet2DModel(
        sample_size=shape.image_size,
        in_channels=shape.channels_in,
        out_channels=shape.channels_out,
        flip_sin_to_cos=False,
        freq_shift=1,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        block_out_channels=options.widths(),
        layers_per_block=options.blocks,
        downsample_padding=0,
        attention_head_dim=options.channels_per_head,
        norm_num_groups=options.groups,
        norm_eps=1e-6,
        dropout=options.dropout,
        num_class_embeds=shape.num_classes or None,
    )


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
    ours, theirs = _randomise(UNet(options, shape)), _theirs(options, shape).eval()
    state = {renamed(key): value for key, value in ours.state_dict().items()}
    assert len(state) == len(ours.state_dict())
    assert set(state) == set(theirs.state_dict())
    theirs.load_state_dict(state, strict=True)

    x = torch.randn(3, shape.channels_in, shape.image_size, shape.image_size)
    level = torch.tensor([0.0, 17.25, 999.0])
    labels = torch.tensor([0, 3, 9]) if shape.num_classes else None
    with torch.no_grad():
        output: Tensor = ours(x, level, Condition(labels=labels))
        expected = theirs(x, level, labels, return_dict=False)[0]
    assert expected.std() > 0.1
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
