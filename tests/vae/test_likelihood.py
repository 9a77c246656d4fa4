"""Likelihoods: probabilities sum to one, densities integrate to one, and draws have the mean that is told."""

import math

import pytest
import torch
from torch import Tensor

from mezzotint.errors import BadInput
from mezzotint.options import parse
from mezzotint.pixels import to_images
from mezzotint.seeds import SeededNoise
from mezzotint.vae.likelihood import (
    LIKELIHOODS,
    Bernoulli,
    DiscretizedLogistic,
    Gaussian,
    Likelihood,
    LikelihoodOptions,
)
from mezzotint.vae.scales import Fixed, Learned, Optimal

OPTIONS = [
    Gaussian(scale=Fixed(sigma=0.3)),
    Gaussian(scale=Learned()),
    Bernoulli(),
    Bernoulli(continuous=True),
    DiscretizedLogistic(),
    DiscretizedLogistic(components=3),
]
LEVELS = to_images(torch.arange(256, dtype=torch.uint8).reshape(256, 1, 1, 1))


def _numbers(options: LikelihoodOptions, rows: int, scale: float = 1.5) -> Tensor:
    torch.manual_seed(0)
    return scale * torch.randn(rows, options.channels_out(1), 2, 3)


@pytest.mark.parametrize("components", [1, 5])
@pytest.mark.parametrize("scale", [0.1, 2.0, 8.0])
def test_a_discretised_logistic_sums_to_one_over_the_256_levels(components: int, scale: float) -> None:
    options = DiscretizedLogistic(components=components)
    likelihood = options.build()
    numbers = _numbers(options, 1, scale).expand(256, -1, -1, -1)
    nll = likelihood.nll(numbers, LEVELS.expand(-1, 1, 2, 3))
    torch.testing.assert_close((-nll.double()).exp().sum(0), torch.ones(1, 2, 3).double(), rtol=0, atol=2e-4)


def test_a_discretised_logistic_is_the_difference_of_two_sigmoids_of_the_borders() -> None:
    numbers = torch.tensor([0.2, -1.3]).reshape(1, 2, 1, 1)
    x, mean, scale = to_images(torch.tensor([[[[150]]]], dtype=torch.uint8)).double(), 0.2, math.exp(-2.3)
    inside = ((x + 1 / 255 - mean) / scale).sigmoid() - ((x - 1 / 255 - mean) / scale).sigmoid()
    nll = DiscretizedLogistic().build().nll(numbers, x.float())
    torch.testing.assert_close(nll.double(), -inside.log(), rtol=1e-5, atol=0)


def test_far_from_the_mean_neither_value_nor_gradient_overflows() -> None:
    numbers = torch.tensor([0.9, -30.0]).reshape(1, 2, 1, 1).requires_grad_()
    nll = DiscretizedLogistic().build().nll(numbers, torch.full((1, 1, 1, 1), -0.5))
    nll.sum().backward()
    assert nll.isfinite().all()
    assert numbers.grad is not None
    assert numbers.grad.isfinite().all()


def test_the_gaussians_nats_are_those_of_torchs_normal_distribution() -> None:
    numbers, images = _numbers(Gaussian(), 4), torch.rand(4, 1, 2, 3) * 2 - 1
    nll = Gaussian(scale=Fixed(sigma=0.3)).build().nll(numbers, images)
    torch.testing.assert_close(nll, -torch.distributions.Normal(numbers, 0.3).log_prob(images))


def test_a_wide_gaussian_and_the_logistic_give_levels_the_same_bits_as_their_density() -> None:
    likelihood = Gaussian(scale=Fixed(sigma=0.4)).build()
    assert likelihood.level_nats is not None
    nats = likelihood.nll(torch.full((256, 1, 1, 1), 0.1), LEVELS) + likelihood.level_nats
    inside = torch.distributions.Normal(0.1, 0.4).cdf(torch.tensor([-1 - 1 / 255, 1 + 1 / 255]))
    torch.testing.assert_close((-nats).exp().sum(), inside[1] - inside[0], rtol=1e-4, atol=0)


@pytest.mark.parametrize("logit", [-6.0, -1.0, -0.005, 0.0, 0.02, 4.0])
def test_the_continuous_bernoulli_is_a_density_with_the_mean_it_tells(logit: float) -> None:
    likelihood = Bernoulli(continuous=True).build()
    greys = (torch.arange(20_000) + 0.5) / 20_000
    density = (-likelihood.nll(torch.full((1, 1, 1, 20_000), logit), (2 * greys - 1).reshape(1, 1, 1, -1))).exp()
    torch.testing.assert_close(density.mean(), torch.tensor(1.0), rtol=1e-4, atol=0)
    mean = (likelihood.mean(torch.full((1, 1, 1, 1), logit)).squeeze() + 1) / 2
    torch.testing.assert_close((density.flatten() * greys).mean(), mean, rtol=1e-3, atol=0)


