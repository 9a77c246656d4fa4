"""The samplers beside diffusers' schedulers, on their own grids with an exact denoiser: how far apart every move is.

diffusers keeps float32 and two coordinate systems: x0 + sigma n ("exploding"), or that divided by sqrt(1 + sigma^2)
("preserving"). Tests check these numbers, and benchmarks/conformance.py makes a page of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import diffusers
import torch
from torch import Tensor

from mezzotint.options import parse
from mezzotint.samplers import SAMPLERS, Sampler, integrate
from mezzotint.seeds import AmbientNoise
from oracle import Mixture


class Knowing(Mixture):
    """The mixture's denoiser with some learned variance: a share that depends on the estimate."""

    def with_variance(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        x0 = self(x, sigma)
        return x0, (1 + torch.tanh(3 * x0)) / 2


D = Knowing()


class Driven(NamedTuple):
    """What a scheduler did: sigmas [moves + 1], x at the first of them, x after every move, and slopes known before."""

    sigmas: Tensor
    first: Tensor
    arrivals: Tensor
    known: tuple[Tensor, ...] = ()


Drive = Callable[[Any, int], Driven]


def start() -> Tensor:
    return torch.randn(32, 2, generator=torch.Generator().manual_seed(3))


# --- Driving their schedulers -------------------------------------------------------------------------------------


def exploding(scheduler: Any, steps: int) -> Driven:
    """Drive a scheduler that keeps x = x0 + sigma n; return x after every call."""
    scheduler.set_timesteps(steps)
    x = first = start() * scheduler.sigmas[0]
    arrivals, sigmas = [], [float(scheduler.sigmas[0])]
    for index, t in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[index]
        scheduler.scale_model_input(x, t)  # not needed here, but missed aloud
        eps = (x - D(x, sigma.expand(len(x)))) / sigma
        x = scheduler.step(eps, t, x).prev_sample
        arrivals.append(x)
        sigmas.append(float(scheduler.sigmas[index + 1]))
    return Driven(torch.tensor(sigmas, dtype=torch.float64), first, torch.stack(arrivals))


def heun(scheduler: Any, steps: int) -> Driven:
    """Heun's two calls a move are two calls of `step`, every level but the first and the last listed twice."""
    sigmas, first, arrivals, _ = exploding(scheduler, steps)
    return Driven(torch.cat([sigmas[:1], sigmas[1::2]]), first, arrivals[[*range(1, len(arrivals), 2), -1]])


def preserving(scheduler: Any, steps: int) -> Driven:
    """Drive a scheduler that keeps alpha (x0 + sigma n), on the sigmas it lists."""
    scheduler.set_timesteps(steps)
    return _preserving(scheduler, scheduler.sigmas.double())


def tabled(scheduler: Any, steps: int) -> Driven:
    """Drive a scheduler that keeps alpha (x0 + sigma n), on entries of its table of alpha-bar."""
    scheduler.set_timesteps(steps)
    return _preserving(scheduler, _of_table(scheduler, scheduler.timesteps))


def learned(scheduler: Any, steps: int) -> Driven:
    """Drive one whose network says the variance too, in channels of its own."""
    scheduler.set_timesteps(steps)
    return _preserving(scheduler, _of_table(scheduler, scheduler.timesteps), with_variance=True)


def _of_table(scheduler: Any, timesteps: Tensor) -> Tensor:
    bar = scheduler.alphas_cumprod[timesteps].double()
    return torch.cat([((1 - bar) / bar).sqrt(), bar.new_zeros(1)])


def _preserving(scheduler: Any, sigmas: Tensor, with_variance: bool = False) -> Driven:
    alphas = (1 + sigmas**2).rsqrt().float()
    x, arrivals = start() * sigmas[0].float() * alphas[0], []
    for t, sigma, alpha, alpha_next in zip(scheduler.timesteps, sigmas, alphas, alphas[1:], strict=False):
        x0, share = D.with_variance(x / alpha, sigma.float().expand(len(x)))
        output = torch.cat([x0, 2 * share - 1], 1) if with_variance else x0
        x = scheduler.step(output, t, x).prev_sample
        arrivals.append(x / alpha_next)
    return Driven(sigmas, start() * sigmas[0].float(), torch.stack(arrivals))


def pndm(scheduler: Any, steps: int) -> Driven:
    """Drive PNDM, which takes its first move twice: the first of these arrivals is left out."""
    return _pndm(scheduler, steps)._replace(known=())


def pndm_begun(scheduler: Any, steps: int) -> Driven:
    """The same from where the first move arrived, with the slope that it began with known."""
    sigmas, _, arrivals, known = _pndm(scheduler, steps)
    return Driven(sigmas[1:], arrivals[0], arrivals[1:], known)


def _pndm(scheduler: Any, steps: int) -> Driven:
    scheduler.set_timesteps(steps)
    asked = scheduler.timesteps
    sigmas = _of_table(scheduler, torch.cat([asked[:1], asked[2:]]))
    alphas = (1 + sigmas**2).rsqrt().float()
    x, arrivals, known = start() * sigmas[0].float() * alphas[0], [], ()
    for call, t in enumerate(asked):
        at = min(call, 1) if call < 2 else call - 1
        sigma, alpha = sigmas[at].float(), alphas[at]
        eps = (x / alpha - D(x / alpha, sigma.expand(len(x)))) / sigma
        known = known or (eps,)
        x = scheduler.step(eps, t, x).prev_sample
        arrivals.append(x / alphas[max(1, call)])
    return Driven(sigmas, start() * sigmas[0].float(), torch.stack(arrivals[1:]), known)


# --- Pairs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A sampler of ours beside a scheduler of theirs; `why` where it differs on purpose."""

    ours: str
    theirs: str
    drive: Drive
    config: Mapping[str, object] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    compared: str = "every move"
    why: str = ""

    @property
    def name(self) -> str:
        words = [*self.options.items(), *self.config.items()]
        return f"{self.ours}, {self.theirs}, {self.compared}, {words}"


BUT_LAST = "every move but the last, to 0"
FULL = {"lower_below": 0}
KARRAS = {"use_karras_sigmas": True}
SAMPLE = {"prediction_type": "sample"}
TABLE = {**SAMPLE, "clip_sample": False, "timestep_spacing": "trailing"}
DPM, UNIPC, DDPM = "DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "DDPMScheduler"
SDE = {**SAMPLE, "algorithm_type": "sde-dpmsolver++"}
ORDER_3 = {**SAMPLE, "solver_order": 3, "lower_order_final": False, "final_sigmas_type": "sigma_min"}
FROM_TABLE = {"timestep_spacing": "trailing", "skip_prk_steps": True, "set_alpha_to_one": True}

THE_SAME = (
    Pair("ddpm", DDPM, tabled, {**TABLE, "variance_type": "fixed_small"}),
    Pair("ddpm", DDPM, tabled, {**TABLE, "variance_type": "fixed_large"}, {"variances": "large"}, BUT_LAST),
    Pair("ddpm", DDPM, learned, {**TABLE, "variance_type": "learned_range"}, {"variances": "learned"}, BUT_LAST),
    Pair("ddim", "DDIMScheduler", tabled, TABLE),
    Pair("dpmpp-2m", DPM, preserving, SAMPLE, FULL),
    Pair("dpmpp-2m", DPM, preserving, {**SAMPLE, **KARRAS}, FULL),
    Pair("dpmpp-sde", DPM, preserving, SDE),
    Pair("dpmpp-sde", DPM, preserving, {**SDE, **KARRAS}),
    Pair("unipc", UNIPC, preserving, SAMPLE, FULL),
    Pair("unipc", UNIPC, preserving, {**SAMPLE, **KARRAS}, FULL),
    Pair("unipc", UNIPC, preserving, {**SAMPLE, "solver_order": 1}, {**FULL, "predictor_order": 1}),
    Pair("unipc", UNIPC, preserving, ORDER_3, {**FULL, "predictor_order": 3}),
    Pair("unipc", UNIPC, preserving, {**SAMPLE, "solver_type": "bh1"}, {**FULL, "b": "bh1"}, BUT_LAST),
    Pair("euler", "EulerDiscreteScheduler", exploding),
    Pair("euler-ancestral", "EulerAncestralDiscreteScheduler", exploding),
    Pair("heun", "HeunDiscreteScheduler", heun),
    Pair("heun", "HeunDiscreteScheduler", heun, KARRAS),
    Pair("lms", "LMSDiscreteScheduler", exploding, {}, {}, BUT_LAST),
    Pair("lms", "LMSDiscreteScheduler", exploding, KARRAS, {}, BUT_LAST),
    Pair("pndm", "PNDMScheduler", pndm_begun, FROM_TABLE, {}, "every move but the first and the last"),
)
ON_PURPOSE = (
    Pair(
        "ddpm",
        DDPM,
        tabled,
        {**TABLE, "variance_type": "fixed_large"},
        {"variances": "large"},
        why="unless it starts at timestep 0, their move to 0 adds noise to the finished image; ours returns the mean",
    ),
    Pair(
        "dpmpp-2m",
        DPM,
        preserving,
        SAMPLE,
        why="with fewer than 100 moves ours makes the last but one of first order: extrapolating over its long way in "
        "ln sigma does harm; theirs lowers only the last, which returns D either way. `lower_below: 0` is theirs",
    ),
    Pair("unipc", UNIPC, preserving, SAMPLE, why="the same"),
    Pair(
        "lms",
        "LMSDiscreteScheduler",
        exploding,
        why="the move to 0 with all slopes (theirs) carries their error into the image; ours returns D, as Euler's",
    ),
    Pair(
        "pndm",
        "PNDMScheduler",
        pndm,
        FROM_TABLE,
        why="theirs takes the first move twice (Heun's: a call more) and the one to 0 with four slopes; ours begins "
        "with Euler's, at one call a move, and returns D at last",
    ),
)


# --- Differences --------------------------------------------------------------------------------------------------


def largest_difference(pair: Pair, steps: int) -> float:
    """Largest distance of any image after any compared move, as a share of its own length."""
    torch.manual_seed(5)
    driven = pair.drive(getattr(diffusers, pair.theirs)(**pair.config), steps)
    torch.manual_seed(5)  # both draw [N, 2] once a move, from torch's default generator
    mine = _ours(parse(SAMPLERS[pair.ours], pair.options), driven)
    assert mine.shape == driven.arrivals.shape
    differences = (mine - driven.arrivals).flatten(1).norm(dim=1) / driven.arrivals.flatten(1).norm(dim=1)
    return float(differences[: None if pair.compared == "every move" else -1].max())


def _ours(sampler: Sampler, driven: Driven) -> Tensor:
    if not driven.known:
        return torch.stack([move.x for move in integrate(D, driven.first, driven.sigmas, sampler, AmbientNoise())])
    x, known, arrivals = driven.first, driven.known, []
    for sigma, sigma_next in pairwise(driven.sigmas.tolist()):
        x, known = sampler.step(D, x, sigma, sigma_next, known, AmbientNoise())
        arrivals.append(x)
    return torch.stack(arrivals)
