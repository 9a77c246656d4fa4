"""ADM, DiT and the blocks of NCSN++ are diffusers' under other names: same parameters, same output."""

import math
import re
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from mezzotint.contracts import Condition
from mezzotint.networks import NetworkShape
from mezzotint.networks.adm import ADM, ADMOptions
from mezzotint.networks.dit import DiT, DiTOptions
from mezzotint.networks.ncsnpp import NCSNppOptions, Residual
from mezzotint.networks.resampling import Move

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
    from diffusers.models.unets.unet_2d import UNet2DModel

LEAVES = {
    "embed": "time_emb_proj",
    "shortcut": "conv_shortcut",
    "attention.norm": "attention.group_norm",
    "attention.query": "attention.to_q",
    "attention.key": "attention.to_k",
    "attention.value": "attention.to_v",
    "attention.out": "attention.to_out.0",
}


def _random(network: nn.Module) -> None:
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
        is_scale = "norm" in name and name.endswith("weight")
        nn.init.normal_(parameter, mean=float(is_scale), std=fan_in**-0.5)
    network.eval()


# --- ADM ------------------------------------------------------------------------------------------------------

OUTER = {
    "told.level.linear1": "time_embedding.linear_1",
    "told.level.linear2": "time_embedding.linear_2",
    "told.labels": "class_embedding",
    "conv_in": "conv_in",
    "conv_out": "conv_out",
    "norm_out": "conv_norm_out",
}


def _places(options: ADMOptions) -> dict[str, tuple[str, str]]:
    """Our flat list of layers -> theirs: where a layer's block is, and where its attention is."""
    places = {f"middle.{i}": (f"mid_block.resnets.{i}", "mid_block.attentions.0") for i in (0, 1)}
    levels = range(len(options.multipliers))
    down, up = list[tuple[str, str]](), list[tuple[str, str]]()
    for i in levels:
        down += [(f"down_blocks.{i - 1}.downsamplers.0", "")] if i else []
        down += [(f"down_blocks.{i}.resnets.{j}", f"down_blocks.{i}.attentions.{j}") for j in range(options.blocks)]
        up += [(f"up_blocks.{i}.resnets.{j}", f"up_blocks.{i}.attentions.{j}") for j in range(options.blocks + 1)]
        up += [(f"up_blocks.{i}.upsamplers.0", "")] if i < levels[-1] else []
    return {
        **places,
        **{f"down.{n}": place for n, place in enumerate(down)},
        **{f"up.{n}": place for n, place in enumerate(up)},
    }


def _renamed(key: str, places: dict[str, tuple[str, str]]) -> str:
    layer = re.match(r"(down|middle|up)\.\d+", key)
    if not layer:
        place, _, leaf = key.rpartition(".")
        return f"{OUTER[place]}.{leaf}"
    rest = key.removeprefix(layer[0] + ".")
    for mine, other in LEAVES.items():
        rest = rest.replace(f"{mine}.", f"{other}.")
    part, _, leaf = rest.replace("conv1.1.", "conv1.").partition(".")
    return f"{places[layer[0]][part == 'attention']}.{leaf}"


def _their_adm(options: ADMOptions, shape: NetworkShape) -> UNet2DModel:
    attends = [size in options.attention for size in options.resolutions(shape.image_size)]
    plain = "Resnet{}sampleBlock2D" if options.residual_resampling else "{}Block2D"
    resampling = "resnet" if options.residual_resampling else "conv"
    return UNet2DModel(
        sample_size=shape.image_size,
        in_channels=shape.channels_in,
        out_channels=shape.channels_out,
        flip_sin_to_cos=False,
        freq_shift=1,
        down_block_types=tuple("AttnDownBlock2D" if a else plain.format("Down") for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else plain.format("Up") for a in reversed(attends)),
        block_out_channels=options.widths(),
        layers_per_block=options.blocks,
        downsample_padding=0,
        downsample_type=resampling,
        upsample_type=resampling,
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=options.channels_per_head,
        norm_num_groups=options.groups,
        attn_norm_num_groups=options.groups,
        norm_eps=1e-6,
        num_class_embeds=shape.num_classes or None,
    )


def _inputs(shape: NetworkShape) -> tuple[Tensor, Tensor, Tensor | None]:
    x = torch.randn(3, shape.channels_in, shape.image_size, shape.image_size)
    return x, torch.tensor([0.0, 17.25, 999.0]), torch.tensor([0, 3, 9]) if shape.num_classes else None


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("classes", [0, 10])
def test_adm_agrees(residual: bool, classes: int):
    options = ADMOptions(
        channels=32,
        multipliers=(1, 2, 3),
        blocks=2,
        attention=(8, 4),
        channels_per_head=32,
        groups=16,
        residual_resampling=residual,
    )
    shape = NetworkShape(3, 6, 16, classes)
    ours, other = ADM(options, shape), _their_adm(options, shape).eval()
    _random(ours)
    places = _places(options)
    state = {_renamed(key, places): value for key, value in ours.state_dict().items()}
    assert len(state) == len(ours.state_dict())
    other.load_state_dict(state, strict=True)

    x, level, labels = _inputs(shape)
    with torch.no_grad():
        expected = other(x, level, labels, return_dict=False)[0]
        assert expected.std() > 0.1
        assert_close(ours(x, level, Condition(labels=labels)), expected, rtol=1e-4, atol=1e-5)


