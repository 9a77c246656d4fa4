"""Learned variance: the terms of the bound against direct formulas, the known optimum, the family that learns it."""

from math import log

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from mezzotint.contracts import Batch, Condition, VarianceDenoiser
from mezzotint.diffusion.denoiser import per_row
from mezzotint.diffusion.family import Diffusion, DiffusionOptions
from mezzotint.diffusion.generator import DiffusionSampling
from mezzotint.diffusion.schedules import SCHEDULES
from mezzotint.diffusion.schedules.karras import Karras
from mezzotint.diffusion.schedules.linear import Linear
from mezzotint.diffusion.variance import Learned, Seen, bits, log_variances
from mezzotint.errors import BadInput
from mezzotint.options import parse
from mezzotint.runs.codecs import Identity, Standardize
from mezzotint.seeds import SeededNoise

SHAPE = (2, 2, 2)


def seen(x0: Tensor, sigma: Tensor, denoised: Tensor, v: float | Tensor) -> Seen:
    share = torch.as_tensor(2 * v - 1, dtype=x0.dtype).expand_as(x0)
    return Seen(x0, x0, sigma, denoised, share)


def test_the_two_variances_are_the_samplers() -> None:
    sigma = torch.tensor([0.02, 1.0, 30.0, 150.0], dtype=torch.float64)
    after = torch.tensor([0.01, 0.9, 2.0, 149.0], dtype=torch.float64)
    small, large = log_variances(sigma, after)
    torch.testing.assert_close(small.exp(), after**2 * (sigma**2 - after**2) / sigma**2)
    torch.testing.assert_close(large.exp(), (sigma**2 - after**2) * (1 + after**2) / (1 + sigma**2))
    assert log_variances(sigma, 0 * after)[0].isneginf().all()
    torch.testing.assert_close(log_variances(sigma, 0 * after)[1].exp(), sigma**2 / (1 + sigma**2))


