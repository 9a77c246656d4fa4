"""The variance of ancestral moves: fixed, or learnt with the bound it appears in (Nichol & Dhariwal 2021, sec. 3.1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.contracts import Codec
from mezzotint.diffusion.denoiser import Preconditioned, VariancePreconditioned, per_row, share_of
from mezzotint.diffusion.schedules import Schedule
from mezzotint.diffusion.wrapping import Still
from mezzotint.options import Options
from mezzotint.registry import Table

LEAST = 1e-12
"""Probability below which a level of the image counts as impossible, so that its logarithm stays finite."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows of a loss: images and their codes [N, C, *], sigma [N], D's estimate without gradient, and v's.

    `share` [N, *] holds the channels that the network returned besides those of the codes.
    """

    images: Tensor
    x0: Tensor
    sigma: Tensor
    denoised: Tensor
    share: Tensor


class Variance(Options):
    """Where the variance of an ancestral move comes from."""

    denoiser: ClassVar[type[Preconditioned]]

    def channels(self, codes: int) -> int:
        """Return how many channels the network returns, for codes of so many."""
        raise NotImplementedError(f"{type(self).__name__} must say how much the network returns")

    def penalty(self, seen: Seen, schedule: Schedule, codec: Codec) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return what joins the loss of each row [N], or 0 for all; and its parts for the log, [N] each."""
        raise NotImplementedError(f"{type(self).__name__} must say what joins the loss")


class Fixed(Variance):
    """One of the two variances that DDPM knows, as the sampler chooses (Ho et al. 2020, section 3.2)."""

    denoiser = Preconditioned

    def channels(self, codes: int) -> int:
        """As many as the codes."""
        return codes

    def penalty(self, seen: Seen, schedule: Schedule, codec: Codec) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Nothing."""
        return seen.sigma.new_zeros(()), {}


class Learned(Variance):
    """Between the two, by a v that the network gives for each number of the code; loss L_simple + lambda L_vlb.

    Nichol & Dhariwal 2021, eq. 15 and 16; the bound trains the variance alone. It is that of T steps, T being what the
    schedule's network hears as timesteps (1,000 for a continuous schedule): s' lies one of them below s. The last step,
    from less than one above the lowest noise, is scored by the probability of the image's own levels (Ho et al. 2020,
    eq. 13), its variance the one before, as the posterior's vanishes there.
    """

    denoiser = VariancePreconditioned

    weight: float = Field(default=0.001, gt=0, le=1, description="lambda: weight of the bound, in bits per number")

    def channels(self, codes: int) -> int:
        """Twice as many as the codes."""
        return 2 * codes

    def penalty(self, seen: Seen, schedule: Schedule, codec: Codec) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Lambda L_vlb [N]; logged as `vlb`, in bits per number of the code."""
        bound = (schedule.last_timestep() + 1) * bits(seen, schedule, codec)
        return self.weight * bound, {"vlb": bound.detach()}


VARIANCES = Table("variance", {"fixed": Fixed, "learned": Learned})


# --- The terms of the bound --------------------------------------------------------------------------------------


def log_variances(sigma: Tensor, sigma_next: Tensor) -> tuple[Tensor, Tensor]:
    """Ln of the posterior variance and of beta for moves s -> s' < s, in units of codes: [N] each.

    The small one is s'^2 (s^2 - s'^2) / s^2, -inf at s' = 0; the large one (s^2 - s'^2)(1 + s'^2) / (1 + s^2).
    """
    kept = torch.log(-torch.expm1(2 * (sigma_next.log() - sigma.log())))  # ln (s^2 - s'^2) / s^2
    large = 2 * sigma.log() + kept + torch.log1p(sigma_next**2) - torch.log1p(sigma**2)
    return 2 * sigma_next.log() + kept, large


def bits(seen: Seen, schedule: Schedule, codec: Codec) -> Tensor:
    """Terms of the bound (Ho et al. 2020, eq. 5), one step each, in bits per number of the code: [N]."""
    step = 1 / schedule.last_timestep()
    u = schedule.u(seen.sigma)
    last = u + step > 1 + 1e-3 * step
    lowest = schedule.sigma(torch.stack([torch.ones_like(u[0]) - step, torch.ones_like(u[0])]))  # s at t = 1 and t = 0
    sigma_next = schedule.sigma((u + step).clamp_max(1))
    small, large = log_variances(seen.sigma, torch.where(last, 0 * u, sigma_next))
    small = torch.where(last, log_variances(lowest[:1], lowest[1:])[0], small)

    v = share_of(seen.share)
    log_variance = per_row(small, v) + v * per_row(large - small, v)
    moved = _kullback_leibler(seen, sigma_next, small, log_variance)
    read = -_log_likelihood(seen, log_variance, codec)
    return torch.where(last, read.flatten(1).mean(1), moved.flatten(1).mean(1)) / log(2)


def _kullback_leibler(seen: Seen, sigma_next: Tensor, small: Tensor, log_variance: Tensor) -> Tensor:
    """From the posterior q(x' | x, x0) to the model's Gaussian, in nats for each number [N, *].

    Both means are estimate + (s'/s)^2 (x - estimate), so they differ by (1 - (s'/s)^2) (x0 - D).
    """
    apart = per_row(1 - (sigma_next / seen.sigma) ** 2, seen.x0) * (seen.x0 - seen.denoised)
    ratio = per_row(small, log_variance) - log_variance
    return (ratio.exp() + apart**2 * (-log_variance).exp() - 1 - ratio) / 2


def _log_likelihood(seen: Seen, log_variance: Tensor, codec: Codec) -> Tensor:
    """Ln of the probability that a Gaussian around D falls onto the image's own one of 256 levels: [N, *].

    The outermost levels reach to infinity. For codes that are linear in images.
    """
    below, above = (codec.encode(seen.images + side / 255, Still(seen.images.device)) for side in (-1, 1))
    deviation = (log_variance / 2).exp()
    up_to_below, up_to_above = (
        torch.special.ndtr((edge - seen.denoised) / deviation) for edge in (below.float(), above.float())
    )
    lower = torch.where(seen.images < -0.999, torch.zeros_like(up_to_below), up_to_below)
    upper = torch.where(seen.images > 0.999, torch.ones_like(up_to_above), up_to_above)
    return (upper - lower).clamp_min(LEAST).log()
