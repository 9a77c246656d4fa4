"""How a decoder's numbers speak of an image: what it costs in nats, its mean, a draw. A table of three likelihoods.

What nats mean differs, and with it what may be compared. A discretised logistic tells the probability of 8-bit
levels: its nats are those of a lossless code. A Gaussian and a continuous Bernoulli tell densities; times the width
of a grey level they approximate such probabilities as long as the density hardly changes within one. A plain
Bernoulli is a probability of black and white pixels alone: of greys its cross-entropy is a loss, no nats of anything.
"""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mezzotint.contracts import Noise
from mezzotint.options import Choice, Options
from mezzotint.registry import Table
from mezzotint.vae.scales import HALF_LEVEL, SCALES, Optimal, Scale, ScaleOptions

_LOG_SCALES = (-7.0, 7.0)
_SMALL = 1e-2  # below it a series stands for what would be 0 / 0


class Likelihood(nn.Module):
    """p(image | numbers), every number of the image by itself."""

    level_nats: float | None = 0.0
    """Nats to add to every number's own for those of its 8-bit level; None where there is no such thing."""

    def nll(self, numbers: Tensor, images: Tensor) -> Tensor:
        """Numbers [N, channels_out, H, W], images [N, C, H, W] -> nats of every number of an image [N, C, H, W]."""
        raise NotImplementedError

    def mean(self, numbers: Tensor) -> Tensor:
        """Numbers [N, channels_out, H, W] -> the mean images [N, C, H, W]."""
        raise NotImplementedError

    def sample(self, numbers: Tensor, noise: Noise) -> Tensor:
        """Numbers [N, channels_out, H, W] -> images [N, C, H, W] drawn pixel by pixel."""
        raise NotImplementedError

    def parts(self) -> dict[str, Tensor]:
        """Return what it has learnt besides the numbers, for the log."""
        return {}

    def adapt(self, squared_error: Tensor, update: int) -> None:
        """Take in the mean squared error of the update that was the `update`-th; most have nothing to adapt."""


class LikelihoodOptions(Options):
    """What every likelihood is asked."""

    def channels_out(self, channels: int) -> int:
        """Return how many numbers a decoder gives for each pixel of so many channels."""
        return channels

    def build(self) -> Likelihood:
        """Return the likelihood, with the parameters and buffers it has."""
        raise NotImplementedError


# --- Gaussian ----------------------------------------------------------------------------------------------------


class Gaussian(LikelihoodOptions):
    """A Gaussian of one standard deviation for all pixels: fixed, learnt or optimal (sigma-VAE, Rybkin et al. 2021)."""

    scale: Annotated[ScaleOptions, Choice(SCALES)] = Field(
        default=Optimal(), description="where the standard deviation comes from"
    )

    def build(self) -> Likelihood:
        """Return the likelihood."""
        return GaussianLikelihood(self.scale.build())


class GaussianLikelihood(Likelihood):
    """N(numbers, sigma^2): its nats are those of a density over [-1, 1]."""

    level_nats = -math.log(2 * HALF_LEVEL)

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.scale = scale

    def nll(self, numbers: Tensor, images: Tensor) -> Tensor:
        """(x - mu)^2 / 2 sigma^2 + ln sigma + ln(2 pi) / 2."""
        sigma = self.scale()
        return 0.5 * ((images - numbers.float()) / sigma).square() + sigma.log() + 0.5 * math.log(2 * math.pi)

    def mean(self, numbers: Tensor) -> Tensor:
        """Return the numbers themselves."""
        return numbers.float()

    def sample(self, numbers: Tensor, noise: Noise) -> Tensor:
        """Return mu + sigma n."""
        return numbers.float() + self.scale() * noise.normal(numbers.shape)

    def parts(self) -> dict[str, Tensor]:
        """Return the standard deviation."""
        return {"sigma": self.scale().detach()}

    def adapt(self, squared_error: Tensor, update: int) -> None:
        """Hand the error on to the scale."""
        self.scale.adapt(squared_error, update)


# --- Bernoulli ---------------------------------------------------------------------------------------------------


class Bernoulli(LikelihoodOptions):
    """Greys in [0, 1] as if they were probabilities of white; `continuous` makes that a density of greys.

    Plain, it is a likelihood of pixels that are 0 or 1; greys between are its customary, not its proper, data
    (Loaiza-Ganem & Cunningham 2019), so that no bits per dimension are told.
    """

    continuous: bool = Field(
        default=False, description="whether the continuous Bernoulli's normaliser is added: nats become a density's"
    )

    def build(self) -> Likelihood:
        """Return the likelihood."""
        return ContinuousBernoulliLikelihood() if self.continuous else BernoulliLikelihood()


class BernoulliLikelihood(Likelihood):
    """Cross-entropy of greys t in [0, 1] with sigmoid(numbers)."""

    level_nats = None

    def nll(self, numbers: Tensor, images: Tensor) -> Tensor:
        """-t ln p - (1 - t) ln(1 - p)."""
        greys = ((images + 1) / 2).clamp(0, 1)
        return F.binary_cross_entropy_with_logits(numbers.float(), greys, reduction="none")

    def mean(self, numbers: Tensor) -> Tensor:
        """Return p as a grey level."""
        return 2 * numbers.float().sigmoid() - 1

    def sample(self, numbers: Tensor, noise: Noise) -> Tensor:
        """Return black or white."""
        return (_uniform(noise, numbers.shape) < numbers.float().sigmoid()).float() * 2 - 1


