"""Every sampler against an exact denoiser, and the named ones against straight-line versions of their papers."""

from dataclasses import dataclass
from math import exp, log, sqrt

import pytest
import torch
from torch import Tensor

from mezzotint.errors import BadInput
from mezzotint.options import parse
from mezzotint.samplers import SAMPLERS, Sampler, integrate
from mezzotint.samplers.adaptive import Adaptive
from mezzotint.samplers.ddim import DDIM
from mezzotint.samplers.ddpm import DDPM
from mezzotint.samplers.dpmpp_2m import DPMPP2M
from mezzotint.samplers.dpmpp_2s import DPMPP2S
from mezzotint.samplers.euler import Euler
from mezzotint.samplers.euler_ancestral import EulerAncestral
from mezzotint.samplers.heun import Heun
from mezzotint.samplers.lms import LMS
from mezzotint.samplers.pndm import PNDM
from mezzotint.samplers.predictor_corrector import PredictorCorrector
from mezzotint.samplers.unipc import UniPC
from mezzotint.seeds import AmbientNoise, SeededNoise
from oracle import Mixture

D = Mixture()


def karras(steps: int, low: float = 0.002, high: float = 80.0, power: float = 1) -> Tensor:
    """Karras et al.'s grid at u^power: a power above 1 begins with short moves."""
    u = torch.linspace(0, 1, steps, dtype=torch.float64) ** power
    sigmas = (high ** (1 / 7) + u * (low ** (1 / 7) - high ** (1 / 7))) ** 7
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def start(count: int, sigma: float, seed: int = 0) -> Tensor:
    return sigma * torch.randn(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def final(sampler: Sampler, x: Tensor, sigmas: Tensor, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return list(integrate(D, x, sigmas, sampler, AmbientNoise()))[-1].x


def rows(x: Tensor, sigma: float) -> Tensor:
    return torch.full((len(x),), sigma, dtype=x.dtype)


STOCHASTIC = [
    DDIM(eta=1),
    DDIM(eta=0.5),
    Heun(churn=40),
    DDPM(variances="large"),
    PredictorCorrector(corrections=2),
    PredictorCorrector(corrections=0),
    PredictorCorrector(predictor="ancestral", snr=0.1),
]


@pytest.mark.parametrize("sampler", STOCHASTIC, ids=repr)
def test_moments_of_stochastic_variants(sampler: Sampler) -> None:
    assert sampler.order == 0
    x = final(sampler, start(10_000, 80.0).reshape(50, 400), karras(160)).reshape(-1, 2)
    torch.testing.assert_close(x.mean(0), D.mean, atol=0.025, rtol=0)
    torch.testing.assert_close(x.T.cov(), D.covariance, atol=0.025, rtol=0)
    assert float((x[:, 0] > 0).double().mean()) == pytest.approx(D.right_of(torch.tensor(0.0)), abs=0.02)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_row_depends_on_its_seed_alone(name: str) -> None:
    x = start(4, 80.0)
    together = list(integrate(D, x, karras(8), SAMPLERS[name](), SeededNoise([3, 1, 4, 5])))[-1].x
    alone = list(integrate(D, x[2:3], karras(8), SAMPLERS[name](), SeededNoise([4])))[-1].x
    torch.testing.assert_close(together[2:3], alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_moves_are_numbered_and_end_at_zero_with_the_dtype_kept(name: str) -> None:
    sigmas = karras(5)
    moves = list(integrate(D, start(2, 80.0).float(), sigmas, SAMPLERS[name](), SeededNoise([0, 1])))
    assert [move.index for move in moves] == list(range(5))
    assert [move.sigma for move in moves] == sigmas[1:].tolist()
    assert all(move.x.dtype == torch.float32 for move in moves)


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_move_to_zero_is_the_denoiser(name: str) -> None:
    x = start(3, 5.0)
    sampler = SAMPLERS[name]()
    if sampler.least_steps > 1:
        with pytest.raises(BadInput, match=f"steps: sampler {name} needs at least 2, got 1"):
            final(sampler, x, torch.tensor([5.0, 0.0]))
    else:
        out = final(sampler, x, torch.tensor([5.0, 0.0]))
        torch.testing.assert_close(out, D(x, rows(x, 5.0)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("churn", [0.0, 8.0])
def test_heun_is_algorithm_2(churn: float) -> None:
    t, count = karras(18).tolist(), 18
    s_tmin, s_tmax, s_noise = 0.05, 50.0, 1.003
    noise, x = SeededNoise(range(8)), start(8, 80.0)
    for i in range(count):
        gamma = min(churn / count, sqrt(2) - 1) if s_tmin <= t[i] <= s_tmax else 0.0
        t_hat = t[i] + gamma * t[i]
        eps = s_noise * noise.normal(x.shape).double() if gamma else torch.zeros_like(x)
        x_hat = x + sqrt(t_hat**2 - t[i] ** 2) * eps
        d = (x_hat - D(x_hat, rows(x, t_hat))) / t_hat
        x = x_hat + (t[i + 1] - t_hat) * d
        if t[i + 1] != 0:
            d_prime = (x - D(x, rows(x, t[i + 1]))) / t[i + 1]
            x = x_hat + (t[i + 1] - t_hat) * (0.5 * d + 0.5 * d_prime)
    heun = Heun(churn=churn, s_min=s_tmin, s_max=s_tmax, s_noise=s_noise)
    ours = list(integrate(D, start(8, 80.0), karras(18), heun, SeededNoise(range(8))))[-1].x
    torch.testing.assert_close(ours, x, atol=1e-12, rtol=0)


@pytest.mark.parametrize("variances", ["small", "large"])
def test_ddpm_is_algorithm_2_in_variance_preserving_coordinates(variances: str) -> None:
    """Ho et al. 2020 as printed, alpha-bar and all, against the move in variance-exploding coordinates."""
    T, seeds = 50, range(6)
    beta = torch.linspace(1e-4, 0.3, T, dtype=torch.float64).tolist()
    alpha = [1 - b for b in beta]
    bar = torch.tensor(alpha, dtype=torch.float64).cumprod(0).tolist()
    noise, x = SeededNoise(seeds), start(6, 1.0)
    for t in reversed(range(T)):
        ve, sigma = x / sqrt(bar[t]), sqrt((1 - bar[t]) / bar[t])
        eps = (ve - D(ve, rows(x, sigma))) / sigma
        mean = (x - beta[t] / sqrt(1 - bar[t]) * eps) / sqrt(alpha[t])
        variance = beta[t] if variances == "large" or t == 0 else (1 - bar[t - 1]) / (1 - bar[t]) * beta[t]
        x = mean + sqrt(variance) * noise.normal(x.shape).double() if t > 0 else mean
    sigmas = torch.tensor([sqrt((1 - b) / b) for b in reversed(bar)] + [0.0], dtype=torch.float64)
    first = start(6, 1.0) / sqrt(bar[-1])
    sampler = parse(DDPM, {"variances": variances})
    ours = list(integrate(D, first, sigmas, sampler, SeededNoise(seeds)))[-1].x
    torch.testing.assert_close(ours, x, atol=1e-10, rtol=0)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_ddim_is_equation_12_in_variance_preserving_coordinates(eta: float) -> None:
    levels, seeds = karras(20, 0.01, 20.0).tolist(), range(6)
    bar = [1 / (1 + s**2) for s in levels]
    noise, x = SeededNoise(seeds), start(6, levels[0]) * sqrt(bar[0])
    for i in range(len(levels) - 1):
        ve = x / sqrt(bar[i])
        x0 = D(ve, rows(x, levels[i]))
        eps = (x - sqrt(bar[i]) * x0) / sqrt(1 - bar[i])
        deviation = eta * sqrt((1 - bar[i + 1]) / (1 - bar[i])) * sqrt(1 - bar[i] / bar[i + 1])
        x = sqrt(bar[i + 1]) * x0 + sqrt(1 - bar[i + 1] - deviation**2) * eps
        if deviation > 0:
            x = x + deviation * noise.normal(x.shape).double()
    start_ve = start(6, levels[0])
    ours = list(integrate(D, start_ve, torch.tensor(levels, dtype=torch.float64), DDIM(eta=eta), SeededNoise(seeds)))[
        -1
    ].x
    torch.testing.assert_close(ours, x, atol=1e-10, rtol=0)


@pytest.mark.parametrize("r", [0.5, 0.8])
def test_dpmpp_2s_is_algorithm_1_in_variance_preserving_coordinates(r: float) -> None:
    """Lu et al. 2022 as printed, with lambda = ln(alpha / sigma), against the move in our coordinates."""
    levels = karras(14, 0.01, 20.0)[:-1].tolist()
    alphas, sigmas, lambdas = zip(*((1 / sqrt(1 + s**2), s / sqrt(1 + s**2), -log(s)) for s in levels), strict=True)
    x = start(6, levels[0]) * alphas[0]
    for i in range(1, len(levels)):
        h = lambdas[i] - lambdas[i - 1]
        middle = exp(-(lambdas[i - 1] + r * h))  # sigma / alpha at s_i
        alpha_s, sigma_s = 1 / sqrt(1 + middle**2), middle / sqrt(1 + middle**2)
        first = D(x / alphas[i - 1], rows(x, levels[i - 1]))
        u = sigma_s / sigmas[i - 1] * x - alpha_s * (exp(-r * h) - 1) * first
        mixed = (1 - 1 / (2 * r)) * first + 1 / (2 * r) * D(u / alpha_s, rows(x, middle))
        x = sigmas[i] / sigmas[i - 1] * x - alphas[i] * (exp(-h) - 1) * mixed
    grid = torch.tensor(levels, dtype=torch.float64)
    ours = final(DPMPP2S(r=r), start(6, levels[0]), grid) * alphas[-1]
    torch.testing.assert_close(ours, x, atol=1e-10, rtol=0)


def test_pndm_is_equations_11_and_12_in_variance_preserving_coordinates() -> None:
    """Liu et al. 2022 as printed, alpha-bar and all, begun with the formulas of fewer slopes."""
    levels = karras(12, 0.01, 20.0)[:-1].tolist()
    bar = [1 / (1 + s**2) for s in levels]
    x, known = start(6, levels[0]) * sqrt(bar[0]), []
    for i in range(len(levels) - 1):
        e = (x - sqrt(bar[i]) * D(x / sqrt(bar[i]), rows(x, levels[i]))) / sqrt(1 - bar[i])
        known = [e, *known][:4]
        numbers = [[1], [3, -1], [23, -16, 5], [55, -59, 37, -9]][len(known) - 1]
        mean = sum(n * e for n, e in zip(numbers, known, strict=True)) / sum(numbers)
        down = sqrt((1 - bar[i + 1]) * bar[i]) + sqrt((1 - bar[i]) * bar[i + 1])
        scale = (bar[i + 1] - bar[i]) / (sqrt(bar[i]) * down)
        x = sqrt(bar[i + 1] / bar[i]) * x - scale * mean
    ours = final(PNDM(), start(6, levels[0]), torch.tensor(levels, dtype=torch.float64)) * sqrt(bar[-1])
    torch.testing.assert_close(ours, x, atol=1e-10, rtol=0)


def test_names_for_the_same_rule() -> None:
    """In these coordinates LMS of one slope is Euler's; ancestral Euler is DDPM; on a regular grid LMS is PNDM."""
    x, regular = start(8, 2.0), torch.linspace(2, 0.2, 10, dtype=torch.float64)
    torch.testing.assert_close(final(LMS(slopes=1), x, karras(12)), final(Euler(), x, karras(12)), atol=1e-12, rtol=0)
    torch.testing.assert_close(final(EulerAncestral(), x, regular), final(DDPM(), x, regular), atol=1e-12, rtol=0)
    torch.testing.assert_close(final(LMS(), x, regular), final(PNDM(), x, regular), atol=1e-12, rtol=0)


@pytest.mark.parametrize("part", [DPMPP2M, UniPC])
def test_with_few_moves_the_last_but_one_is_of_first_order(part: type[Sampler]) -> None:
    x, grid = start(200, 80.0), karras(10)
    reference, full = final(part(), x, karras(400)), parse(part, {"lower_below": 10})
    errors = [float((final(sampler, x, grid) - reference).norm()) for sampler in (part(), full)]
    assert errors[0] < 0.8 * errors[1]
    lowered, last = (list(integrate(D, x, grid, sampler, AmbientNoise()))[-3:] for sampler in (part(), full))
    torch.testing.assert_close(lowered[0].x, last[0].x, atol=0, rtol=0)
    assert not torch.equal(lowered[1].x, last[1].x)


CALLS = {"heun": 13, "dpmpp-2s": 13, "predictor-corrector": 13}


@pytest.mark.parametrize("name", SAMPLERS)
def test_calls_of_the_denoiser(name: str) -> None:
    """One a move; two for Heun, 2S and one correction, whose move to 0 is one; `adaptive` says how many it took."""
    calls = []

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append(sigma)
        return D(x, sigma)

    last = list(integrate(counted, start(1, 80.0), karras(7), SAMPLERS[name](), AmbientNoise()))[-1]
    assert len(calls) == (CALLS.get(name, 7) if last.calls is None else last.calls)


def test_ddim_is_euler_at_eta_0_and_ddpm_at_eta_1() -> None:
    x, sigmas = start(8, 80.0), karras(12)
    torch.testing.assert_close(final(DDIM(), x, sigmas), final(Euler(), x, sigmas), atol=1e-12, rtol=0)
    torch.testing.assert_close(final(DDIM(eta=1), x, sigmas), final(DDPM(), x, sigmas), atol=1e-12, rtol=0)


@pytest.mark.parametrize("levels", [[1.0], [1.0, 1.0, 0.0], [0.0, 1.0], [1.0, -1.0], [float("nan"), 0.0]])
def test_a_grid_that_does_not_decrease_is_refused(levels: list[float]) -> None:
    with pytest.raises(ValueError, match="decrease"):
        final(Euler(), start(1, 1.0), torch.tensor(levels))


@pytest.mark.parametrize(
    ("part", "tree"),
    [
        (DDIM, {"eta": 1.5}),
        (Heun, {"churn": -1}),
        (DDPM, {"variances": "medium"}),
        (Adaptive, {"pair": "euler"}),
        (Adaptive, {"relative": 0}),
        (Adaptive, {"absolute": 2}),
        (PredictorCorrector, {"corrections": -1}),
        (PredictorCorrector, {"snr": 0}),
        (PredictorCorrector, {"predictor": "euler"}),
        (Euler, {"eta": 0}),
        (DPMPP2S, {"r": 0}),
        (LMS, {"slopes": 5}),
        (UniPC, {"predictor_order": 4}),
        (UniPC, {"b": "bh3"}),
    ],
)
def test_bad_options_are_refused(part: type[Sampler], tree: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=next(iter(tree))):
        parse(part, tree)


def test_an_unknown_sampler_names_the_nearest() -> None:
    with pytest.raises(BadInput, match="did you mean heun"):
        SAMPLERS["huen"]


@dataclass(frozen=True)
class Sharing(Mixture):
    """A denoiser that learnt the same share everywhere."""

    share: float = 0.0

    def with_variance(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return self(x, sigma), torch.full_like(x, self.share)


@pytest.mark.parametrize(("share", "fixed"), [(0.0, "small"), (1.0, "large")])
def test_learned_variances_reach_from_small_to_large(share: float, fixed: str) -> None:
    x = start(6, 80.0)
    learned = list(integrate(Sharing(share=share), x, karras(12), DDPM(variances="learned"), SeededNoise(range(6))))[
        -1
    ].x
    known = list(integrate(D, x, karras(12), parse(DDPM, {"variances": fixed}), SeededNoise(range(6))))[-1].x
    torch.testing.assert_close(learned, known, atol=1e-10, rtol=0)


def test_a_learned_share_mixes_logarithms() -> None:
    """Nichol & Dhariwal 2021, eq. 15: half the share is the geometric mean of the two deviations."""
    x, levels, noise = start(6, 3.0), torch.tensor([3.0, 1.0], dtype=torch.float64), SeededNoise(range(6))
    ends = {}
    for share in (0.0, 0.5, 1.0):
        moved = next(integrate(Sharing(share=share), x, levels, DDPM(variances="learned"), SeededNoise(range(6)))).x
        mean = D(x, rows(x, 3.0)) + (x - D(x, rows(x, 3.0))) / 9
        ends[share] = moved - mean
    torch.testing.assert_close(ends[0.5] ** 2, ends[0.0] * ends[1.0], atol=1e-12, rtol=0)
    torch.testing.assert_close(ends[0.0], sqrt(8 / 9) * noise.normal(x.shape).double(), atol=1e-12, rtol=0)


def test_what_a_sampler_lacks_is_told_before_the_first_move() -> None:
    x = start(2, 80.0)
    with pytest.raises(BadInput, match="variances: learned draws only from a model of family.variance: learned"):
        integrate(D, x, karras(5), DDPM(variances="learned"), AmbientNoise())
    with pytest.raises(BadInput, match="steps: sampler adaptive needs at least 2, got 1"):
        integrate(D, x, karras(1), Adaptive(), AmbientNoise())
    Adaptive().check(2, learned_variance=False)
    DDPM(variances="learned").check(1, learned_variance=True)
