"""The diffusion family: its loss, its generator, its options."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from mezzotint.contracts import Batch, Condition, Generator, Noise
from mezzotint.diffusion.denoiser import PREDICTIONS, per_row
from mezzotint.diffusion.family import Diffusion, DiffusionOptions
from mezzotint.diffusion.generator import DiffusionSampling
from mezzotint.diffusion.schedules.karras import Karras
from mezzotint.diffusion.schedules.log_normal import LogNormal
from mezzotint.errors import BadInput
from mezzotint.options import parse
from mezzotint.samplers import SAMPLERS
from mezzotint.seeds import SeededNoise
from oracle import ExactNetwork, Mixture

SHAPE = (2, 1, 1)


class Identity:
    def encode(self, images: Tensor, noise: Noise) -> Tensor:
        return images

    def decode(self, codes: Tensor) -> Tensor:
        return codes

    def clip(self, codes: Tensor) -> Tensor:
        return codes.clamp(-1, 1)


class Linear(nn.Module):
    """A network that keeps its last input and output, and adds a learnt constant per class."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.7))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        out = self.dropout(self.gain * x + 0.1)
        if condition.labels is not None:
            out = out + condition.labels.reshape(-1, 1, 1, 1)
        self.raw = out
        return out


def family(network: nn.Module | None = None, num_classes: int = 0, **tree: object) -> Diffusion:
    options = parse(DiffusionOptions, tree)
    return Diffusion(network or Linear().eval(), options, Identity(), SHAPE, num_classes)


def batch(count: int, labels: Tensor | None = None) -> Batch:
    images = Mixture().draw(count).float().reshape(count, *SHAPE)
    return Batch(images, labels, None, update=0, images_seen=0)


