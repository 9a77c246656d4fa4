"""Predictions, levels and weights: algebra and round trips."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.diffusion.denoiser import (
    EDM,
    LEVELS,
    PREDICTIONS,
    X0,
    LogSigma,
    Noise,
    Preconditioned,
    Prediction,
    Time,
    Timestep,
    V,
)
from mezzotint.diffusion.schedules import SCHEDULES
from mezzotint.diffusion.schedules.karras import Karras
from mezzotint.diffusion.schedules.linear import Linear
from mezzotint.diffusion.weighting import P2, WEIGHTINGS, EDMWeighting, MinSnr, Output, Snr, TruncatedSnr, Uniform
from mezzotint.diffusion.wrapping import Clipped, wrapped
from mezzotint.errors import BadInput
from mezzotint.options import parse
from mezzotint.runs.codecs import Identity
from oracle import ExactNetwork, Mixture

SIGMA = torch.logspace(-3, 4, 71, dtype=torch.float64)
predictions = pytest.mark.parametrize("prediction", [PREDICTIONS[name]() for name in PREDICTIONS], ids=repr)


@predictions
@pytest.mark.parametrize("name", SCHEDULES)
def test_exact_denoiser_to_raw_output_and_back_in_float32(prediction: Prediction, name: str) -> None:
    """At both ends of every schedule; x of size sigma leaves rounding of size sigma where x is passed around."""
    mixture, schedule = Mixture(), SCHEDULES[name]()
    network = ExactNetwork(mixture, prediction)
    denoise = Preconditioned(network, prediction, LogSigma(), schedule)
    for end in schedule.bounds():
        x0 = mixture.draw(256).float()
        sigma = torch.full((256,), end)
        x = x0 + end * torch.randn(256, 2)
        exact = mixture(x, sigma)
        tolerance = 1e-6 * (1 + end)
        torch.testing.assert_close(denoise(x, sigma), exact, atol=tolerance, rtol=0)


@predictions
@given(log_sigma=st.floats(-6, 9))
def test_target_is_the_raw_output_whose_denoiser_is_x0(prediction: Prediction, log_sigma: float) -> None:
    x0, n = torch.tensor([[0.3, -0.9]]).double(), torch.tensor([[1.1, -0.4]]).double()
    sigma = torch.tensor([log_sigma]).double().exp()
    x, target = x0 + sigma * n, prediction.target(x0, n, sigma)
    back = prediction.c_skip(sigma) * x + prediction.c_out(sigma) * target
    torch.testing.assert_close(back, x0, atol=1e-10, rtol=0)


def test_targets_are_what_their_names_say() -> None:
    x0, n = Mixture().draw(5), torch.randn(5, 2, dtype=torch.float64)
    sigma = torch.tensor([0.01, 0.3, 1.0, 8.0, 200.0], dtype=torch.float64)
    alpha = (1 + sigma**2).rsqrt()[:, None]
    expected = {
        "x0": x0,
        "noise": n,
        "ve-noise": n,
        "v": alpha * n - (1 - alpha**2).sqrt() * x0,
        "flow": n - x0,
    }
    for name, target in expected.items():
        torch.testing.assert_close(PREDICTIONS[name]().target(x0, n, sigma), target, atol=1e-10, rtol=0)


@predictions
def test_inputs_and_targets_have_unit_variance_for_unit_data(prediction: Prediction) -> None:
    """What c_in is for: E[(c_in x)^2] = 1; the flow sees (1 - t)^2 + t^2, unscaled 1 + sigma^2; EDM's target too."""
    data = (prediction.sigma_data or 0.0) if isinstance(prediction, EDM) else 1.0
    t = SIGMA / (1 + SIGMA)
    otherwise = {PREDICTIONS["flow"](): (1 - t) ** 2 + t**2, PREDICTIONS["ve-noise"](): 1 + SIGMA**2}
    expected = otherwise.get(prediction, torch.ones_like(SIGMA))
    variance = prediction.c_in(SIGMA) ** 2 * (data**2 + SIGMA**2)
    torch.testing.assert_close(variance, expected, atol=1e-12, rtol=1e-12)
    if isinstance(prediction, EDM):
        one, zero = torch.ones(71, 1, dtype=torch.float64), torch.zeros(71, 1, dtype=torch.float64)
        of_x0, of_n = prediction.target(one * data, zero, SIGMA), prediction.target(zero, one, SIGMA)
        torch.testing.assert_close(of_x0**2 + of_n**2, one, atol=1e-9, rtol=0)