def test_terms_are_those_of_ddpm_in_its_own_coordinates() -> None:
    """Ho et al. 2020, eq. 5 to 7, with betas, at every timestep but the last."""
    torch.manual_seed(0)
    schedule, v = Linear(timesteps=40, beta_end=0.3), 0.3
    beta = torch.linspace(1e-4, 0.3, 40, dtype=torch.float64)
    bar = (1 - beta).cumprod(0)
    t = torch.arange(1, 40)
    x0, n = torch.randn(39, 3, 1, 1).double().clamp(-1, 1), torch.randn(39, 3, 1, 1).double()
    denoised = x0 + 0.2 * torch.randn_like(x0)
    sigma = (1 / bar[t] - 1).sqrt()
    found = bits(seen(x0, sigma, denoised, v), schedule, Identity())

    b, a, before = (per_row(values, x0) for values in (beta[t], bar[t], bar[t - 1]))
    xt = a.sqrt() * x0 + (1 - a).sqrt() * n
    posterior = (1 - before) / (1 - a) * b

    def mean(clean: Tensor) -> Tensor:
        return before.sqrt() * b / (1 - a) * clean + (1 - b).sqrt() * (1 - before) / (1 - a) * xt

    model = (v * b.log() + (1 - v) * posterior.log()).exp()
    exact = kl_divergence(Normal(mean(x0), posterior.sqrt()), Normal(mean(denoised), model.sqrt()))
    torch.testing.assert_close(found, exact.flatten(1).mean(1) / log(2), atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize("codec", [Identity(), Standardize(mean=(0.1,), std=(0.4,))])
def test_the_last_step_is_a_probability_of_levels(codec: Identity | Standardize) -> None:
    """Over all 256 levels of a pixel it adds up to 1, whatever the estimate and the codes' scale."""
    schedule = Linear()
    lowest = torch.full((256,), schedule.bounds()[0], dtype=torch.float64)
    images = (torch.arange(256, dtype=torch.float64) / 127.5 - 1).reshape(256, 1, 1, 1)
    for estimate in (-1.02, -0.4, 0.999):
        x0 = codec.encode(images, SeededNoise([]))
        denoised = codec.encode(torch.full_like(images, estimate), SeededNoise([]))
        rows = Seen(images, x0, lowest, denoised, torch.zeros_like(x0))
        probability = 2.0 ** -bits(rows, schedule, codec)
        torch.testing.assert_close(probability.sum(), torch.ones(()).double(), atol=1e-4, rtol=0)


def test_less_than_a_step_above_the_lowest_noise_is_the_last_step() -> None:
    """There the bound no longer compares Gaussians: an estimate off by many deviations costs its capped logarithm."""
    schedule = Linear()
    u = torch.tensor([1.0, 1 - 0.5 / 999, 1 - 1 / 999], dtype=torch.float64)
    x0 = torch.zeros(3, 1, 1, 1, dtype=torch.float64)
    found = bits(seen(x0, schedule.sigma(u), x0 + 0.8, 0.5), schedule, Identity())
    torch.testing.assert_close(found[:2], torch.full((2,), -log(1e-12) / log(2)).double())
    assert found[2] != found[1]


@pytest.mark.parametrize("schedule", [Linear(), Karras(sigma_max=100), SCHEDULES["flow"]()], ids=repr)
@pytest.mark.parametrize(("deviation", "best"), [(1.0, 1.0), (1e-9, 0.0)])
def test_the_best_variance_of_one_gaussian_is_known(schedule: Linear, deviation: float, best: float) -> None:
    """Unit Gaussian data want exactly the large variance, a single image the small one (Sohl-Dickstein 2015)."""
    torch.manual_seed(0)
    sigma = schedule.sigma(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))
    x0 = deviation * torch.randn(3, 50_000, 1, 1, dtype=torch.float64)
    n = torch.randn_like(x0)
    denoised = per_row(deviation**2 / (deviation**2 + sigma**2), x0) * (x0 + per_row(sigma, x0) * n)

    def bound(v: float) -> Tensor:
        return bits(seen(x0, sigma, denoised, v), schedule, Identity())

    steps = torch.stack([bound(best + v) for v in (-0.2, -0.01, 0.0, 0.01, 0.2)])
    assert bool((steps[[0, 4]] > steps[2]).all())
    slope = (steps[3] - steps[1]).abs() / (steps[[0, 4]] - steps[2]).amin(0)
    assert bool((slope < 0.02).all())


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_bound_is_finite_under_every_schedule_in_float32(name: str) -> None:
    torch.manual_seed(0)
    schedule = SCHEDULES[name]()
    sigma = torch.cat([schedule.draw(4000), torch.tensor(schedule.bounds())])
    x0 = torch.randn(len(sigma), 1, 1, 1).clamp(-1, 1)
    v = torch.full_like(x0, 0.5).requires_grad_()
    found = bits(seen(x0, sigma, 0 * x0, v), schedule, Identity())
    (slope,) = torch.autograd.grad(found.sum(), v)
    assert bool(found.isfinite().all() and slope.isfinite().all())
    assert bool((found > -1e-4).all())


class Two(nn.Module):
    """A network of 2C channels: the codes' half is a multiple of its input, the other a constant."""

    def __init__(self, second: float = 0.0) -> None:
        super().__init__()
        self.gain, self.second = nn.Parameter(torch.tensor(0.7)), nn.Parameter(torch.tensor(second))

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        codes = x[:, : SHAPE[0]]
        return torch.cat([self.gain * codes, self.second.expand_as(codes)], 1)


def family(network: nn.Module, num_classes: int = 0, **tree: object) -> Diffusion:
    options = parse(DiffusionOptions, {"variance": "learned", "schedule": "linear", **tree})
    return Diffusion(network, options, Identity(), SHAPE, num_classes)


def batch() -> Batch:
    torch.manual_seed(1)
    return Batch(torch.rand(16, *SHAPE) * 2 - 1, None, None, 0, 0)


