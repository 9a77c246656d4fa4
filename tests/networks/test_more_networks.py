"""What tells each network from the others: where the level enters, what attends, what is zero, what is refused."""

import pytest
import torch
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.errors import BadInput
from mezzotint.networks import Network, NetworkShape
from mezzotint.networks.adm import ADM, AdaptiveBlock, ADMOptions
from mezzotint.networks.blocks import ResidualBlock, SelfAttention
from mezzotint.networks.dit import DiT, DiTOptions, positions
from mezzotint.networks.four_block_unet import FourBlockUNet, FourBlockUNetOptions
from mezzotint.networks.ncsnpp import NCSNpp, NCSNppOptions
from mezzotint.networks.plain import Plain, PlainOptions
from mezzotint.networks.small_unet import SmallUNet, SmallUNetOptions
from mezzotint.networks.unet import UNet, UNetOptions
from mezzotint.options import Options, parse

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LEVEL = torch.tensor([0.1, 0.9])
SHAPE = NetworkShape(3, 3, 8)


def _awake(network: Network) -> Network:
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network.eval()


def _run(network: Network, x: Tensor = X) -> Tensor:
    with torch.no_grad():
        return network(x, LEVEL, Condition())


def _count(network: Network, kind: type[nn.Module]) -> int:
    return sum(isinstance(part, kind) for part in network.modules())


# --- ADM -----------------------------------------------------------------------------------------------------

ADM_SMALL = ADMOptions(channels=16, multipliers=(1, 2), blocks=1, attention=(4,), groups=4, channels_per_head=8)


def test_the_level_scales_and_shifts_the_second_norm():
    torch.manual_seed(0)
    block = AdaptiveBlock(16, 16, ADM_SMALL).double()
    nn.init.normal_(block.conv2.weight)
    x, e = torch.randn(2, 16, 4, 4, dtype=torch.float64), torch.randn(2, 64, dtype=torch.float64)
    scale, shift = (part[:, :, None, None] for part in block.embed(e).chunk(2, dim=1))
    silu = nn.functional.silu
    h = block.norm2(block.conv1(silu(block.norm1(x)))) * (1 + scale) + shift
    torch.testing.assert_close(block(x, e), x + block.conv2(silu(h)))


def test_adm_resamples_by_residual_blocks_and_improved_ddpm_by_convolutions():
    blocks = [_count(ADM(ADM_SMALL.but(residual_resampling=flag), SHAPE), AdaptiveBlock) for flag in (True, False)]
    assert blocks == [2 + 2 + 4 + 2, 2 + 2 + 4]


def test_attention_stands_where_it_was_asked_for_and_in_the_middle():
    assert _count(ADM(ADM_SMALL.but(attention=()), SHAPE), SelfAttention) == 1
    assert _count(ADM(ADM_SMALL.but(attention=(8, 4)), SHAPE), SelfAttention) == 1 + 2 * (1 + 2)


# --- The small U-Net ------------------------------------------------------------------------------------------

BERES = SmallUNetOptions(widths=(8, 12, 16), embedding=8, groups=4)


def test_the_level_enters_beside_the_input_and_nowhere_else():
    network = _awake(SmallUNet(BERES, SHAPE))
    first = network.get_submodule("down.0.0.conv1")
    assert isinstance(first, nn.Conv2d)
    assert first.in_channels == 8 + 8
    shortcut = network.get_submodule("down.0.0.shortcut")
    for conv in (first, shortcut):
        assert isinstance(conv, nn.Conv2d)
        nn.init.zeros_(conv.weight[:, 8:])
    same = X[:1].expand(2, 3, 8, 8)
    untold = _run(network, same)
    torch.testing.assert_close(untold[0], untold[1])  # those weights alone read the level, but for the groups' norm


def test_attention_stands_on_the_lowest_levels_alone():
    counts = [_count(SmallUNet(BERES.but(attention_levels=n), SHAPE), SelfAttention) for n in range(4)]
    assert counts == [0, 2, 2 + 4, 2 + 4 + 4]


# --- Four blocks ----------------------------------------------------------------------------------------------


