"""The VQ-VAE: the gradient passes straight through, the codebook follows, nothing is drawn."""

import math

import pytest
import torch
from torch import Tensor

from mezzotint.contracts import Batch
from mezzotint.errors import BadInput
from mezzotint.networks import NetworkShape
from mezzotint.networks.conv_vae import ConvVAE, ConvVAEOptions
from mezzotint.networks.residual_autoencoder import ResidualAutoencoder, ResidualAutoencoderOptions
from mezzotint.options import parse
from mezzotint.runs.codecs import Identity
from mezzotint.seeds import AmbientNoise
from mezzotint.training.slices import slices
from mezzotint.vae.vq_family import VQVAE, VQVAEOptions, VQVAESampling

SHAPE = (1, 8, 8)


def _vqvae(**options: object) -> VQVAE:
    torch.manual_seed(0)
    chosen = parse(VQVAEOptions, {"codes": 16, **options})
    shape = NetworkShape(1, chosen.channels_out(1), 8, encoded=chosen.encoded)
    made = ResidualAutoencoderOptions(channels=8, multipliers=(1, 2), blocks=1, groups=4, code_channels=4)
    network = ResidualAutoencoder(made, shape)
    for name, parameter in network.decoder.named_parameters():  # as if it had learnt
        if name.startswith("way_out.conv_out"):
            torch.nn.init.normal_(parameter, std=0.2)
    return VQVAE(network, chosen, Identity(), SHAPE, 0)


def _batch(rows: int = 5) -> Batch:
    torch.manual_seed(1)
    return Batch(torch.rand(rows, *SHAPE) * 2 - 1, None, None, 0, 0)


def _sums(family: VQVAE, batch: Batch) -> dict[str, Tensor]:
    return {f"autoencoder/{name}": value for name, value in family.loss(batch).sums.items()}


def test_the_decoder_sees_codes_and_the_gradient_passes_them_unchanged() -> None:
    family, batch = _vqvae(), _batch()
    seen: list[Tensor] = []
    family.model.network.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoded: list[Tensor] = []

    def keep(module: object, inputs: object, output: Tensor) -> None:
        output.retain_grad()
        encoded.append(output)

    family.model.network.encoder.register_forward_hook(keep)
    numbers, rows, indices = family.model(batch.images, None, family.codebook)
    seen[0].retain_grad()
    numbers.square().sum().backward()
    vectors = seen[0].detach().flatten(2).transpose(1, 2)
    torch.testing.assert_close(vectors, family.codebook.vectors[indices])
    assert not vectors.allclose(rows.detach(), atol=1e-2)
    assert encoded[0].grad is not None
    assert seen[0].grad is not None
    assert encoded[0].grad.equal(seen[0].grad)
    assert encoded[0].grad.abs().sum() > 0


def test_the_loss_is_nats_per_number_plus_the_commitment() -> None:
    family, batch = _vqvae(commitment=0.7), _batch()
    loss = family.loss(batch)
    _, rows, _ = family.model(batch.images, None, family.codebook)
    nearest = torch.cdist(rows.flatten(0, 1).detach(), family.codebook.vectors).min(1).values
    torch.testing.assert_close(loss.parts["commitment"], nearest.square().mean() / 4, rtol=1e-4, atol=1e-6)
    expected = loss.parts["nll"] / 64 + 0.7 * loss.parts["commitment"]
    torch.testing.assert_close(loss.value.detach(), expected)
    rate = 4 * 4 * math.log(16)
    bits = ((loss.parts["nll"] + rate) / 64 + math.log(127.5)) / math.log(2)
    torch.testing.assert_close(loss.parts["bits_per_dim"], bits)


def test_the_commitment_pulls_what_is_encoded_to_its_code() -> None:
    family, batch = _vqvae(commitment=1.0), _batch()
    before = family.loss(batch).parts["commitment"]
    optimizer = torch.optim.SGD(family.model.network.encoder.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        _, rows, indices = family.model(batch.images, None, family.codebook)
        (rows - family.codebook.vectors[indices]).square().mean().backward()
        optimizer.step()
    assert family.loss(batch).parts["commitment"] < 0.5 * before


def test_the_codebook_changes_in_finish_alone() -> None:
    family, batch = _vqvae(), _batch()
    assert not any(name.startswith("codebook") for name, _ in family.named_parameters())
    before = family.codebook.vectors.clone()
    family.loss(batch).value.backward()
    assert family.codebook.vectors.equal(before)
    family.finish(1, _sums(family, batch))
    assert not family.codebook.vectors.equal(before)
    follows = family.codebook.vectors.clone()
    family.finish(2, _sums(family, batch))
    assert not family.codebook.vectors.equal(follows)


def test_slices_of_a_chunk_equal_the_whole() -> None:
    family, batch = _vqvae(), _batch(7)
    (phase,) = family.phases()
    whole = phase.loss(batch)
    parts = [phase.loss(rows) for rows, _ in slices(phase, batch, 3, lambda: None, torch.enable_grad)]
    weights = [3 / 7, 3 / 7, 1 / 7]
    total = sum(w * part.value.detach() for w, part in zip(weights, parts, strict=True))
    torch.testing.assert_close(torch.as_tensor(total), whole.value.detach())
    for name, value in whole.sums.items():
        torch.testing.assert_close(sum(part.sums[name] for part in parts), value)


def test_held_out_images_tell_how_many_codes_stand_anywhere() -> None:
    family, batch = _vqvae(), _batch(8)
    halves = [family.held_out(batch.rows(0, 4)), family.held_out(batch.rows(4, 8))]
    told = family.summarise({name: (halves[0][name] + halves[1][name]) / 2 for name in halves[0]})
    _, _, indices = family.model(batch.images, None, family.codebook)
    counts = torch.bincount(indices.flatten(), minlength=16).double()
    share = counts / counts.sum()
    assert told["autoencoder/held_out_used_codes"] == pytest.approx((counts > 0).double().mean().item())
    entropy = -(share[share > 0] * share[share > 0].log()).sum()
    assert told["autoencoder/held_out_perplexity"] == pytest.approx(entropy.exp().item(), rel=1e-5)
    assert told["autoencoder/held_out_kl"] == pytest.approx(16 * math.log(16))


def test_a_preview_shows_the_reconstructions() -> None:
    family, batch = _vqvae(), _batch()
    assert family.preview(batch).shape == batch.images.shape
    assert family.preview(batch).equal(family.account(batch, AmbientNoise()).images)


def test_it_refuses_to_draw_and_says_what_it_takes() -> None:
    with pytest.raises(BadInput, match="takes a prior over its codes; `mezzotint reconstruct`") as caught:
        _vqvae().generator(VQVAESampling())
    assert "\n" not in str(caught.value)
    assert not VQVAE.draws


def test_a_code_of_one_vector_is_refused() -> None:
    options = VQVAEOptions(codes=16)
    network = ConvVAE(ConvVAEOptions(latent=6, widths=(8, 16)), NetworkShape(1, 1, 8))
    with pytest.raises(BadInput, match="choose residual-autoencoder"):
        VQVAE(network, options, Identity(), SHAPE, 0)


@pytest.mark.parametrize(
    ("tree", "message"),
    [({"codes": 1}, "codes: .*greater than or equal to 2"), ({"codebook_decay": 1.0}, "codebook_decay: .*less than 1")],
)
def test_wrong_options_name_the_key(tree: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse(VQVAEOptions, tree)
