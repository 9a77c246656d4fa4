"""The samplers against diffusers' schedulers on their own grids, every move of it, with an exact denoiser.

diffusers keeps float32 and two coordinate systems: x0 + sigma n ("exploding"), or that divided by sqrt(1 + sigma^2)
("preserving"). Where it departs from the papers on purpose:
- 2M and UniPC: ours also lowers the order of the last move but one when moves are few; here that is off
  (`lower_below`). UniPC of order 3 is compared with their `lower_order_final` off, on a grid that ends above 0. With
  bh1 theirs is not a number at 0.
- LMS takes the move to 0 with all its slopes; ours returns D, as Euler's and Heun's do.
- PNDM takes the first move twice (Heun's) and keeps to timesteps of a table; IPNDM, like ours, begins with fewer
  slopes, but on one grid that starts from infinite sigma. Ours is compared with the paper in test_samplers.py instead.
"""

from collections.abc import Callable, Mapping
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from mezzotint.options import parse
from mezzotint.samplers import SAMPLERS, Sampler, integrate
from mezzotint.seeds import AmbientNoise
from oracle import Mixture

D = Mixture()
Run = Callable[[Any, int], tuple[Tensor, Tensor]]
Pair = tuple[str, Mapping[str, object], Run, Mapping[str, object]]


def start() -> Tensor:
    return torch.randn(32, 2, generator=torch.Generator().manual_seed(3))


def exploding(scheduler: Any, steps: int) -> tuple[Tensor, Tensor]:
    """Drive a scheduler that keeps x = x0 + sigma n; return its sigmas and x after every call."""
    scheduler.set_timesteps(steps)
    x = start() * scheduler.sigmas[0]
    arrivals, sigmas = [], [float(scheduler.sigmas[0])]
    for index, t in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[index]
        scheduler.scale_model_input(x, t)  # not needed here, but missed aloud
        eps = (x - D(x, sigma.expand(len(x)))) / sigma
        x = scheduler.step(eps, t, x).prev_sample
        arrivals.append(x)
        sigmas.append(float(scheduler.sigmas[index + 1]))
    return torch.tensor(sigmas, dtype=torch.float64), torch.stack(arrivals)


def heun(scheduler: Any, steps: int) -> tuple[Tensor, Tensor]:
    """Heun's two calls a move are two calls of `step`, every level but the first and the last listed twice."""
    sigmas, arrivals = exploding(scheduler, steps)
    return torch.cat([sigmas[:1], sigmas[1::2]]), arrivals[[*range(1, len(arrivals), 2), -1]]


def preserving(scheduler: Any, steps: int) -> tuple[Tensor, Tensor]:
    """Drive a scheduler that keeps alpha (x0 + sigma n), on the sigmas it lists."""
    scheduler.set_timesteps(steps)
    return _preserving(scheduler, scheduler.sigmas.double())


def tabled(scheduler: Any, steps: int) -> tuple[Tensor, Tensor]:
    """Drive a scheduler that keeps alpha (x0 + sigma n), on entries of its table of alpha-bar."""
    scheduler.set_timesteps(steps)
    bar = scheduler.alphas_cumprod[scheduler.timesteps].double()
    return _preserving(scheduler, torch.cat([((1 - bar) / bar).sqrt(), bar.new_zeros(1)]))


def _preserving(scheduler: Any, sigmas: Tensor) -> tuple[Tensor, Tensor]:
    alphas = (1 + sigmas**2).rsqrt().float()
    x, arrivals = start() * sigmas[0].float() * alphas[0], []
    for t, sigma, alpha, alpha_next in zip(scheduler.timesteps, sigmas, alphas, alphas[1:], strict=False):
        x0 = D(x / alpha, sigma.float().expand(len(x)))
        x = scheduler.step(x0, t, x).prev_sample
        arrivals.append(x / alpha_next)
    return sigmas, torch.stack(arrivals)


def ours(sampler: Sampler, sigmas: Tensor) -> Tensor:
    first = start() * sigmas[0].float()
    return torch.stack([move.x for move in integrate(D, first, sigmas, sampler, AmbientNoise())])


def largest_difference(sampler: Sampler, run: Run, scheduler: object, steps: int, compared: int) -> float:
    torch.manual_seed(5)
    sigmas, theirs = run(scheduler, steps)
    torch.manual_seed(5)  # both draw [N, 2] once a move, from torch's default generator
    mine = ours(sampler, sigmas)
    assert mine.shape == theirs.shape
    differences = (mine - theirs).flatten(1).norm(dim=1) / theirs.flatten(1).norm(dim=1)
    return float(differences[:compared].max())


DPM, KARRAS = "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}
FULL = {"lower_below": 0}
SAMPLE = {"prediction_type": "sample"}
TABLE = {**SAMPLE, "clip_sample": False, "timestep_spacing": "trailing"}
PAIRS: dict[str, Pair] = {
    "dpmpp-2m": (DPM, SAMPLE, preserving, FULL),
    "dpmpp-2m karras": (DPM, {**SAMPLE, **KARRAS}, preserving, FULL),
    "dpmpp-sde": (DPM, {**SAMPLE, "algorithm_type": "sde-dpmsolver++"}, preserving, {}),
    "dpmpp-sde karras": (DPM, {**SAMPLE, **KARRAS, "algorithm_type": "sde-dpmsolver++"}, preserving, {}),
    "unipc": ("UniPCMultistepScheduler", SAMPLE, preserving, FULL),
    "unipc karras": ("UniPCMultistepScheduler", {**SAMPLE, **KARRAS}, preserving, FULL),
    "unipc order 1": (
        "UniPCMultistepScheduler",
        {**SAMPLE, "solver_order": 1},
        preserving,
        {**FULL, "predictor_order": 1},
    ),
    "unipc order 3": (
        "UniPCMultistepScheduler",
        {**SAMPLE, "solver_order": 3, "lower_order_final": False, "final_sigmas_type": "sigma_min"},
        preserving,
        {**FULL, "predictor_order": 3},
    ),
    "ddim": ("DDIMScheduler", TABLE, tabled, {}),
    "ddpm": ("DDPMScheduler", {**TABLE, "variance_type": "fixed_small"}, tabled, {}),
    "euler": ("EulerDiscreteScheduler", {}, exploding, {}),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", {}, exploding, {}),
    "heun": ("HeunDiscreteScheduler", {}, heun, {}),
    "heun karras": ("HeunDiscreteScheduler", KARRAS, heun, {}),
}
WITHOUT_THE_MOVE_TO_0: dict[str, Pair] = {
    "unipc bh1": ("UniPCMultistepScheduler", {**SAMPLE, "solver_type": "bh1"}, preserving, {**FULL, "b": "bh1"}),
    "lms": ("LMSDiscreteScheduler", {}, exploding, {}),
    "lms karras": ("LMSDiscreteScheduler", KARRAS, exploding, {}),
}


@pytest.mark.filterwarnings("ignore")  # of diffusers: deprecations of its own
@pytest.mark.parametrize("steps", [10, 25])
@pytest.mark.parametrize("pair", [*PAIRS, *WITHOUT_THE_MOVE_TO_0])
def test_every_move_agrees(pair: str, steps: int) -> None:
    name, config, run, options = {**PAIRS, **WITHOUT_THE_MOVE_TO_0}[pair]
    sampler = parse(SAMPLERS[pair.partition(" ")[0]], options)
    compared = steps - (pair in WITHOUT_THE_MOVE_TO_0)
    assert largest_difference(sampler, run, getattr(diffusers, name)(**config), steps, compared) < 1e-5