class ContinuousBernoulliLikelihood(BernoulliLikelihood):
    """The density proportional to p^t (1 - p)^(1 - t) on [0, 1] (Loaiza-Ganem & Cunningham 2019)."""

    level_nats = math.log(255)

    def nll(self, numbers: Tensor, images: Tensor) -> Tensor:
        """Cross-entropy less ln(l / tanh(l / 2)), l = logit p: the logarithm of the normaliser."""
        logit = numbers.float()
        small = logit.abs() < _SMALL
        safe = logit.masked_fill(small, 1.0)
        normaliser = torch.where(small, math.log(2) + logit.square() / 12, (safe / (safe / 2).tanh()).log())
        return super().nll(numbers, images) - normaliser

    def mean(self, numbers: Tensor) -> Tensor:
        """Return the mean grey p / (2 p - 1) - 1 / l."""
        logit = numbers.float()
        small = logit.abs() < _SMALL
        safe = logit.masked_fill(small, 1.0)
        greys = torch.where(small, 0.5 + logit / 12, safe.sigmoid() / (safe / 2).tanh() - 1 / safe)
        return 2 * greys - 1

    def sample(self, numbers: Tensor, noise: Noise) -> Tensor:
        """Return ln(1 + u (e^l - 1)) / l, its inverse distribution function at a uniform u."""
        logit, u = numbers.float(), _uniform(noise, numbers.shape)
        small = logit.abs() < _SMALL
        safe = logit.masked_fill(small, 1.0)
        greys = torch.where(small, u, torch.logaddexp((1 - u).log(), u.log() + safe) / safe)
        return 2 * greys - 1


# --- Discretised logistic ------------------------------------------------------------------------------------------


class DiscretizedLogistic(LikelihoodOptions):
    """Probabilities of 8-bit levels: logistic mass between their borders (Kingma et al. 2016; Salimans et al. 2017)."""

    components: int = Field(default=1, ge=1, le=32, description="logistic distributions mixed for each number")

    def channels_out(self, channels: int) -> int:
        """Means and log scales, and weights where there are several components."""
        return channels * (2 if self.components == 1 else 3 * self.components)

    def build(self) -> Likelihood:
        """Return the likelihood."""
        return DiscretizedLogisticLikelihood(self.components)


class DiscretizedLogisticLikelihood(Likelihood):
    """Mixture of logistic distributions, its mass gathered at the 256 levels; the outermost take the tails."""

    def __init__(self, components: int) -> None:
        super().__init__()
        self.components = components
        # Where means and scales lie for numbers of 0. Apart from each other: equal components would stay equal.
        self.register_buffer("centres", torch.linspace(-1, 1, components + 2)[1:-1], persistent=False)

    centres: Tensor

    def nll(self, numbers: Tensor, images: Tensor) -> Tensor:
        """-ln sum_k pi_k [S((x + 1/255 - mu_k) / s_k) - S((x - 1/255 - mu_k) / s_k)] (Salimans et al. 2017, eq. 2).

        S(a) - S(b) = S(a) S(-b) (1 - e^(b - a)): nothing cancels, and a - b depends on the scale alone.
        """
        means, log_scales, log_weights = self._read(numbers)
        x = images[:, None]
        inverse = (-log_scales).exp()
        above, below = ((x + side * HALF_LEVEL - means) * inverse for side in (1, -1))
        up_to, beyond = F.logsigmoid(above), F.logsigmoid(-below)
        inside = up_to + beyond + (-torch.expm1(-2 * HALF_LEVEL * inverse)).log()
        lowest, highest = x < HALF_LEVEL - 1, x > 1 - HALF_LEVEL
        log_mass = torch.where(lowest, up_to, torch.where(highest, beyond, inside))
        return -torch.logsumexp(log_mass + log_weights, dim=1)

    def mean(self, numbers: Tensor) -> Tensor:
        """Return the mixture's mean before it is cut to levels."""
        means, _, log_weights = self._read(numbers)
        return (log_weights.exp() * means).sum(1)

    def sample(self, numbers: Tensor, noise: Noise) -> Tensor:
        """Return mu + s logit(u) of a component drawn by its weight."""
        means, log_scales, log_weights = self._read(numbers)
        shape = means[:, 0].shape
        if self.components > 1:
            borders = log_weights.exp().cumsum(1)[:, :-1]
            chosen = (_uniform(noise, shape)[:, None] > borders).sum(1, keepdim=True)
            means, log_scales = means.gather(1, chosen), log_scales.gather(1, chosen)
        return means[:, 0] + log_scales[:, 0].exp() * _uniform(noise, shape).logit()

    def _read(self, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers [N, channels_out, H, W] -> means, log scales and log weights [N, components, C, H, W] each."""
        count = self.components
        parts = numbers.float().unflatten(1, (2 * count if count == 1 else 3 * count, -1))
        means = parts[:, :count] + self.centres.reshape(-1, 1, 1, 1)
        log_scales = (parts[:, count : 2 * count] - 1).clamp(*_LOG_SCALES)
        if count == 1:
            return means, log_scales, torch.zeros_like(means)
        return means, log_scales, parts[:, 2 * count :].log_softmax(dim=1)


LIKELIHOODS = Table(
    "likelihood", {"gaussian": Gaussian, "bernoulli": Bernoulli, "discretized-logistic": DiscretizedLogistic}
)


def _uniform(noise: Noise, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Draw uniform numbers strictly between 0 and 1."""
    return torch.special.ndtr(noise.normal(shape)).clamp(1e-6, 1 - 1e-6)
