"""Every pair of generator and critic: shapes, classes, sizes; and what each kind promises."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from mezzotint.contracts import Noise
from mezzotint.errors import BadInput
from mezzotint.networks import NETWORKS, AdversarialPair, NetworkShape
from mezzotint.networks.dcgan import DCGAN, DCGANOptions
from mezzotint.networks.pairs import ACTIVATIONS, Activation, sides, widths
from mezzotint.networks.r3gan import R3GAN
from mezzotint.networks.stylegan2 import Modulated, StyleGAN2, StyleGAN2Options, demodulation, with_deviation
from mezzotint.seeds import SeededNoise
from small_gans import SIZES, pair

PAIRS = [name for name in NETWORKS if issubclass(NETWORKS[name], AdversarialPair)]
SHAPE = NetworkShape(3, 3, 16, 0)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def _drawn(found: AdversarialPair, count: int = 3, labels: Tensor | None = None) -> Tensor:
    noise: Noise = SeededNoise(range(count))
    return found.generator_network(noise.normal((count, *found.latent_shape)), labels, noise)


def test_every_pair_is_tested() -> None:
    assert sorted(SIZES) == sorted(PAIRS)


# --- All of them -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("size", [8, 14, 16, 24])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_gradients(kind: str, size: int, channels: int) -> None:
    found = pair(kind, NetworkShape(channels, channels, size))
    images = _drawn(found)
    assert images.shape == (3, channels, size, size)
    assert images.dtype == torch.float32
    values = found.critic(images, None)
    assert values.shape == (3,)
    values.sum().backward()
    idle = [name for name, p in found.named_parameters() if p.grad is None]
    assert not idle
    assert all(bool(p.grad.isfinite().all()) for p in found.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", PAIRS)
def test_classes_change_what_is_drawn_and_judged_and_are_asked_for(kind: str) -> None:
    found = pair(kind, NetworkShape(3, 3, 16, num_classes=4)).eval()
    one, other = (_drawn(found, labels=torch.full((3,), label)) for label in (0, 1))
    assert not one.equal(other)
    values = [found.critic(one, torch.full((3,), label)) for label in (0, 1)]
    assert not values[0].equal(values[1])
    for call in (lambda: _drawn(found), lambda: found.critic(one, None)):
        with pytest.raises(BadInput, match="a network of 4 classes needs one"):
            call()


@pytest.mark.parametrize("kind", PAIRS)
def test_a_critic_can_be_differentiated_twice_under_autocast(kind: str) -> None:
    found = pair(kind, SHAPE, **({"critic_norm": "layer"} if kind == "dcgan" else {}))
    images = torch.randn(4, 3, 16, 16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        (gradient,) = torch.autograd.grad(found.critic(images, None).sum(), images, create_graph=True)
        gradient.square().sum().backward()
    assert any(p.grad is not None and bool((p.grad != 0).any()) for p in found.critic.parameters())


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("size", [9, 22, 250])
def test_sizes_that_no_pair_serves_are_refused_with_the_nearest(kind: str, size: int) -> None:
    with pytest.raises(BadInput, match=rf"image_size={size} can't be halved .*data\.image_size=\d+ or \d+"):
        pair(kind, NetworkShape(3, 3, size))


@pytest.mark.parametrize("kind", PAIRS)
def test_a_latent_of_no_numbers_is_refused(kind: str) -> None:
    with pytest.raises(BadInput, match="latent: .*greater than or equal to 1, got 0"):
        pair(kind, SHAPE, latent=0)


def test_levels_go_down_to_four_to_seven() -> None:
    assert sides(64) == [4, 8, 16, 32, 64]
    assert sides(28) == [7, 14, 28]
    assert sides(48) == [6, 12, 24, 48]
    assert sides(256)[0] == 4
    assert widths(64, 5, 8) == [512, 512, 256, 128, 64]


# --- DCGAN -----------------------------------------------------------------------------------------------------


def test_dcgan_at_64_px_is_the_published_one() -> None:
    """Layers of 512, 256, 128, 64 features; the last layer of one and the first of the other also have a bias."""
    found = DCGAN(DCGANOptions(), NetworkShape(3, 3, 64))
    count = [
        sum(p.numel() for name, p in net.named_parameters() if not name.endswith("bias") or "layers" in name)
        for net in (found.generator_network, found.critic)
    ]
    assert count[0] == 3_576_704 + 3  # the last layer's bias
    assert count[1] == 2_765_568 + 64  # the first layer's bias


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_chosen_for_each_side(name: Activation) -> None:
    found = pair("dcgan", SHAPE, activation=name, critic_activation="elu" if name == "relu" else "relu")
    kinds = [{type(m) for m in net.modules()} for net in (found.generator_network, found.critic)]
    kind = type(ACTIVATIONS[name]())
    assert kind in kinds[0]
    assert kind not in kinds[1]


def test_dcgan_begins_with_weights_of_a_fiftieth() -> None:
    found = pair("dcgan", NetworkShape(3, 3, 32), ngf=16, ndf=16)
    for net in (found.generator_network, found.critic):
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.weight.numel() > 1000:
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)


# --- Spectral norm ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dcgan", "sngan"])
def test_spectral_norm_makes_every_weight_of_the_critic_norm_one(kind: str) -> None:
    found = pair(kind, NetworkShape(3, 3, 16, num_classes=3), spectral_norm=True)
    assert found.critic.is_spectral
    for _ in range(100):
        found.critic.follow_weights()
    weights = [p.flatten(1) for name, p in _weights(found.critic).items() if p.ndim > 1]
    assert len(weights) > 3
    for weight in weights:
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=0.02)
    assert not pair(kind, SHAPE, spectral_norm=False).critic.is_spectral


def _weights(critic: nn.Module) -> dict[str, Tensor]:
    layers = (nn.Conv2d, nn.Linear, nn.Embedding)
    return {name: part.weight for name, part in critic.named_modules() if isinstance(part, layers)}


def test_forward_passes_leave_the_spectral_norm_alone_and_following_moves_it() -> None:
    found = pair("sngan", SHAPE).train()
    before = copy.deepcopy(found.critic.state_dict())
    for _ in range(3):
        found.critic(torch.randn(2, 3, 16, 16), None)
    assert all(value.equal(before[name]) for name, value in found.critic.state_dict().items())
    with torch.no_grad():
        next(iter(found.critic.parameters())).add_(1.0)
    found.critic.follow_weights()
    assert any(not value.equal(before[name]) for name, value in found.critic.state_dict().items() if name[-2:] == "_u")


# --- R3GAN -----------------------------------------------------------------------------------------------------


def test_r3gan_blocks_begin_as_the_identity() -> None:
    found = pair("r3gan", SHAPE)
    assert isinstance(found, R3GAN)
    x = torch.randn(2, 16, 4, 4)
    assert found.generator_network.levels[0](x).equal(x)  # type: ignore[index,operator]
    assert 0.3 < _drawn(found, 64).std().item() < 3


def test_r3gan_groups_must_divide() -> None:
    with pytest.raises(BadInput, match="group_width=3 must divide the 8 features"):
        pair("r3gan", SHAPE, group_width=3)


# --- StyleGAN2 -------------------------------------------------------------------------------------------------


def test_demodulated_filters_have_unit_norm() -> None:
    weight, style = torch.randn(6, 5, 3, 3), torch.randn(4, 5)
    scaled = weight * style[:, None, :, None, None] * demodulation(weight, style)[:, :, None, None, None]
    torch.testing.assert_close(scaled.square().sum((2, 3, 4)), torch.ones(4, 6))


def test_a_modulated_convolution_is_one_with_each_images_own_weights() -> None:
    layer = Modulated(5, 6, 3, style=7)
    x, w = torch.randn(4, 5, 8, 8), torch.randn(4, 7)
    style = layer.affine(w)
    filters = layer.conv.weight * layer.conv.scale * style[:, None, :, None, None]
    filters = filters / filters.square().sum((2, 3, 4), keepdim=True).sqrt()
    rows = [nn.functional.conv2d(x[i : i + 1], filters[i], padding=1) for i in range(4)]
    torch.testing.assert_close(layer(x, w), torch.cat(rows), rtol=1e-4, atol=1e-5)


def test_unit_variance_goes_in_and_comes_out() -> None:
    layer = Modulated(64, 64, 3, style=16)
    out = layer(torch.randn(8, 64, 16, 16), torch.randn(8, 16))[:, :, 1:-1, 1:-1]
    assert out.std().item() == pytest.approx(1, rel=0.1)


def test_noise_inputs_follow_each_images_own_stream_and_count_by_their_strength() -> None:
    network = pair("stylegan2", SHAPE).generator_network
    w = torch.randn(3, network.width)
    plain = [network.draw(w, None, SeededNoise(seeds)) for seeds in ((0, 1, 2), (0, 1, 9))]
    assert plain[0].equal(plain[1])  # strengths are zero at first
    for layer in network.styled:  # type: ignore[union-attr]
        nn.init.ones_(layer.strength)
    noisy = [network.draw(w, None, SeededNoise(seeds)) for seeds in ((0, 1, 2), (0, 1, 9))]
    torch.testing.assert_close(noisy[0][:2], noisy[1][:2])
    assert not noisy[0][2].allclose(noisy[1][2], atol=1e-3)


def test_styles_are_mixed_as_often_as_asked_and_the_first_layer_keeps_its_own() -> None:
    latent = torch.randn(4000, 6)
    for mixing in (0.0, 0.5, 1.0):
        network = pair("stylegan2", SHAPE, mixing=mixing).generator_network
        w, mixed = network.map(latent, None), network.mixed(latent, None)
        assert mixed.shape == (4000, 5, 5)  # 4, 8 and 16 features per side: 1 + 2 + 2 layers
        assert mixed[:, 0].equal(w)
        differs = (mixed != w[:, None]).any(2)
        assert differs[:, -1].float().mean().item() == pytest.approx(mixing, abs=0.03)
        assert (differs[:, 1:] >= differs[:, :-1]).all()


def test_w_for_every_layer_draws_what_one_w_for_all_draws() -> None:
    network = pair("stylegan2", SHAPE).generator_network
    w = torch.randn(2, network.width)
    every = w[:, None].expand(-1, 5, -1)
    one, same = (network.draw(chosen, None, SeededNoise(range(2))) for chosen in (w, every))
    torch.testing.assert_close(one, same)


def test_the_deviation_within_a_group_is_told_to_its_images() -> None:
    h = torch.randn(8, 3, 2, 2)
    out = with_deviation(h)
    assert out[:, :3].equal(h)
    for image in range(8):
        group = h[[i for i in range(8) if i % 2 == image % 2]]
        assert out[image, 3, 0, 0].item() == pytest.approx(group.std(0, unbiased=False).mean().item(), rel=1e-5)
    assert with_deviation(h[:1])[0, 3, 0, 0].item() == pytest.approx(math.sqrt(1e-8), rel=1e-3)
    assert with_deviation(torch.randn(7, 3, 2, 2)).shape == (7, 4, 2, 2)


def test_equalised_layers_learn_at_a_rate_of_their_own() -> None:
    network = StyleGAN2(StyleGAN2Options(), SHAPE).generator_network
    assert network.map(torch.randn(100, 128), None).square().mean().item() == pytest.approx(1, rel=0.3)
    assert network.mapping[0].weight.std().item() == pytest.approx(100, rel=0.05)  # type: ignore[union-attr]


def test_every_layer_of_the_critic_has_weights_of_unit_deviation_and_values_too() -> None:
    """So that one rate moves all of them alike (Karras et al. 2018, sec. 4.1)."""
    critic = pair("stylegan2", NetworkShape(3, 3, 16, num_classes=4), ndf=32).critic
    weights = {name: p for name, p in critic.named_parameters() if name.endswith("weight")}
    assert {"verdict.linear.weight", "verdict.embedding.weight"} < weights.keys()
    assert {name: p.std().item() for name, p in weights.items()} == pytest.approx(dict.fromkeys(weights, 1), abs=0.3)
    values = critic(torch.randn(256, 3, 16, 16), torch.arange(256) % 4)
    assert 0.3 < values.std().item() < 3
