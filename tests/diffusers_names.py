"""Our U-Net is diffusers.UNet2DModel under other names: the table of names, and their network for our options.

The settings on their side that make it Ho et al.'s network: sines before cosines (flip_sin_to_cos False) at frequencies
that include 1/10000 (freq_shift 1), norm_eps 1e-6, downsampling that pads right and below (downsample_padding 0).
"""

import re
import warnings
from dataclasses import replace

from torch import Tensor

from mezzotint.networks import NetworkShape
from mezzotint.networks.unet import UNet, UNetOptions

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers.models.unets.unet_2d import UNet2DModel

# Ours -> theirs, by prefix and by leaf; every key is renamed by one line of each.
PREFIXES = {
    r"told\.level\.linear(\d)": r"time_embedding.linear_\1",
    r"told\.labels": "class_embedding",
    r"conv_in|conv_out": r"\g<0>",
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


def renamed_state(ours: UNet) -> dict[str, Tensor]:
    """Return our parameters under their names in diffusers."""
    return {renamed(key): value for key, value in ours.state_dict().items()}


def unpatched(options: UNetOptions, shape: NetworkShape) -> tuple[UNetOptions, NetworkShape]:
    """Return the same network as it is once squares of pixels are folded into channels: diffusers folds none."""
    features = options.patch**2
    inner = replace(
        shape,
        channels_in=shape.channels_in * features,
        channels_out=shape.channels_out * features,
        image_size=shape.image_size // options.patch,
    )
    return options.but(patch=1), inner


def theirs(options: UNetOptions, shape: NetworkShape) -> UNet2DModel:
    """Return diffusers' network of the same architecture."""
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
