"""Loss weights w(sigma), all on the x0 loss w |D - x0|^2; the raw output F is then weighted by w c_out^2."""

from pydantic import Field
from torch import Tensor, ones_like

from mezzotint.diffusion.denoiser import Prediction
from mezzotint.options import Options
from mezzotint.registry import Table


class Weighting(Options):
    """How much the x0 loss counts at each noise level."""

    def weight(self, sigma: Tensor, prediction: Prediction) -> Tensor:
        """Sigma [N] -> weight on the squared error of x0 [N]."""
        raise NotImplementedError(f"{type(self).__name__} must say its weight")


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
    },
)
