"""Closed forms to hold the rooms against: a Gaussian mixture whose exact denoiser and moments are known."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.diffusion.denoiser import Prediction


@dataclass(frozen=True)
class Mixture:
    """Isotropic Gaussians in the plane; codes [N, *] are any number of independent points each, [N, 2] a single one."""

    weights: Tensor = field(default_factory=lambda: torch.tensor([0.3, 0.7], dtype=torch.float64))
    means: Tensor = field(default_factory=lambda: torch.tensor([[-0.6, 0.2], [0.5, -0.4]], dtype=torch.float64))
    stds: Tensor = field(default_factory=lambda: torch.tensor([0.2, 0.3], dtype=torch.float64))

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x0 + sigma n = x]: the posterior means of the components, weighed by their likelihoods."""
        points = x.reshape(len(x), -1, 2).double()
        variances = self.stds[:, None, None] ** 2 + sigma.double()[:, None] ** 2  # [K, N, 1]
        offsets = points - self.means[:, None, None]  # [K, N, P, 2]
        distance = offsets[..., 0] ** 2 + offsets[..., 1] ** 2
        share = (self.weights.log()[:, None, None] - distance / (2 * variances) - variances.log()).softmax(0)
        posterior = self.means[:, None, None] + (self.stds[:, None, None] ** 2 / variances)[..., None] * offsets
        return (share[..., None] * posterior).sum(0).reshape(x.shape).to(x.dtype)

    def draw(self, count: int) -> Tensor:
        which = torch.multinomial(self.weights, count, replacement=True)
        return self.means[which] + self.stds[which, None] * torch.randn(count, 2, dtype=torch.float64)

    @property
    def mean(self) -> Tensor:
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        centred = self.means - self.mean
        between = (self.weights[:, None] * centred).T @ centred
        return between + (self.weights @ self.stds**2) * torch.eye(2, dtype=torch.float64)

    def right_of(self, x: Tensor) -> float:
        """Probability of a first coordinate above 0, for a threshold between the modes."""
        z = (self.means[:, 0] - x) / self.stds
        return float(self.weights @ torch.special.ndtr(z))


class ExactNetwork(nn.Module):
    """The network that makes a mixture's denoiser exact for a prediction, given level `log`; `offset` spoils it."""

    def __init__(self, mixture: Mixture, prediction: Prediction, offset: float = 0.0) -> None:
        super().__init__()
        self.mixture, self.prediction = mixture, prediction
        self.offset = nn.Parameter(torch.tensor(offset))

    def forward(self, scaled: Tensor, level: Tensor, condition: Condition) -> Tensor:
        sigma = (4 * level.double()).exp()
        rows = (-1, *[1] * (scaled.ndim - 1))
        c_skip, c_out, c_in = (
            c(sigma).reshape(rows) for c in (self.prediction.c_skip, self.prediction.c_out, self.prediction.c_in)
        )
        x = scaled.double() / c_in
        return ((self.mixture(x, sigma) - c_skip * x) / c_out).to(scaled.dtype) + self.offset
