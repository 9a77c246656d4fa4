"""Autoencoders: shapes from 8 to 256 px, classes, gradients everywhere, sizes they can't serve."""

from typing import Any

import pytest
import torch

from mezzotint.errors import BadInput
from mezzotint.networks import NETWORKS, Autoencoder, NetworkShape
from mezzotint.networks.coding import with_class
from mezzotint.options import parse

SMALL: dict[str, dict[str, Any]] = {
    "conv-vae": {"latent": 5, "widths": [8, 8], "groups": 4},
    "residual-vae": {"latent": 5, "channels": 8, "multipliers": [1, 2, 2], "blocks": 1, "groups": 4},
    "residual-autoencoder": {"code_channels": 5, "channels": 8, "multipliers": [1, 2, 2], "blocks": 2, "groups": 4},
}


def _network(kind: str, shape: NetworkShape, **changes: object) -> Autoencoder:
    torch.manual_seed(0)
    part = NETWORKS[kind]
    return part(parse(part.Options, {**SMALL[kind], **changes}), shape)


def test_these_are_all_autoencoders() -> None:
    assert {kind for kind in NETWORKS if issubclass(NETWORKS[kind], Autoencoder)} == set(SMALL)


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 1), (32, 3), (64, 3)])
def test_codes_and_numbers_have_the_shapes_they_promise(kind: str, size: int, channels: int) -> None:
    network = _network(kind, NetworkShape(channels, 2 * channels, size, encoded=2))
    images = torch.randn(2, channels, size, size)
    encoded = network.encoder(images, None)
    first, *rest = network.latent_shape
    assert encoded.shape == (2, 2 * first, *rest)
    assert network.decoder(torch.randn(2, *network.latent_shape), None).shape == (2, 2 * channels, size, size)


@pytest.mark.parametrize(
    ("kind", "deep"),
    [
        ("conv-vae", {"widths": [4] * 6, "groups": 2}),
        ("residual-vae", {"channels": 4, "multipliers": [1] * 7}),
        ("residual-autoencoder", {"channels": 4, "multipliers": [1] * 5}),
    ],
)
def test_256_px_are_served(kind: str, deep: dict[str, object]) -> None:
    with torch.device("meta"):
        network = _network(kind, NetworkShape(3, 3, 256), **deep)
        assert network.decoder(torch.empty(1, *network.latent_shape), None).shape == (1, 3, 256, 256)


@pytest.mark.parametrize("kind", SMALL)
def test_a_code_of_one_image_does_not_depend_on_the_others(kind: str) -> None:
    network = _network(kind, NetworkShape(1, 1, 8, 3)).train()
    images, labels = torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    whole = network.encoder(images, labels)
    torch.testing.assert_close(network.encoder(images[3:4], labels[3:4]), whole[3:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", SMALL)
def test_every_parameter_learns_and_classes_matter(kind: str) -> None:
    network = _network(kind, NetworkShape(1, 1, 8, 2))
    for parameter in network.parameters():  # what begins at 0 would hide what comes before it
        torch.nn.init.normal_(parameter, std=0.2)
    images = torch.randn(4, 1, 8, 8)
    labels = torch.tensor([0, 1, 0, 1])
    codes = network.encoder(images, labels)
    network.decoder(codes.tanh(), labels).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert not codes.allclose(network.encoder(images, 1 - labels))
    with pytest.raises(BadInput, match="a network of 2 classes needs labels"):
        network.encoder(images, None)


@pytest.mark.parametrize("kind", SMALL)
def test_decoders_begin_with_numbers_of_zero(kind: str) -> None:
    network = _network(kind, NetworkShape(1, 3, 8))
    assert network.decoder(torch.randn(2, *network.latent_shape), None).abs().max() == 0


@pytest.mark.parametrize("kind", SMALL)
def test_half_precision_runs(kind: str) -> None:
    network = _network(kind, NetworkShape(1, 1, 8, 2))
    with torch.autocast("cpu", torch.bfloat16):
        codes = network.encoder(torch.randn(2, 1, 8, 8), torch.tensor([0, 1]))
        assert network.decoder(codes, torch.tensor([0, 1])).isfinite().all()


def test_a_class_is_a_one_hot_vector_beside_the_numbers() -> None:
    x = torch.tensor([[5.0], [6.0]])
    assert with_class(x, torch.tensor([1, 0]), 2).tolist() == [[5.0, 0.0, 1.0], [6.0, 1.0, 0.0]]
    assert with_class(x, None, 0) is x


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            "conv-vae",
            {"widths": [8, 8, 8]},
            r"image_size=28 can't be halved 3 times for 4 levels, one more than widths",
        ),
        ("residual-vae", {"multipliers": [1, 1, 1, 1]}, r"image_size=28 can't be halved 3 times for 4 multipliers"),
        ("residual-autoencoder", {"multipliers": [1] * 4}, r"image_size=28 can't be halved 3 times for 4 multipliers"),
        ("conv-vae", {"latent": 0}, "latent: .*greater than or equal to 1"),
        ("residual-vae", {"latent": 0}, "latent: .*greater than or equal to 1"),
        ("residual-autoencoder", {"code_channels": 0}, "code_channels: .*greater than or equal to 1"),
        ("conv-vae", {"groups": 3}, "groups=3 must divide the 8 channels"),
        ("residual-vae", {"groups": 3}, "groups=3 must divide the 8 channels"),
    ],
)
def test_what_does_not_fit_is_refused_naming_both(kind: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        _network(kind, NetworkShape(1, 1, 28), **changes)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("conv-vae", {"widths": [8, 8, 8], "groups": 8}),
        ("residual-vae", {"channels": 8, "multipliers": [1, 1, 1, 2], "groups": 8}),
        ("residual-autoencoder", {"channels": 8, "multipliers": [1] * 4, "groups": 8}),
    ],
)
def test_a_group_of_a_single_number_is_refused(kind: str, changes: dict[str, object]) -> None:
    with pytest.raises(BadInput, match="groups=8 normalises each of 8 channels by itself"):
        _network(kind, NetworkShape(1, 1, 8), **changes)
    _network(kind, NetworkShape(1, 1, 8), **{**changes, "groups": 4})
