"""Losses against their formulas, penalties against closed forms."""

import math

import pytest
import torch
from torch import Tensor, nn

from mezzotint.gan.health import near_duplicates, thumbnails, variance_ratio
from mezzotint.gan.losses import LOSSES, AdversarialLoss
from mezzotint.gan.regularizers import R1, R2, GradientPenalty, PathLength, Seen

REAL, DRAWN = torch.tensor([0.3, -1.2, 2.5]), torch.tensor([-0.7, 0.1, 1.4])


def _log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


FORMULAS = {
    "non-saturating": (lambda r, d: -_log_sigmoid(r) - _log_sigmoid(-d), lambda r, d: -_log_sigmoid(d)),
    "least-squares": (lambda r, d: 0.5 * ((r - 1) ** 2 + d**2), lambda r, d: 0.5 * (d - 1) ** 2),
    "hinge": (lambda r, d: max(0, 1 - r) + max(0, 1 + d), lambda r, d: -d),
    "wasserstein": (lambda r, d: d - r, lambda r, d: -d),
    "relativistic": (lambda r, d: -_log_sigmoid(r - d), lambda r, d: -_log_sigmoid(d - r)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_their_formulas(name: str) -> None:
    loss: AdversarialLoss = LOSSES[name]()
    critic, generator = FORMULAS[name]
    pairs = list(zip(REAL.tolist(), DRAWN.tolist(), strict=True))
    assert loss.critic(REAL, DRAWN).item() == pytest.approx(sum(critic(r, d) for r, d in pairs) / 3, rel=1e-6)
    assert loss.generator(REAL, DRAWN).item() == pytest.approx(sum(generator(r, d) for r, d in pairs) / 3, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_critic_is_pulled_up_on_real_and_down_on_drawn_and_a_generator_up(name: str) -> None:
    loss: AdversarialLoss = LOSSES[name]()
    real, drawn = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    to_real, to_drawn = torch.autograd.grad(loss.critic(real, drawn), (real, drawn))
    assert (to_real < 0).all()
    assert (to_drawn >= 0).all()
    (to_generator,) = torch.autograd.grad(loss.generator(real, drawn), drawn)
    assert (to_generator < 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_what_losses_say_of_themselves_is_so(name: str) -> None:
    loss: AdversarialLoss = LOSSES[name]()
    shifted = loss.critic(REAL + 5, DRAWN + 5).allclose(loss.critic(REAL, DRAWN), atol=1e-5)
    assert shifted == (loss.border is None)
    assert loss.compares == (not loss.generator(REAL, DRAWN).equal(loss.generator(REAL + 1, DRAWN)))
    assert loss.bounded == (loss.critic(REAL * 1e6 + 2e7, DRAWN * 1e6).item() > -1)


# --- Penalties -------------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """D(x) = a . x, its slope |a| everywhere."""

    def __init__(self, size: float) -> None:
        super().__init__()
        a = torch.randn(1, 2, 3, 3)
        self.a = nn.Parameter(size * a / a.norm())

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.a).sum((1, 2, 3))


class Quadratic(nn.Module):
    """D(x) = c |x|^2 / 2, its slope c |x|."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Parameter(torch.tensor(3.0))

    def forward(self, images: Tensor) -> Tensor:
        return self.c * images.square().sum((1, 2, 3)) / 2


def _seen(critic: nn.Module) -> Seen:
    real, drawn = (torch.randn(5, 2, 3, 3).requires_grad_() for _ in range(2))
    return Seen(real, drawn, critic(real), critic(drawn), critic)


@pytest.mark.parametrize("size", [0.5, 1.0, 3.0])
def test_penalties_of_a_linear_critic_are_exact(size: float) -> None:
    torch.manual_seed(0)
    seen = _seen(Linear(size))
    assert GradientPenalty().penalty(seen).item() == pytest.approx((size - 1) ** 2, abs=1e-6)
    assert R1().penalty(seen).item() == pytest.approx(size**2, rel=1e-5)
    assert R2().penalty(seen).item() == pytest.approx(size**2, rel=1e-5)
    assert (GradientPenalty(strength=7).weight(), R1(gamma=7).weight()) == (7, 3.5)


def test_r1_and_r2_of_a_quadratic_critic_and_their_own_gradients_have_closed_forms() -> None:
    torch.manual_seed(0)
    critic = Quadratic()
    seen = _seen(critic)
    for penalty, images in ((R1().penalty(seen), seen.real), (R2().penalty(seen), seen.drawn)):
        expected = images.detach().square().sum((1, 2, 3)).mean().item()
        assert penalty.item() == pytest.approx(9 * expected, rel=1e-5)
        (gradient,) = torch.autograd.grad(penalty, critic.c, retain_graph=True)
        assert gradient.item() == pytest.approx(2 * 3 * expected, rel=1e-5)


def test_penalties_come_at_their_turns() -> None:
    assert [turn for turn in range(9) if R1(every=4).due(turn)] == [0, 4, 8]
    assert all(GradientPenalty().due(turn) for turn in range(3))


def test_the_path_length_of_a_linear_generator_is_that_of_its_matrix() -> None:
    """G(w) = A w with one layer: E |A^T y|^2 = |A|_F^2 / (H W), so the mean squared length tells A's norm."""
    torch.manual_seed(0)
    a = torch.randn(3 * 16, 5)
    w = torch.randn(4000, 1, 5, requires_grad=True)
    images = (w[:, 0] @ a.T).unflatten(1, (3, 4, 4))
    lengths = PathLength().lengths(images, w)
    assert lengths.shape == (4000,)
    assert lengths.square().mean().item() == pytest.approx(a.square().sum().item() / 16, rel=0.05)


# --- Health ----------------------------------------------------------------------------------------------------


def test_variety_and_duplicates_of_known_batches() -> None:
    torch.manual_seed(0)
    real = thumbnails(torch.randn(32, 3, 16, 16))
    assert real.shape == (32, 192)
    assert variance_ratio(real, real) == 1
    assert variance_ratio(2 * real, real).item() == pytest.approx(4)
    assert variance_ratio(real[:1].expand(32, -1), real).item() == pytest.approx(0, abs=1e-6)
    assert near_duplicates(real, real) == 0
    assert near_duplicates(real[:16].repeat(2, 1), real) == 1
    assert near_duplicates(torch.cat([real[:24], real[:8] + 1e-3]), real) == 0.5
    assert near_duplicates(real[:1], real[:1]) == 0
