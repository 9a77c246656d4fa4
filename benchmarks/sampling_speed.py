"""Sampling speed against diffusers, same weights: denoiser evaluations and whole images."""

from collections.abc import Callable

import torch
from pages import arguments, show, table
from peers import diffusers_ddim, same_network
from torch import Tensor, nn

from mezzotint.diffusion.family import Diffusion
from mezzotint.diffusion.generator import DiffusionSampling
from mezzotint.generation.stream import stream
from mezzotint.machine import Machine
from mezzotint.options import parse
from mezzotint.runs import build
from mezzotint.runs.recipe import Recipe
from mezzotint.runs.workload import NETWORK
from mezzotint.training.speed import interleaved, medians

WAYS = ("ddim:50", "dpmpp-2m:12", "dpmpp-2m:10", "unipc:10", "pndm:10")
BASE = "diffusers ddim:50"


def family(machine: Machine) -> Diffusion:
    """Return a DDPM of the reference network with random weights: what diffusers' networks are."""
    tree = {
        "data": {"source": "digits", "image_size": 32, "channels": 3},
        "family": {"kind": "diffusion", "prediction": "noise", "level": "timestep", "schedule": "linear"},
        "network": NETWORK,
    }
    built = build.family(parse(Recipe, tree), 0, machine).eval().requires_grad_(False)
    assert isinstance(built, Diffusion)
    for parameter in built.parameters():  # a fresh network is zero at the end of every branch
        nn.init.normal_(parameter, std=0.02)
    return built


def sampling(way: str) -> DiffusionSampling:
    """Return the options of `sampler:steps` on the training schedule's own grid."""
    sampler, _, steps = way.partition(":")
    return parse(DiffusionSampling, {"sampler": sampler, "schedule": None, "steps": int(steps)}, where=f"{way}:")


def drawing(built: Diffusion, way: str, batch_size: int, machine: Machine) -> Callable[[], object]:
    """Return the drawing of a batch, from seeds to pixels, as `mezzotint sample` does it."""
    generator = built.generator(sampling(way))

    def draw() -> object:
        with machine.autocast():
            return list(stream(generator, range(batch_size), batch_size=batch_size, device=machine.device))

    return draw


def calls(network: nn.Module, work: Callable[[], object]) -> int:
    """Return how often a work calls a network: its nfe."""
    count: list[int] = []
    hook = network.register_forward_pre_hook(lambda *_: count.append(1))
    work()
    hook.remove()
    return len(count)


def evaluations(built: Diffusion, other: nn.Module, batch_size: int, machine: Machine, rounds: int) -> dict[str, float]:
    """Time one call of our denoiser and of their network, in turn; return seconds."""
    x = torch.randn(batch_size, *built.shape, device=machine.device)
    sigma = torch.ones(batch_size, device=machine.device)
    denoise = built.denoiser(built.condition(None))

    def ours() -> Tensor:
        with torch.inference_mode(), machine.autocast():
            return denoise(x, sigma)

    def theirs() -> Tensor:
        with torch.no_grad():
            return other(x, 500).sample

    return medians(interleaved({"ours": ours, "theirs": theirs}, rounds, machine.device))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("ways", nargs="*", default=WAYS, help="sampler:steps ...")
    parser.add_argument("--batch", type=int, default=64, help="images drawn at once, as `mezzotint sample` does")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 16, 1], help="of the evaluations")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    machine = Machine.detect(asked.device).prepare()
    torch.manual_seed(0)
    built = family(machine)
    other = same_network(built.network).to(machine.device)  # type: ignore[arg-type]
    machine.lighten(built)

    first = []
    for batch_size in asked.batches:
        took = evaluations(built, other, batch_size, machine, asked.rounds)
        first.append(
            {
                "batch": batch_size,
                f"ours ({machine.precision}), evaluations/s": batch_size / took["ours"],
                "diffusers (float32), evaluations/s": batch_size / took["theirs"],
                "ratio (target 2.5)": took["theirs"] / took["ours"],
            }
        )

    x = torch.randn(asked.batch, *built.shape, device=machine.device)
    works: dict[str, Callable[[], object]] = {BASE: lambda: diffusers_ddim(other, x, 50)}
    works |= {f"ours {way}": drawing(built, way, asked.batch, machine) for way in asked.ways}
    nfe = {name: calls(other if name == BASE else built.network, work) for name, work in works.items()}  # warms up
    took = medians(interleaved(works, asked.rounds, machine.device, warmup=0))
    second = [
        {"what": n, "nfe": nfe[n], "images/s": asked.batch / s, "times diffusers' DDIM-50": took[BASE] / s}
        for n, s in took.items()
    ]
    said = (
        "Both networks have the same weights and give the same output in float32 (checked before timing). "
        f"Images are drawn {asked.batch} at a time, from seeds to pixels; {asked.rounds} rounds in turn, medians. "
        "Which ways draw equally good images: "
        "[sampling_quality.md](sampling_quality.md)."
    )
    show("sampling_speed", "Sampling speed", [table(first), table(second), said], machine, asked.write, ["diffusers"])


if __name__ == "__main__":
    main()
