"""Predictor and corrector against straight-line versions of the paper's algorithms."""

from itertools import pairwise
from math import sqrt

import pytest
import torch
from torch import Tensor

from mezzotint.options import parse
from mezzotint.samplers import integrate
from mezzotint.samplers.ddpm import DDPM
from mezzotint.samplers.predictor_corrector import PredictorCorrector
from mezzotint.seeds import SeededNoise
from oracle import Mixture

D = Mixture()
LEVELS = [20.0, 6.0, 2.0, 0.5, 0.1]
SEEDS = range(6)


def start() -> Tensor:
    return LEVELS[0] * torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def score(x: Tensor, sigma: float) -> Tensor:
    return (D(x, torch.full((len(x),), sigma, dtype=x.dtype)) - x) / sigma**2


def drawn(levels: list[float], **tree: object) -> Tensor:
    grid = torch.tensor(levels, dtype=torch.float64)
    return list(integrate(D, start(), grid, parse(PredictorCorrector, tree), SeededNoise(SEEDS)))[-1].x


@pytest.mark.parametrize("corrections", [0, 1, 3])
def test_it_is_algorithms_2_and_4(corrections: int) -> None:
    """Song et al. 2021 as printed for VE, the norms being those of each image."""
    x, noise, r = start(), SeededNoise(SEEDS), 0.2
    for above, here in pairwise(LEVELS):
        z = noise.normal(x.shape).double()
        x = x + (above**2 - here**2) * score(x, above) + sqrt(above**2 - here**2) * z
        for _ in range(corrections):
            z = noise.normal(x.shape).double()
            g = score(x, here)
            for row in range(len(x)):
                eps = min(2 * (r * float(z[row].norm() / g[row].norm())) ** 2, here**2)
                x[row] = x[row] + eps * g[row] + sqrt(2 * eps) * z[row]
    torch.testing.assert_close(drawn(LEVELS, corrections=corrections, snr=r), x, atol=1e-10, rtol=0)


def test_its_corrector_is_algorithm_5_where_alpha_i_is_1() -> None:
    """In variance-preserving coordinates score and noise scale together, so that the same step results."""
    sigma, r = 2.0, 0.16
    alpha, x = 1 / sqrt(1 + sigma**2), start() / 10
    z = SeededNoise(SEEDS).normal(x.shape).double()
    y, g = alpha * x, score(x, sigma) / alpha  # the score with respect to y
    eps = 2 * (r * z.norm(dim=1, keepdim=True) / g.norm(dim=1, keepdim=True)) ** 2
    expected = (y + eps * g + (2 * eps).sqrt() * z) / alpha
    ours = PredictorCorrector(snr=r)._corrected(D, x, sigma, SeededNoise(SEEDS))
    torch.testing.assert_close(ours, expected, atol=1e-10, rtol=0)


def test_without_corrections_the_ancestral_predictor_is_ddpm() -> None:
    grid = torch.tensor([*LEVELS, 0.0], dtype=torch.float64)
    ddpm = list(integrate(D, start(), grid, DDPM(), SeededNoise(SEEDS)))[-1].x
    ours = drawn([*LEVELS, 0.0], predictor="ancestral", corrections=0)
    torch.testing.assert_close(ours, ddpm, atol=1e-10, rtol=0)


def test_an_image_where_the_score_vanishes_stays_finite() -> None:
    def certain(x: Tensor, sigma: Tensor) -> Tensor:
        return x

    grid = torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)
    out = list(integrate(certain, start(), grid, PredictorCorrector(), SeededNoise(SEEDS)))[-1].x
    assert bool(out.isfinite().all())