def test_the_loss_is_hybrid_and_the_bound_trains_the_variance_alone() -> None:
    """Nichol & Dhariwal 2021, eq. 16."""
    chosen = family(Two(0.2), variance={"kind": "learned", "weight": 0.01})
    drawn = chosen.draw(batch())
    loss = chosen.loss(drawn)
    torch.testing.assert_close(loss.value, loss.parts["raw_mse"] + 0.01 * loss.parts["vlb"])
    alone = family(Two(0.2), variance={"kind": "learned", "weight": 1e-9})
    plain = alone.loss(drawn)
    gradients = [
        torch.autograd.grad(value, [*f.parameters()]) for f, value in ((chosen, loss.value), (alone, plain.value))
    ]
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    assert float(gradients[0][1].abs()) > 1e3 * float(gradients[1][1].abs()) > 0


def test_the_bound_counts_every_step() -> None:
    """Its mean over levels times T: of one exact Gaussian with the best variance, only what can't be known is left."""
    torch.manual_seed(0)
    x0 = torch.randn(20_000, 1, 1, 1).clamp(-1, 1)
    sigma = Linear().draw(20_000)
    rows = seen(x0, sigma, x0, 0.0)  # an estimate that is right: no term but the last, which is a bin's probability
    penalty, parts = Learned().penalty(rows, Linear(), Identity())
    terms = bits(rows, Linear(), Identity())
    torch.testing.assert_close(parts["vlb"], 1000 * terms)
    torch.testing.assert_close(penalty, parts["vlb"] / 1000)
    last = Linear().u(sigma) > 1 - 0.999 / 999
    assert float(terms[~last].abs().max()) < 1e-5
    assert float(terms[last].min()) > 1e-3


@pytest.mark.parametrize(("second", "variances"), [(1.0, "large"), (-1.0, "small"), (5.0, "large")])
@pytest.mark.parametrize(
    "how",
    [{}, {"clip_x0": True}, {"dynamic_threshold": 0.9}, {"guidance": {"kind": "classifier-free", "scale": 3}}],
    ids=str,
)
def test_the_ddpm_sampler_mixes_what_the_network_says(second: float, variances: str, how: dict[str, object]) -> None:
    """v at its ends is one of the two fixed variances, through every wrapper; beyond them it is cut."""
    for self_conditioning in (False, True):
        chosen = family(Two(second), 3, class_conditional=True, label_dropout=0.5, self_conditioning=self_conditioning)
        drawn = {}
        for kind in ("learned", variances):
            sampling = {"sampler": {"kind": "ddpm", "variances": kind}, "schedule": None, "steps": 5, **how}
            noise = SeededNoise([0, 1])
            latent = noise.normal((2, *SHAPE))
            generator = chosen.generator(parse(DiffusionSampling, sampling))
            assert isinstance(generator.denoiser(torch.tensor([0, 1])), VarianceDenoiser)
            drawn[kind] = generator.decode(latent, torch.tensor([0, 1]), noise)
        torch.testing.assert_close(drawn["learned"], drawn[variances])


def test_a_sampler_that_asks_for_no_variance_draws_from_a_model_that_learnt_one() -> None:
    plain = Diffusion(Two(), DiffusionOptions(), Identity(), SHAPE, 0)
    generators = [f.generator(DiffusionSampling(steps=4)) for f in (family(Two(), schedule="log-normal"), plain)]
    latent = SeededNoise([3]).normal((1, *SHAPE))
    torch.testing.assert_close(*(g.decode(latent, None, SeededNoise([3])) for g in generators))
    assert not isinstance(generators[1].denoiser(None), VarianceDenoiser)


def test_learned_variances_of_a_fixed_model_are_refused_before_anything_is_drawn() -> None:
    sampling = parse(DiffusionSampling, {"sampler": {"kind": "ddpm", "variances": "learned"}})
    with pytest.raises(BadInput, match=r"variances: learned .*variance: learned"):
        family(Two(), variance="fixed").generator(sampling)
