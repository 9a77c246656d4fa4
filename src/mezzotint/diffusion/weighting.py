"""Loss weights w(sigma), all on the x0 loss w |D - x0|^2; the raw output F is then weighted by w c_out^2."""

from math import pi, sqrt

import torch
from pydantic import Field
from torch import Tensor, nn, ones_like

from mezzotint.contracts import Condition
from mezzotint.diffusion.denoiser import Prediction
from mezzotint.options import Options
from mezzotint.registry import Table


class Weighting(Options):
    """How much the x0 loss counts at each noise level."""

    def weight(self, sigma: Tensor, prediction: Prediction) -> Tensor:
        """Sigma [N] -> weight on the squared error of x0 [N]."""
        raise NotImplementedError(f"{type(self).__name__} must say its weight")

    def joined(self, network: nn.Module) -> nn.Module:
        """Return the module that training moves: the network, called as before, and what this weighting learns."""
        return network

    def balanced(self, weighted: Tensor, sigma: Tensor, joined: nn.Module) -> Tensor:
        """Weighted errors of rows [N] at sigma [N] -> their losses [N], by what was learnt beside the network."""
        return weighted


class Output(Weighting):
    """1 / c_out^2: plain mean squared error on the network's raw output."""

    def weight(self, sigma: Tensor, prediction: Prediction) -> Tensor:
        """Undo the factor on the output."""
        return prediction.c_out(sigma) ** -2


class Uniform(Weighting):
    """1: plain mean squared error on x0."""

    def weight(self, sigma: Tensor, prediction: Prediction) -> Tensor:
        """Every level alike."""
        return ones_like(sigma)


class Snr(Weighting):
    """1 / sigma^2: mean squared error on the noise, DDPM's simple loss (Ho et al. 2020, eq. 14)."""

    def weight(self, sigma: Tensor, prediction: Prediction) -> Tensor:
        """Signal-to-noise power ratio."""
        return sigma**-2


class TruncatedSnr(Weighting):
    """max(1 / sigma^2, 1) (Salimans & Ho 2022, section 4)."""

    def weight(self, sigma: Tensor, prediction: Prediction) -> Tensor:
        """Signal-to-noise power ratio, at least 1."""
        return (sigma**-2).clamp_min(1)


class MinSnr(Weighting):
    """min(1 / sigma^2, gamma) (Hang et al. 2023, section 3.4)."""

    gamma: float = Field(default=5.0, gt=0, le=1e6, description="highest weight, a power ratio")

    def weight(self, sigma: Tensor, prediction: Prediction) -> Tensor:
        """Signal-to-noise power ratio, at most gamma."""
        return (sigma**-2).clamp_max(self.gamma)


class P2(Weighting):
    """snr / (k + snr)^gamma with snr = 1 / sigma^2 (Choi et al. 2022, eq. 8)."""

    k: float = Field(default=1.0, gt=0, le=1e6, description="power ratio below which the weight stops growing")
    gamma: float = Field(default=1.0, ge=0, le=10, description="how strongly clean levels are held back; 0: snr")

    def weight(self, sigma: Tensor, prediction: Prediction) -> Tensor:
        """Eq. 8, moved from the noise loss to the x0 loss."""
        snr = sigma**-2
        return snr / (self.k + snr) ** self.gamma


class EDMWeighting(Weighting):
    """(sigma^2 + sigma_data^2) / (sigma sigma_data)^2 (Karras et al. 2022, table 1)."""

    sigma_data: float = Field(default=0.5, gt=0, le=10, description="standard deviation of the codes")

    def weight(self, sigma: Tensor, prediction: Prediction) -> Tensor:
        """Table 1, loss weighting."""
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2


class Uncertainty(nn.Module):
    """u(sigma): one linear layer on random Fourier features of ln(sigma) / 4; it starts at 0."""

    frequencies: Tensor
    phases: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2 * pi * torch.randn(features))
        self.register_buffer("phases", 2 * pi * torch.rand(features))
        self.weight = nn.Parameter(torch.zeros(features))

    def forward(self, sigma: Tensor) -> Tensor:
        """Sigma [N] -> u [N], of unit variance for weights of unit variance."""
        waves = torch.cos(sigma.log()[:, None] / 4 * self.frequencies + self.phases)
        return (waves * self.weight).sum(1) * sqrt(2 / len(self.weight))


class WithUncertainty(nn.Module):
    """A network, and beside it what says how large its loss is at each noise level."""

    def __init__(self, network: nn.Module, features: int) -> None:
        super().__init__()
        self.network, self.uncertainty = network, Uncertainty(features)

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """What the network returns."""
        return self.network(x, level, condition)


class Learned(Output):
    """1 / (c_out^2 e^u), plus u: u(sigma) learns the loss's logarithm (Karras et al. 2024, EDM2, after Kendall 2018).

    At its best every level has the same gradient, whatever its loss. The loss itself says little then: see `raw_mse`.
    """

    features: int = Field(default=128, ge=1, le=10_000, description="Fourier features that u is made of")

    def joined(self, network: nn.Module) -> nn.Module:
        """The network and u."""
        return WithUncertainty(network, self.features)

    def balanced(self, weighted: Tensor, sigma: Tensor, joined: nn.Module) -> Tensor:
        """Errors [N] -> errors / e^u + u."""
        assert isinstance(joined, WithUncertainty), "the module that `joined` made"
        u = joined.uncertainty(sigma)
        return weighted / u.exp() + u


WEIGHTINGS = Table(
    "weighting",
    {
        "output": Output,
        "uniform": Uniform,
        "snr": Snr,
        "truncated-snr": TruncatedSnr,
        "min-snr": MinSnr,
        "p2": P2,
        "edm": EDMWeighting,
        "learned": Learned,
    },
)