def test_the_plain_bernoulli_is_torchs_on_black_and_white_and_tells_no_bits() -> None:
    likelihood = Bernoulli().build()
    numbers, images = _numbers(Bernoulli(), 8), torch.randint(0, 2, (8, 1, 2, 3)).float()
    expected = -torch.distributions.Bernoulli(logits=numbers).log_prob(images)
    torch.testing.assert_close(likelihood.nll(numbers, 2 * images - 1), expected)
    assert likelihood.level_nats is None


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_draws_have_the_mean_that_is_told_and_depend_on_their_seed_alone(options: LikelihoodOptions) -> None:
    likelihood = options.build().requires_grad_(False)
    numbers = _numbers(options, 1, 0.3).expand(4000, -1, -1, -1)
    drawn = likelihood.sample(numbers, SeededNoise(range(4000)))
    error = 5 * float(drawn.std(0).max()) / math.sqrt(4000)
    torch.testing.assert_close(drawn.mean(0), likelihood.mean(numbers[:1])[0], rtol=0, atol=error)
    torch.testing.assert_close(likelihood.sample(numbers[:2], SeededNoise([7, 8])), drawn[7:9])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_half_precision_numbers_are_read_in_full_precision(options: LikelihoodOptions) -> None:
    likelihood = options.build()
    numbers, images = _numbers(options, 2).bfloat16(), torch.rand(2, 1, 2, 3)
    torch.testing.assert_close(likelihood.nll(numbers, images), likelihood.nll(numbers.float(), images))
    assert likelihood.mean(numbers).dtype == torch.float32


def _minimised(likelihood: Likelihood, sigma: float) -> float:
    errors = torch.linspace(-1, 1, 101).reshape(1, 1, 1, -1)
    return float(likelihood.nll(torch.zeros_like(errors), errors).mean())


def test_no_fixed_scale_beats_the_optimal_one() -> None:
    errors = torch.linspace(-1, 1, 101)
    optimal = Gaussian(scale=Optimal()).build()
    optimal.adapt(errors.square().mean(), update=1)
    best = _minimised(optimal, 0)
    rivals = [_minimised(Gaussian(scale=Fixed(sigma=s)).build(), s) for s in (0.3, 0.5, 0.55, 0.6, 0.8)]
    assert best < min(rivals)


def test_the_optimal_scale_is_a_running_root_of_the_mean_squared_error_and_never_below_half_a_level() -> None:
    likelihood = Gaussian(scale=Optimal()).build()
    squares = [0.5, 0.3, 0.1, 0.2]
    for update, square in enumerate(squares, start=1):
        likelihood.adapt(torch.tensor(square), update)
    assert float(likelihood.parts()["sigma"]) == pytest.approx(math.sqrt(sum(squares) / 4))
    likelihood.adapt(torch.tensor(0.0), 1)
    assert float(likelihood.parts()["sigma"]) == pytest.approx(1 / 255)


def test_a_learned_scale_has_a_gradient_and_is_trained_with_the_weights() -> None:
    likelihood = Gaussian(scale=Learned(sigma=0.5)).build()
    likelihood.nll(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)).sum().backward()
    (log_sigma,) = likelihood.parameters()
    assert log_sigma.grad is not None
    assert log_sigma.grad < 0, "an error of 1 wants a larger scale than 0.5"


def test_components_begin_apart_and_so_learn_apart() -> None:
    options = DiscretizedLogistic(components=3)
    numbers = torch.zeros(1, options.channels_out(1), 1, 1, requires_grad=True)
    options.build().nll(numbers, torch.full((1, 1, 1, 1), 0.3)).sum().backward()
    assert numbers.grad is not None
    assert len(set(numbers.grad.flatten()[:3].tolist())) == 3


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"scale": "best"}, "scale: unknown scale 'best'"),
        ({"scale": {"kind": "fixed", "sigma": 0}}, r"scale\.sigma: .*greater than 0"),
        ({"sigma": 1}, "sigma: unknown key: there are scale"),
    ],
)
def test_wrong_options_name_the_key(tree: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse(Gaussian, tree)


def test_the_table_names_three() -> None:
    assert list(LIKELIHOODS) == ["gaussian", "bernoulli", "discretized-logistic"]
