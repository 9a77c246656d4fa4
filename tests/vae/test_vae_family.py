"""The VAE: its divergence and its bound against closed forms, free bits, warm-up, slices, what it tells and draws."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from mezzotint.contracts import Batch, Family
from mezzotint.errors import BadInput
from mezzotint.generation.stream import stream
from mezzotint.networks import Autoencoder, NetworkShape
from mezzotint.networks.conv_vae import ConvVAE, ConvVAEOptions
from mezzotint.options import parse
from mezzotint.runs.codecs import Identity, Standardize
from mezzotint.seeds import SeededNoise, seed_generators
from mezzotint.training.slices import slices
from mezzotint.vae.family import VAE, VAEOptions, VAESampling, divergence
from mezzotint.vae.likelihood import Bernoulli, DiscretizedLogistic, Gaussian
from mezzotint.vae.scales import Fixed

SHAPE = (1, 8, 8)


def _vae(classes: int = 0, latent: int = 6, **options: object) -> VAE:
    torch.manual_seed(0)
    chosen = parse(VAEOptions, {"class_conditional": classes > 0, **options})
    shape = NetworkShape(1, chosen.channels_out(1), 8, classes, encoded=chosen.encoded)
    network = ConvVAE(ConvVAEOptions(latent=latent, widths=(8, 16), groups=4), shape)
    for name, parameter in network.decoder.named_parameters():  # as if it had learnt: not 0 for every code
        if name.startswith("conv_out"):
            nn.init.normal_(parameter, std=0.3)
    return VAE(network, chosen, Identity(), SHAPE, classes)


def _batch(rows: int = 6, classes: int = 0) -> Batch:
    torch.manual_seed(1)
    images = (torch.randint(0, 256, (rows, *SHAPE)) / 127.5) - 1
    return Batch(images, torch.arange(rows) % classes if classes else None, None, 0, 0)


def test_the_divergence_is_torchs_and_what_draws_come_to() -> None:
    mean, log_variance = torch.tensor([0.7, -2.0, 0.0]), torch.tensor([-1.0, 0.5, 0.0])
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    exact = divergence(mean, log_variance)
    torch.testing.assert_close(exact, torch.distributions.kl_divergence(posterior, prior))
    torch.manual_seed(0)
    z = posterior.sample((200_000,))
    drawn = posterior.log_prob(z) - prior.log_prob(z)
    torch.testing.assert_close(drawn.mean(0), exact, rtol=0, atol=5 * float(drawn.std(0).max()) / math.sqrt(200_000))


class _Linear(Autoencoder):
    """x = W z + b + sigma n: its exact likelihood and its exact posterior are Gaussian."""

    def __init__(self, sigma: float, off: float) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.latent_shape = (3,)
        self.weight, self.bias, self.sigma = torch.randn(4, 3) * 0.5, torch.randn(4) * 0.1, sigma
        self.precision = torch.eye(3) + self.weight.T @ self.weight / sigma**2
        self.off = off  # how wrong the posterior's mean is
        self.encoder, self.decoder = _Calls(self.encode), _Calls(self.decode)

    def encode(self, x: Tensor, labels: Tensor | None) -> Tensor:
        mean = torch.linalg.solve(self.precision, ((x.flatten(1) - self.bias) @ self.weight / self.sigma**2).T).T
        variance = 1 / self.precision.diagonal()  # the best that independent numbers can do
        return torch.cat([mean + self.off, variance.log().expand(len(x), -1)], dim=1)

    def decode(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return (z @ self.weight.T + self.bias).reshape(-1, 1, 2, 2)

    def log_likelihood(self, x: Tensor) -> Tensor:
        covariance = self.weight @ self.weight.T + self.sigma**2 * torch.eye(4)
        return torch.distributions.MultivariateNormal(self.bias, covariance).log_prob(x.flatten(1))


class _Calls(nn.Module):
    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: object) -> object:
        return self.function(*arguments)  # type: ignore[operator]


def _bound(network: _Linear, images: Tensor, draws: int = 4000) -> Tensor:
    options = VAEOptions(likelihood=Gaussian(scale=Fixed(sigma=network.sigma)))
    family = VAE(network, options, Identity(), (1, 2, 2), 0)
    many = Batch(images.repeat(draws, 1, 1, 1), None, None, 0, 0)
    rows = family.account(many, SeededNoise(range(len(many.images)))).rows
    return -(rows["nll"] + rows["kl"]).reshape(draws, -1).mean(0)


def test_the_bound_lies_below_the_exact_log_likelihood_of_a_linear_gaussian_model() -> None:
    network = _Linear(sigma=0.6, off=0.0)
    torch.manual_seed(3)
    images = network.decode(torch.randn(5, 3), None) + 0.6 * torch.randn(5, 1, 2, 2)
    exact, bound = network.log_likelihood(images), _bound(network, images)
    # What it lacks is KL(q | posterior): of the best independent q, from the correlations alone.
    gap = 0.5 * (network.precision.diagonal().log().sum() - torch.logdet(network.precision))
    torch.testing.assert_close(exact - bound, gap.expand(5), rtol=0, atol=0.1)
    assert (bound < exact).all()
    worse = _bound(_Linear(sigma=0.6, off=0.7), images)
    assert (worse < bound - 0.2).all()


def test_the_loss_is_the_bound_per_number_of_an_image_and_its_parts_are_nats() -> None:
    family = _vae(likelihood={"kind": "gaussian", "scale": {"kind": "fixed", "sigma": 0.5}}, beta=2.0)
    loss = family.loss(_batch())
    nll, kl = loss.parts["nll"], loss.parts["kl"]
    torch.testing.assert_close(loss.value.detach(), (nll + 2 * kl) / 64)
    bits = ((nll + kl) / 64 + math.log(127.5)) / math.log(2)
    torch.testing.assert_close(loss.parts["bits_per_dim"], bits)


def test_without_a_probability_of_levels_no_bits_are_told() -> None:
    loss = _vae(likelihood="bernoulli").loss(_batch())
    assert set(loss.parts) == {"nll", "kl"}
    assert "bits_per_dim" in _vae(likelihood={"kind": "bernoulli", "continuous": True}).loss(_batch()).parts


def test_free_bits_cost_nothing_up_to_their_amount() -> None:
    drawn = _vae().draw(_batch())
    _, mean, log_variance = _vae(likelihood="bernoulli").model(drawn.drawn["x"], None, drawn.drawn["n"])
    told = divergence(mean, log_variance).detach().mean(0)
    free = told.median().item()  # half of the numbers tell less than that
    family = _vae(free_bits=free, likelihood="bernoulli")
    family.finish(1, {f"autoencoder/{name}": value for name, value in family.loss(drawn).sums.items()})
    torch.testing.assert_close(family.information, told)
    loss = family.loss(drawn)
    expected = loss.parts["nll"] + told.clamp(min=free).sum()  # Kingma et al. 2016, eq. 15
    assert expected > loss.parts["nll"] + loss.parts["kl"] + 1e-4
    torch.testing.assert_close(loss.value.detach() * 64, expected)


def test_numbers_of_the_code_whose_nats_are_free_are_not_pulled_to_the_prior() -> None:
    family, batch = _vae(free_bits=100.0, likelihood="bernoulli"), _batch()
    drawn = family.draw(batch)
    (family.loss(drawn).value * 64).backward()
    free = family.model.network.encoder.head.weight.grad.clone()  # type: ignore[union-attr]
    plain = _vae(likelihood="bernoulli", beta=0.0)
    (plain.loss(drawn).value * 64).backward()
    torch.testing.assert_close(free, plain.model.network.encoder.head.weight.grad)  # type: ignore[union-attr]


def test_the_warm_up_follows_the_images_seen() -> None:
    family = _vae(warmup_images=1000, beta=4.0)
    assert [family.beta(seen) for seen in (0, 500, 1000, 9000)] == [0.0, 2.0, 4.0, 4.0]
    loss = family.loss(replace(_batch(), images_seen=250))
    assert loss.parts["beta"] == 1.0
    torch.testing.assert_close(loss.value.detach(), (loss.parts["nll"] + loss.parts["kl"]) / 64)
    assert _vae(beta=4.0).beta(0) == 4.0


@pytest.mark.parametrize("likelihood", ["gaussian", {"kind": "discretized-logistic", "components": 2}])
def test_slices_of_a_chunk_equal_the_whole(likelihood: object) -> None:
    family, batch = _vae(classes=3, likelihood=likelihood, free_bits=0.2), _batch(7, 3)
    (phase,) = family.phases()
    seed_generators(5)
    whole = phase.loss(batch)
    whole.value.backward()
    expected = {name: p.grad.clone() for name, p in family.named_parameters() if p.grad is not None}
    family.zero_grad()
    sums: dict[str, Tensor] = {}
    total = torch.zeros(())
    for rows, _ in slices(phase, batch, 3, partial(seed_generators, 5), torch.enable_grad):
        part = phase.loss(rows)
        (part.value * len(rows.images) / 7).backward()
        total = total + part.value.detach() * len(rows.images) / 7
        sums = {name: sums.get(name, 0) + value for name, value in part.sums.items()}
    torch.testing.assert_close(total, whole.value.detach())
    for name, value in whole.sums.items():
        torch.testing.assert_close(sums[name], value)
    for name, p in family.named_parameters():
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-4, atol=1e-5)


def test_held_out_images_tell_active_units_as_the_variance_of_posterior_means() -> None:
    family, batch = _vae(), _batch(40)
    head: nn.Linear = family.model.network.encoder.head  # type: ignore[assignment]
    with torch.no_grad():
        head.weight[:2] = 0  # two of the means no longer depend on the image
    halves = [family.held_out(batch.rows(0, 10)), family.held_out(batch.rows(10, 40))]
    means = {name: 0.25 * halves[0][name] + 0.75 * halves[1][name] for name in halves[0]}
    mean, _ = family.model.posterior(batch.images, None)
    expected = (mean.var(0, correction=0) > 0.01).sum().item()
    told = family.summarise(means)
    assert told["autoencoder/held_out_active_units"] == expected <= 4
    assert told["autoencoder/held_out_loss"] == pytest.approx(
        (told["autoencoder/held_out_nll"] + told["autoencoder/held_out_kl"]) / 64
    )


def test_a_collapsed_posterior_shows() -> None:
    family = _vae()
    head: nn.Linear = family.model.network.encoder.head  # type: ignore[assignment]
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    told = family.summarise(family.held_out(_batch(20)))
    assert told["autoencoder/held_out_active_units"] == 0
    assert told["autoencoder/held_out_kl"] == 0


def _draw(family: Family, seeds: list[int], batch_size: int = 64, **sampling: object) -> Tensor:
    generator = family.generator(parse(VAESampling, sampling))
    return torch.cat([drawn.pixels for drawn in stream(generator, seeds, batch_size=batch_size, device="cpu")])


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("options", [Gaussian(), Bernoulli(), DiscretizedLogistic(components=2)], ids=str)
def test_a_picture_depends_on_its_seed_alone(options: object, noise: bool) -> None:
    family = _vae(classes=3, likelihood=options)
    whole = _draw(family, [3, 4, 5, 6], noise=noise).int()
    alone = _draw(family, [5], noise=noise).int()
    assert (whole[2] - alone[0]).abs().max() <= 1
    assert not whole[0].equal(whole[3])


def test_temperature_zero_draws_the_same_picture_for_every_seed_and_noise_makes_them_differ() -> None:
    family = _vae()
    cold = _draw(family, [1, 2], temperature=0.0)
    assert cold[0].equal(cold[1])
    warm = _draw(family, [1, 2])
    assert not warm[0].equal(warm[1])
    noisy = _draw(family, [1, 2], temperature=0.0, noise=True)
    assert not noisy[0].equal(noisy[1])


def test_a_codec_standardises_what_the_encoder_reads_and_nothing_else() -> None:
    plain, batch = _vae(likelihood="gaussian"), _batch()
    codec = Standardize(mean=(0.2,), std=(0.5,))
    other = VAE(plain.model.network, plain.options, codec, SHAPE, 0)
    shifted = replace(batch, images=codec.encode(batch.images, SeededNoise(range(6))))
    numbers = other.model(shifted.images, None, torch.zeros(6, 6))[0]
    rows = other.account(batch, _Zeros()).rows
    torch.testing.assert_close(rows["nll"], other.nats(numbers, batch))


class _Zeros:
    def normal(self, shape: Sequence[int]) -> Tensor:
        return torch.zeros(*shape)


def test_classes_without_labels_are_refused() -> None:
    with pytest.raises(BadInput, match="class_conditional: the data have no labels"):
        VAE(_vae().model.network, VAEOptions(class_conditional=True), Identity(), SHAPE, 0)
    with pytest.raises(BadInput, match="labels: this model is class conditional"):
        _vae(classes=3).loss(_batch())


def test_the_classes_matter() -> None:
    family = _vae(classes=2)
    generator = family.generator(VAESampling())
    latent = torch.zeros(2, 6)
    images = generator.decode(latent, torch.tensor([0, 1]), SeededNoise([0, 1]))
    assert not images[0].allclose(images[1], atol=1e-3)


def test_weights_decide_the_perceptual_distance(shared_data: object) -> None:
    weights = shared_data / "weights" / "squeezenet1_1-features.safetensors"  # type: ignore[operator]
    batch = _batch(2)
    family = _vae(perceptual={"weights": weights, "weight": 0.5})
    loss = family.loss(batch)
    assert loss.parts["perceptual"] > 0
    torch.testing.assert_close(
        loss.value.detach(), (loss.parts["nll"] + loss.parts["kl"]) / 64 + loss.parts["perceptual"]
    )
    assert family.perceptual is not None
    assert family.perceptual(batch.images, batch.images).abs().max() == 0
    assert not any("perceptual" in name for name in [*family.state_dict(), *dict(family.named_parameters())])
    images = batch.images.clone().requires_grad_()
    family.perceptual(images, batch.images.flip(3)).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_a_wrong_weights_file_is_refused(tmp_path: object) -> None:
    with pytest.raises(BadInput, match=r"perceptual\.weights: .*absent.safetensors can't be read"):
        _vae(perceptual={"weights": tmp_path / "absent.safetensors"})  # type: ignore[operator]


def test_it_keeps_its_numbers_with_channels_last_in_memory() -> None:
    batch = _batch()
    for likelihood in ("gaussian", {"kind": "discretized-logistic", "components": 2}):
        family = _vae(likelihood=likelihood)
        drawn = family.draw(batch)
        value = family.loss(drawn).value
        torch.testing.assert_close(family.to(memory_format=torch.channels_last).loss(drawn).value, value)
