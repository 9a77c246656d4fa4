"""The learned weighting: where its parameters are, where it begins, what it learns."""

import torch
from torch import Tensor, nn

from mezzotint.contracts import Batch, Condition
from mezzotint.diffusion.denoiser import EDM
from mezzotint.diffusion.family import Diffusion, DiffusionOptions
from mezzotint.diffusion.generator import DiffusionSampling
from mezzotint.diffusion.weighting import Learned, Output, WithUncertainty
from mezzotint.options import parse
from mezzotint.runs.codecs import Identity
from mezzotint.seeds import SeededNoise

SHAPE = (1, 2, 2)


class Gain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        return self.gain * x


def family(weighting: str) -> Diffusion:
    torch.manual_seed(0)
    return Diffusion(Gain(), parse(DiffusionOptions, {"weighting": weighting}), Identity(), SHAPE, 0)


def test_it_begins_as_the_weight_output_and_is_trained_with_the_network() -> None:
    learned, plain = family("learned"), family("output")
    batch = plain.draw(Batch(torch.rand(16, *SHAPE), None, None, 0, 0))
    loss = learned.loss(batch)
    torch.testing.assert_close(loss.value, plain.loss(batch).value)
    (phase,) = learned.phases()
    names = [name for name, _ in phase.module.named_parameters()]
    assert names == ["network.gain", "uncertainty.weight"]
    loss.value.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in phase.module.parameters())


def test_drawing_does_not_see_it() -> None:
    images = []
    for chosen in (family("learned"), family("output")):
        noise = SeededNoise([1])
        latent = noise.normal((1, *SHAPE))
        images.append(chosen.generator(DiffusionSampling(steps=3)).decode(latent, None, noise))
    assert torch.equal(*images)


def test_u_is_best_at_the_logarithm_of_the_error() -> None:
    """Then error / e^u is 1 at every level (Kendall et al. 2018)."""
    joined = Learned().joined(Gain())
    assert isinstance(joined, WithUncertainty)

    class Known(nn.Module):
        def forward(self, sigma: Tensor) -> Tensor:
            return u

    u, error = torch.tensor([0.5, -2.0]).requires_grad_(), torch.tensor([0.5, -2.0]).exp()
    joined.uncertainty = Known()  # pyright: ignore[reportAttributeAccessIssue]
    value = Learned().balanced(error, torch.ones(2), joined)
    (slope,) = torch.autograd.grad(value.sum(), u)
    torch.testing.assert_close(slope, torch.zeros(2))
    torch.testing.assert_close(value.detach(), 1 + u.detach())


def test_u_learns_errors_that_differ_by_level() -> None:
    torch.manual_seed(0)
    joined = Learned(features=32).joined(Gain())
    assert isinstance(joined, WithUncertainty)
    optimizer = torch.optim.Adam(joined.uncertainty.parameters(), lr=0.05)
    sigma = torch.logspace(-2.5, 1.5, 64)
    error = sigma / (1 + sigma)
    for _ in range(300):
        optimizer.zero_grad()
        Learned().balanced(error, sigma, joined).mean().backward()
        optimizer.step()
    ratio = (joined.uncertainty(sigma).exp() / error)[4:-4]
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=0.35, rtol=0)


def test_its_fixed_part_is_the_weight_output() -> None:
    sigma = torch.logspace(-2, 2, 9)
    torch.testing.assert_close(Learned().weight(sigma, EDM()), Output().weight(sigma, EDM()))