def draws(chosen: Diffusion, images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    sigma = chosen.options.schedule.draw(len(images))
    return sigma, torch.randn_like(images)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_default_loss_is_plain_mse_on_the_raw_output(name: str) -> None:
    torch.manual_seed(3)
    network, data = Linear().eval(), batch(32)
    chosen = family(network, prediction=name)
    sigma, n = draws(chosen, data.images, seed=5)
    torch.manual_seed(5)
    loss = chosen.loss(data)
    target = chosen.options.prediction.target(data.images, n, sigma)
    torch.testing.assert_close(loss.value, ((network.raw - target) ** 2).mean())
    assert loss.parts.keys() == {"mse", "raw_mse"}
    torch.testing.assert_close(loss.parts["raw_mse"], loss.value)


@pytest.mark.parametrize("name", PREDICTIONS)
@pytest.mark.parametrize("weighting", ["uniform", "snr", "min-snr", "edm"])
def test_the_loss_is_the_weighted_error_of_x0(name: str, weighting: str) -> None:
    torch.manual_seed(3)
    data, chosen = batch(32), family(prediction=name, weighting=weighting)
    sigma, n = draws(chosen, data.images, seed=5)
    denoised = chosen.denoiser(Condition())(data.images + per_row(sigma, n) * n, sigma)
    error = ((denoised - data.images) ** 2).flatten(1).mean(1)
    torch.manual_seed(5)
    loss = chosen.loss(data)
    weight = chosen.options.weighting.weight(sigma, chosen.options.prediction)
    torch.testing.assert_close(loss.value, (weight * error).mean(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(loss.parts["mse"], error.mean(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("norm", "function"), [("l1", nn.L1Loss()), ("huber", nn.HuberLoss())])
def test_other_norms_measure_the_raw_output(norm: str, function: nn.Module) -> None:
    network, data = Linear().eval(), batch(32)
    chosen = family(network, prediction="noise", norm=norm)
    _, n = draws(chosen, data.images, seed=5)
    torch.manual_seed(5)
    loss = chosen.loss(data)
    torch.testing.assert_close(loss.value, function(network.raw, n))
    torch.testing.assert_close(loss.parts[f"raw_{norm}"], loss.value)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_exact_denoiser_has_the_lowest_loss(name: str) -> None:
    data = batch(4096)

    def loss(offset: float) -> Tensor:
        torch.manual_seed(7)
        network = ExactNetwork(Mixture(), PREDICTIONS[name](), offset)
        return family(network, prediction=name).loss(data).value

    assert loss(0.0) < loss(0.1)
    assert loss(0.0) < loss(-0.1)


def test_the_loss_trains_every_parameter_of_the_one_phase() -> None:
    chosen = family()
    (phase,) = chosen.phases()
    assert (phase.name, phase.every, phase.module) == ("denoiser", 1, chosen.network)
    phase.loss(batch(8)).value.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in phase.module.parameters())


def test_the_loss_stays_float32_under_autocast() -> None:
    class Matmul(Linear):
        def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
            weight = torch.eye(2)
            self.raw = (x.flatten(1) @ weight).reshape(x.shape)
            return self.raw

    network = Matmul()
    with torch.autocast("cpu", torch.bfloat16):
        loss = family(network, prediction="x0").loss(batch(8))
    assert network.raw.dtype == torch.bfloat16
    assert loss.value.dtype == torch.float32


def decode(chosen: Diffusion, seeds: Sequence[int], labels: Tensor | None = None, **tree: object) -> Tensor:
    generator = chosen.generator(parse(DiffusionSampling, tree))
    noise = SeededNoise(seeds)
    latent = noise.normal((len(seeds), *generator.latent_shape))
    return generator.decode(latent, labels, noise)


@pytest.mark.parametrize("schedule", [None, "karras", "linear", "flow"])
@pytest.mark.parametrize("prediction", ["edm", "noise", "v"])
def test_samples_of_an_exact_network_have_the_mixtures_moments(schedule: str | None, prediction: str) -> None:
    mixture = Mixture()
    chosen = family(ExactNetwork(mixture, PREDICTIONS[prediction]()), prediction=prediction, schedule="cosine")
    torch.manual_seed(0)
    generator = chosen.generator(parse(DiffusionSampling, {"schedule": schedule, "sampler": "heun", "steps": 60}))
    x = generator.decode(torch.randn(4000, *SHAPE), None, SeededNoise([])).flatten(1).double()
    torch.testing.assert_close(x.mean(0), mixture.mean, atol=0.04, rtol=0)
    torch.testing.assert_close(x.T.cov(), mixture.covariance, atol=0.03, rtol=0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_image_depends_on_its_seed_alone(name: str) -> None:
    chosen = family(ExactNetwork(Mixture(), PREDICTIONS["edm"]()))
    together = decode(chosen, [5, 2, 9], sampler=name, steps=6)
    alone = decode(chosen, [2], sampler=name, steps=6)
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=0)
    assert float((together[0] - together[2]).abs().max()) > 1e-2


def test_sampling_turns_dropout_off_and_training_mode_back_on() -> None:
    chosen = family(Linear().train())
    assert torch.equal(decode(chosen, [1], steps=3), decode(chosen, [1], steps=3))
    assert chosen.network.training


def test_an_unset_sampling_range_is_the_training_range() -> None:
    chosen = family(schedule={"kind": "log-normal", "sigma_max": 20})
    generator = chosen.generator(DiffusionSampling())
    assert generator.sigmas[[0, -2]].tolist() == pytest.approx([20, 0.002])
    assert generator.start_scale == pytest.approx(20)
    own = chosen.generator(parse(DiffusionSampling, {"schedule": None}))
    torch.testing.assert_close(own.sigmas, LogNormal(sigma_max=20).grid(10))


def test_variance_preserving_sampling_starts_from_a_standard_normal_xt() -> None:
    generator = family(schedule="linear").generator(parse(DiffusionSampling, {"schedule": None}))
    sigma_max = float(generator.sigmas[0])
    assert generator.start_scale == pytest.approx((1 + sigma_max**2) ** 0.5, rel=1e-12)


def test_clipping_bounds_the_last_estimate() -> None:
    class Far(Linear):
        def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
            return torch.full_like(x, 5.0)

    chosen = family(Far(), prediction="x0")
    assert decode(chosen, [0], clip_x0=True).flatten().tolist() == pytest.approx([1, 1])
    assert decode(chosen, [0]).flatten().tolist() == pytest.approx([5, 5])


def test_labels_reach_the_network_only_when_class_conditional() -> None:
    labels = torch.tensor([4])
    plain, told = family(num_classes=10), family(num_classes=10, class_conditional=True)
    settings = parse(DiffusionSampling, {})
    generators: list[Generator] = [plain.generator(settings), told.generator(settings)]
    assert [generator.num_classes for generator in generators] == [0, 10]
    assert torch.equal(decode(plain, [0], labels), decode(plain, [0]))
    assert not torch.equal(decode(told, [0], labels), decode(told, [0], labels + 1))
    for wrong in (lambda: decode(told, [0]), lambda: told.loss(batch(2))):
        with pytest.raises(BadInput, match="labels: this model is class conditional"):
            wrong()
    with pytest.raises(BadInput, match="the data have no labels"):
        family(class_conditional=True)


def test_options_survive_their_yaml() -> None:
    tree = {"prediction": "v", "schedule": {"kind": "cosine", "sigma_max": 50}, "weighting": "p2", "level": "timestep"}
    options = parse(DiffusionOptions, tree)
    assert parse(DiffusionOptions, options.tree()) == options
    sampling = parse(DiffusionSampling, {"sampler": {"kind": "ddim", "eta": 0.5}, "schedule": None})
    assert parse(DiffusionSampling, sampling.tree()) == sampling
    assert DiffusionSampling().schedule == Karras()


@pytest.mark.parametrize(
    ("part", "tree", "match"),
    [
        (DiffusionOptions, {"prediction": "eps"}, "unknown prediction 'eps'"),
        (DiffusionOptions, {"weighting": "min_snr"}, "did you mean min-snr"),
        (DiffusionOptions, {"schedule": {"kind": "cosine", "sigma_max": -1}}, "schedule.sigma_max"),
        (DiffusionOptions, {"level": "sigma"}, "unknown level"),
        (DiffusionOptions, {"norm": "l2"}, "norm"),
        (DiffusionSampling, {"sampler": "huen"}, "sampler: unknown sampler 'huen': did you mean heun"),
        (DiffusionSampling, {"schedule": "kerras"}, "^schedule: unknown schedule 'kerras'"),
        (DiffusionSampling, {"steps": 0}, "steps"),
    ],
)
def test_bad_options_are_refused(part: type, tree: dict[str, object], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        parse(part, tree)


def test_impossible_combinations_are_refused_before_work_starts() -> None:
    with pytest.raises(BadInput, match=r"^schedule: sigma_min: must be below sigma_max, got 90 and 80"):
        family(schedule={"kind": "karras", "sigma_min": 90})
    tabled = family(schedule={"kind": "linear", "timesteps": 10})
    with pytest.raises(BadInput, match="10 timesteps"):
        tabled.generator(parse(DiffusionSampling, {"schedule": None, "steps": 18}))
    with pytest.raises(TypeError, match="DiffusionSampling"):
        tabled.generator(DiffusionOptions())
