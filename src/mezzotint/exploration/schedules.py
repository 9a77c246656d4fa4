"""Noise schedules as curves over u, and a picture on its way through one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.diffusion.schedules import SCHEDULES, Schedule
from mezzotint.errors import BadInput
from mezzotint.options import parse
from mezzotint.seeds import SeededNoise

POSITIONS = 11
"""Pictures in a strip: one at the start and one after every tenth of the way, as at every 100 of 1000 steps."""


@dataclass(frozen=True)
class Curve:
    """What a schedule does at regular u, float64 [points] each; `alpha` is what it multiplies x by."""

    name: str
    u: Tensor
    sigma: Tensor
    alpha: Tensor
    log_snr: Tensor


def named_schedules(names: Sequence[str] = ()) -> dict[str, Schedule]:
    """Return schedules by name with their usual options; without names all that need none to be chosen."""
    if names:
        return {name: parse(SCHEDULES[name], {}, where=f"schedule {name}:") for name in names}
    found = {}
    for name in SCHEDULES:
        try:
            found[name] = named_schedules([name])[name]
            found[name].bounds()
        except BadInput:
            found.pop(name, None)  # something about it has to be chosen first
    return found


def schedules(chosen: Mapping[str, Schedule], points: int = 201) -> list[Curve]:
    """Compute sigma, alpha and log-SNR = -2 ln sigma of schedules at `points` regular u, 0 = sigma_max."""
    u = torch.linspace(0, 1, points, dtype=torch.float64)
    return [_curve(name, schedule, u) for name, schedule in chosen.items()]


def _curve(name: str, schedule: Schedule, u: Tensor) -> Curve:
    sigma = schedule.sigma(u)
    return Curve(name, u, sigma, schedule.alpha(sigma), -2 * sigma.log())


def noised(x0: Tensor, schedule: Schedule, positions: int = POSITIONS, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Send codes x0 [C, H, W] forward: alpha (x0 + sigma n) at regular u from 1 to 0, [positions, C, H, W]; and sigma.

    The same unit noise n at every position.
    """
    sigma = schedule.sigma(torch.linspace(1, 0, positions, dtype=torch.float64))
    n = SeededNoise([seed]).normal((1, *x0.shape))
    scale, deviation = (values.float()[:, None, None, None] for values in (schedule.alpha(sigma), sigma))
    return scale * (x0 + deviation * n), sigma