def test_four_blocks_down_and_up_of_one_residual_and_three_attentions():
    options = FourBlockUNetOptions(channels=16, multipliers=(1, 1, 2, 2), groups=4, channels_per_head=8)
    network = FourBlockUNet(options, SHAPE)
    assert (_count(network, ResidualBlock), _count(network, SelfAttention)) == (4 + 1 + 4, 3 * (4 + 1 + 4))
    fewer = FourBlockUNet(options.but(largest_attention=4), SHAPE)
    assert (_count(fewer, ResidualBlock), _count(fewer, SelfAttention)) == (9, 3 * 7)


# --- NCSN++ ---------------------------------------------------------------------------------------------------

NCSN = NCSNppOptions(channels=16, multipliers=(1, 2), blocks=1, attention=(), groups=4)


@pytest.mark.parametrize("progressive", [True, False])
def test_progressive_input_is_a_second_way_in(progressive: bool):
    network = _awake(NCSNpp(NCSN.but(progressive_input=progressive), SHAPE))
    conv_in = network.get_submodule("conv_in")
    nn.init.zeros_(conv_in.get_parameter("weight"))
    assert torch.equal(_run(network), _run(network, X.flip(3))) is not progressive


def test_progressive_output_adds_what_each_level_makes_doubled():
    network = NCSNpp(NCSN.but(progressive_output=True, smooth=False), SHAPE)
    nn.init.normal_(network.get_submodule("up.0.output.2").get_parameter("weight"))
    found = _run(network)  # the larger level's part is still zero
    assert found.std() > 0.1
    assert torch.equal(found, found[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_skips_are_rescaled_so_that_depth_does_not_add_up():
    torch.manual_seed(0)
    network = NCSNpp(NCSNppOptions(channels=16, multipliers=(1,), blocks=12, attention=(), groups=4), SHAPE)
    first, last = network.get_submodule("down.0.layers.0"), network.get_submodule("down.0.layers.11")
    seen: list[Tensor] = []

    def see(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
        seen.append(output)

    for layer in (first, last):
        layer.register_forward_hook(see)
    _run(network)
    torch.testing.assert_close(seen[1], seen[0] * 0.5**5.5)  # eleven identities, each divided by the root of two


@pytest.mark.parametrize(("network", "options"), [(ADM, ADM_SMALL), (NCSNpp, NCSN)])
def test_patches_are_folded_into_channels_and_back(network: type[ADM | NCSNpp], options: ADMOptions | NCSNppOptions):
    folding = _awake(network(options.but(patch=2), NetworkShape(3, 3, 8)))  # type: ignore[arg-type]
    inner = _awake(network(options, NetworkShape(12, 12, 4)))  # type: ignore[arg-type]
    inner.load_state_dict(folding.state_dict())
    expected = nn.functional.pixel_shuffle(_run(inner, nn.functional.pixel_unshuffle(X, 2)), 2)
    assert torch.equal(_run(folding), expected)


# --- Plain ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dilations", "reach"), [((1,), 4), ((1, 2, 4), 1 + 2 + 4 + 1)])
def test_a_plain_network_sees_as_far_as_its_convolutions_reach(dilations: tuple[int, ...], reach: int):
    network = _awake(Plain(PlainOptions(widths=(8, 8, 8), groups=8, embedding=8, dilations=dilations), SHAPE))
    for part in network.modules():
        if isinstance(part, nn.GroupNorm):
            part.forward = lambda input: input  # it sees the whole image
    x = torch.zeros(1, 3, 32, 32, requires_grad=True)
    network(x, LEVEL[:1], Condition())[0, 0, 16, 16].backward()
    assert x.grad is not None
    (columns,) = x.grad[0].abs().sum((0, 1)).nonzero(as_tuple=True)
    assert (columns.min().item(), columns.max().item()) == (16 - reach, 16 + reach)


# --- DiT ------------------------------------------------------------------------------------------------------

TOKENS = DiTOptions(width=16, depth=2, heads=2, patch=4)


def test_fresh_blocks_are_the_identity_so_each_patch_comes_from_itself():
    network = DiT(TOKENS, SHAPE)
    nn.init.normal_(network.patch_out.weight)
    changed = X.clone()
    changed[:, :, 5, 2] += 1.0
    differs = (_run(network) - _run(network, changed)).abs().amax((0, 1)) > 0
    assert differs[4:, :4].all()
    assert differs.sum() == 16
    mixing = _awake(DiT(TOKENS, SHAPE))
    assert ((_run(mixing) - _run(mixing, changed)).abs().amax((0, 1)) > 0).all()


def test_every_place_has_its_own_position():
    found = positions(8, 32)
    assert found.shape == (64, 32)
    assert torch.cdist(found, found).add(torch.eye(64)).min() > 0.1
    torch.testing.assert_close(found.view(8, 8, 32)[3, :, :16], found.view(8, 8, 32)[3, :1, :16].expand(8, 16))


# --- Refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "tree", "message"),
    [
        (ADMOptions, {"channels": 48}, "groups=32 must divide the 48 channels"),
        (SmallUNetOptions, {"widths": [32, 60]}, "groups=8 must divide the 60 channels"),
        (SmallUNetOptions, {"embedding": 36}, "groups=8 must divide the 68 channels"),
        (SmallUNetOptions, {"attention_levels": 5}, "attention_levels=5 of only 4 levels"),
        (SmallUNetOptions, {"attention_levels": 2, "channels_per_head": 64}, "must divide the 96 channels"),
        (FourBlockUNetOptions, {"multipliers": [1, 2, 2]}, "multipliers"),
        (FourBlockUNetOptions, {"channels_per_head": 48}, "channels_per_head=48 must divide the 64 channels"),
        (NCSNppOptions, {"channels": 48, "multipliers": [2, 2]}, "groups=32 must divide the 48 channels"),
        (NCSNppOptions, {"fourier_scale": 0}, "fourier_scale"),
        (PlainOptions, {"kernel": 4}, "kernel=4 has no middle pixel; choose 3 or 5"),
        (PlainOptions, {"widths": []}, "widths"),
        (DiTOptions, {"heads": 3}, "heads=3 must divide the 256 channels"),
        (DiTOptions, {"width": 250}, "width"),
    ],
)
def test_wrong_options_are_refused(options: type[Options], tree: dict[str, object], message: str):
    with pytest.raises(BadInput, match=message):
        parse(options, tree)


@pytest.mark.parametrize(
    ("network", "options", "size", "message"),
    [
        (ADM, ADMOptions(), 8, "attention=16 does not occur: 8 px has levels of 8, 4, 2, 1"),
        (ADM, ADMOptions(channels=32, attention=(32,)), 32, "channels_per_head=64 must divide the 32 channels"),
        (SmallUNet, SmallUNetOptions(), 28, "image_size=28 can't be halved 3 times for 4 widths"),
        (FourBlockUNet, FourBlockUNetOptions(), 12, "image_size=12 .* for 4 blocks: must be a multiple of 8"),
        (NCSNpp, NCSNppOptions(), 28, "image_size=28 .* multiple of 8"),
        (Plain, PlainOptions(dilations=(1, 8)), 8, "dilations=8 reaches 8 pixels .* image_size=8: .* at most 7"),
        (DiT, DiTOptions(patch=3), 32, "image_size=32 is not made of patches of 3"),
        (UNet, UNetOptions(channels=32, multipliers=(1, 1, 1, 1), attention=()), 8, "groups=32 normalises each"),
        (UNet, UNetOptions(channels=32, multipliers=(1, 1, 1, 2), attention=()), 8, "groups=32 normalises each"),
        (ADM, ADM_SMALL.but(groups=32, channels=32, multipliers=(1,) * 4), 8, "groups=32 normalises each"),
        (NCSNpp, NCSN.but(groups=16, multipliers=(1,) * 4), 8, "groups=16 normalises each .* fewer groups"),
        (SmallUNet, SmallUNetOptions(widths=(8,) * 4), 8, "groups=8 normalises each"),
        (FourBlockUNet, FourBlockUNetOptions(channels=64, groups=64, multipliers=(1,) * 4), 8, "groups=64 normalises"),
    ],
)
def test_options_that_do_not_fit_the_images_are_refused(
    network: type[Network], options: Options, size: int, message: str
):
    with pytest.raises(BadInput, match=message):
        network(options, NetworkShape(3, 3, size))  # type: ignore[call-arg]