# --- The blocks of NCSN++ -------------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("way", ["halve", "double", "stay"])
def test_the_blocks_of_ncsnpp_agree(smooth: bool, way: str):
    options = NCSNppOptions(channels=16, groups=8, multipliers=(1,), smooth=smooth)
    moves: dict[str, Move | None] = {"halve": options.halve(), "double": options.double(), "stay": None}
    ours = Residual(options, 16, 16, moves[way])
    other = ResnetBlock2D(
        in_channels=16,
        temb_channels=64,
        groups=8,
        up=way == "double",
        down=way == "halve",
        kernel="fir" if smooth else "sde_vp",  # type: ignore[arg-type]
        use_in_shortcut=way != "stay",
        output_scale_factor=math.sqrt(2),
        skip_time_act=True,
    ).eval()
    _random(ours)
    state = {re.sub(r"conv1\.1\.", "conv1.", key): value for key, value in ours.state_dict().items()}
    state = {key.replace("embed", "time_emb_proj").replace("shortcut", "conv_shortcut"): v for key, v in state.items()}
    other.load_state_dict(state, strict=True)
    x, embedding = torch.randn(2, 16, 8, 8), torch.randn(2, 64)
    with torch.no_grad():
        assert_close(ours(x, embedding), other(x, embedding), rtol=1e-5, atol=1e-5)


# --- DiT ------------------------------------------------------------------------------------------------------


def _their_dit(options: DiTOptions, shape: NetworkShape) -> DiTTransformer2DModel:
    return DiTTransformer2DModel(
        num_attention_heads=options.heads,
        attention_head_dim=options.width // options.heads,
        in_channels=shape.channels_in,
        out_channels=shape.channels_out,
        num_layers=options.depth,
        norm_num_groups=1,
        sample_size=shape.image_size,
        patch_size=options.patch,
        num_embeds_ada_norm=shape.num_classes - 1,  # they add the class that stands for none
        norm_eps=1e-6,
    )


def _swapped(rows: Tensor, order: tuple[int, ...]) -> Tensor:
    parts = rows.chunk(len(order))
    return torch.cat([parts[i] for i in order])


def _block_state(ours: DiT, index: int) -> dict[str, Tensor]:
    """A block's parameters under their names; each of their blocks embeds level and class by itself."""
    state = ours.state_dict()
    mine, told = f"transformer.{index}", {key: state[f"told.level.{key}"] for key in ("linear1.bias", "linear2.bias")}
    sines, cosines = state["told.level.linear1.weight"].chunk(2, dim=1)
    found = {
        "norm1.emb.timestep_embedder.linear_1.weight": torch.cat([cosines, sines], dim=1),
        "norm1.emb.timestep_embedder.linear_1.bias": told["linear1.bias"],
        "norm1.emb.timestep_embedder.linear_2.weight": state["told.level.linear2.weight"],
        "norm1.emb.timestep_embedder.linear_2.bias": told["linear2.bias"],
        "norm1.emb.class_embedder.embedding_table.weight": state["told.labels.weight"],
    }
    for leaf in ("weight", "bias"):
        q, k, v = state[f"{mine}.attention.project.{leaf}"].chunk(3)
        modulation = state[f"{mine}.modulation.{leaf}"]
        found |= {
            f"norm1.linear.{leaf}": _swapped(modulation, (1, 0, 2, 4, 3, 5)),  # theirs: shift before scale
            f"attn1.to_q.{leaf}": q,
            f"attn1.to_k.{leaf}": k,
            f"attn1.to_v.{leaf}": v,
            f"attn1.to_out.0.{leaf}": state[f"{mine}.attention.out.{leaf}"],
            f"ff.net.0.proj.{leaf}": state[f"{mine}.mlp_in.{leaf}"],
            f"ff.net.2.{leaf}": state[f"{mine}.mlp_out.{leaf}"],
        }
    return {f"transformer_blocks.{index}.{key}": value for key, value in found.items()}


def _dit_state(ours: DiT, options: DiTOptions, shape: NetworkShape) -> dict[str, Tensor]:
    state, patch = ours.state_dict(), options.patch
    found = {key: value for i in range(options.depth) for key, value in _block_state(ours, i).items()}
    patches = state["patch_in.weight"].unflatten(1, (shape.channels_in, patch, patch))
    found |= {"pos_embed.proj.weight": patches, "pos_embed.proj.bias": state["patch_in.bias"]}
    for leaf in ("weight", "bias"):
        rows = state[f"patch_out.{leaf}"].unflatten(0, (shape.channels_out, patch * patch))
        found[f"proj_out_1.{leaf}"] = _swapped(state[f"modulation.{leaf}"], (1, 0))
        found[f"proj_out_2.{leaf}"] = rows.transpose(0, 1).flatten(0, 1)  # theirs: channels fastest
    return found


def test_dit_agrees():
    options, shape = DiTOptions(width=32, depth=3, heads=4, patch=2), NetworkShape(4, 8, 8, num_classes=11)
    ours, other = DiT(options, shape), _their_dit(options, shape).eval()
    _random(ours)
    found = other.load_state_dict(_dit_state(ours, options, shape), strict=False)
    assert [key for key in found.missing_keys if "pos_embed" not in key] == []
    assert found.unexpected_keys == []
    theirs = next(buffer for name, buffer in other.named_buffers() if name.endswith("pos_embed"))
    ours.positions.copy_(theirs[0])  # sinusoids of slightly other frequencies

    x, level, labels = _inputs(shape)
    with torch.no_grad():
        expected = other(x, level, labels, return_dict=False)[0]
        assert expected.std() > 0.1
        assert_close(ours(x, level, Condition(labels=labels)), expected, rtol=1e-4, atol=1e-4)
