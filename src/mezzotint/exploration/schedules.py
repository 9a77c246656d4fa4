"""Noise schedules as curves over u, and a picture on its way through one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from mezzotint.diffusion.schedules import SCHEDULES, Schedule
from mezzotint.errors import BadInput
from mezzotint.options import Choice, Options, override, parse
from mezzotint.seeds import SeededNoise

POSITIONS = 11
"""Pictures in a strip: one at the start and one after every tenth of the way, as at every 100 of 1000 steps."""


@dataclass(frozen=True)
class Curve:
    """What a schedule does at regular u, float64 [points] each.

    `alpha` is what it multiplies x by; `density` is that of ln sigma where training draws u at random.
    """

    name: str
    u: Tensor
    sigma: Tensor
    alpha: Tensor
    log_snr: Tensor
    density: Tensor

    def numbers(self) -> dict[str, list[float]]:
        """Return all of it as plain lists, for JSON."""
        columns = {"u": self.u, "sigma": self.sigma, "alpha": self.alpha}
        columns |= {"log_snr": self.log_snr, "density": self.density}
        return {name: column.tolist() for name, column in columns.items()}


class _Chosen(Options):
    schedule: Annotated[Schedule, Choice(SCHEDULES)]


def named_schedules(words: Sequence[str] = ()) -> dict[str, Schedule]:
    """Return schedules named `cosine` or, with options, `{kind: sigmoid, tau: 0.5}`; without words all of them.

    All that need no choice, that is.
    """
    if words:
        return {word.strip("{} ").removeprefix("kind:").strip(): _schedule(word) for word in words}
    found = {}
    for name in SCHEDULES:
        try:
            found[name] = _schedule(name)
            found[name].bounds()
        except BadInput:
            found.pop(name, None)  # something about it has to be chosen first
    return found


def _schedule(word: str) -> Schedule:
    return parse(_Chosen, override({}, [f"schedule={word}"])).schedule


def schedules(chosen: Mapping[str, Schedule], points: int = 1001) -> list[Curve]:
    """Compute sigma, alpha, log-SNR = -2 ln sigma and density of schedules at `points` regular u, 0 = sigma_max."""
    u = torch.linspace(0, 1, points, dtype=torch.float64)
    return [_curve(name, schedule, u) for name, schedule in chosen.items()]


def _curve(name: str, schedule: Schedule, u: Tensor) -> Curve:
    sigma = schedule.sigma(u)
    (slope,) = torch.gradient(sigma.log(), spacing=(u,))
    return Curve(name, u, sigma, schedule.alpha(sigma), -2 * sigma.log(), -1 / slope)


def noised(x0: Tensor, schedule: Schedule, positions: int = POSITIONS, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Send codes x0 [C, H, W] forward: alpha (x0 + sigma n) at regular u from 1 to 0, [positions, C, H, W]; and sigma.

    The same unit noise n at every position.
    """
    sigma = schedule.sigma(torch.linspace(1, 0, positions, dtype=torch.float64))
    n = SeededNoise([seed]).normal((1, *x0.shape))
    scale, deviation = (values.float()[:, None, None, None] for values in (schedule.alpha(sigma), sigma))
    return scale * (x0 + deviation * n), sigma