@predictions
def test_the_weight_output_cancels_c_out(prediction: Prediction) -> None:
    weight = Output().weight(SIGMA, prediction)
    torch.testing.assert_close(weight * prediction.c_out(SIGMA) ** 2, torch.ones_like(SIGMA))


def test_identities_of_the_weight_output() -> None:
    def output(prediction: Prediction) -> Tensor:
        return Output().weight(SIGMA, prediction)

    torch.testing.assert_close(output(Noise()), Snr().weight(SIGMA, Noise()))
    torch.testing.assert_close(output(EDM()), EDMWeighting().weight(SIGMA, EDM()))
    edm = EDM(sigma_data=0.7)
    torch.testing.assert_close(output(edm), EDMWeighting(sigma_data=0.7).weight(SIGMA, edm))
    torch.testing.assert_close(output(V()), 1 + 1 / SIGMA**2)
    torch.testing.assert_close(output(X0()), Uniform().weight(SIGMA, X0()))


def test_weights_bounded_and_unbounded() -> None:
    snr = Snr().weight(SIGMA, X0())
    torch.testing.assert_close(snr, 1 / SIGMA**2)
    torch.testing.assert_close(TruncatedSnr().weight(SIGMA, X0()), snr.maximum(torch.ones_like(snr)))
    torch.testing.assert_close(MinSnr(gamma=3).weight(SIGMA, X0()), snr.minimum(torch.full_like(snr, 3)))
    torch.testing.assert_close(P2(k=2, gamma=0.5).weight(SIGMA, X0()), snr / (2 + snr).sqrt())
    torch.testing.assert_close(P2(gamma=0).weight(SIGMA, X0()), snr)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weights_are_positive_and_finite(name: str) -> None:
    weight = WEIGHTINGS[name]().weight(SIGMA, EDM())
    assert weight.shape == SIGMA.shape
    assert bool((weight > 0).all() and weight.isfinite().all())


def test_levels() -> None:
    schedule, sigma = Linear(), Linear().grid(1000)[:-1]
    told = Timestep().of(sigma, schedule)
    torch.testing.assert_close(told, torch.arange(999, -1, -1).double(), atol=1e-7, rtol=0)
    torch.testing.assert_close(Timestep().of(sigma.float(), schedule).double(), told, atol=2e-3, rtol=0)
    assert Timestep().of(torch.tensor([1e4, 1e-6]), schedule).tolist() == pytest.approx([999, 0])
    assert Timestep().of(torch.tensor([1e4]), Linear(timesteps=50)).tolist() == pytest.approx([49])
    assert Timestep().of(torch.tensor([80.0]), Karras()).tolist() == pytest.approx([999])
    torch.testing.assert_close(LogSigma().of(sigma, schedule), sigma.log() / 4)
    torch.testing.assert_close(Time().of(sigma, schedule), sigma / (1 + sigma))


class Recorder(nn.Module):
    """A network that remembers what it was called with."""

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        self.seen = (x, level, condition)
        return 3 * torch.ones_like(x, dtype=torch.bfloat16)


@pytest.mark.parametrize("name", LEVELS)
def test_the_network_sees_float32_and_the_caller_its_own_dtype(name: str) -> None:
    network, condition = Recorder(), Condition(labels=torch.tensor([1, 2]))
    denoise = Preconditioned(network, X0(), LEVELS[name](), Karras(), condition)
    x, sigma = torch.ones(2, 1, 4, 4, dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    out = denoise(x, sigma)
    assert out.dtype == torch.float64
    assert bool((out == 3).all())
    scaled, level, told = network.seen
    assert (scaled.dtype, level.dtype, level.shape) == (torch.float32, torch.float32, (2,))
    assert told is condition
    torch.testing.assert_close(scaled[:, 0, 0, 0], torch.tensor([0.5**0.5, 0.2**0.5]))


def test_clipping() -> None:
    clipped = wrapped(lambda x, sigma: 3 * x, Clipped(Identity()))
    out = clipped(torch.tensor([[-1.0, 0.1, 1.0]]), torch.ones(1))
    torch.testing.assert_close(out, torch.tensor([[-1.0, 0.3, 1.0]]))


@pytest.mark.parametrize(
    ("part", "tree"), [(EDM, {"sigma_data": 0}), (MinSnr, {"gamma": 0}), (P2, {"k": 0}), (Noise, {"sigma_data": 1})]
)
def test_bad_options_are_refused(part: type, tree: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=next(iter(tree))):
        parse(part, tree)
