"""Rates over a run, and optimizer state as named tensors."""

import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from torch import nn

from mezzotint.errors import BadInput
from mezzotint.options import parse
from mezzotint.training.optimizers import DECAYS, OPTIMIZERS, OptimizerOptions, build, load_state_tensors, state_tensors


def _rate(decay: object, seen: int, images: int = 1000) -> float:
    tree = {"learning_rate": 1.0, "warmup_images": 0, "decay": decay}
    return parse(OptimizerOptions, tree).rate(seen, images)


def test_every_decay_starts_at_the_peak_and_never_rises() -> None:
    for name in DECAYS:
        rates = [_rate(name, seen) for seen in range(0, 1001, 50)]
        assert rates[0] == 1.0
        assert all(a >= b >= 0 for a, b in pairwise(rates)), name


def test_cosine_ends_at_its_floor_and_is_half_way_in_the_middle() -> None:
    assert _rate({"kind": "cosine", "floor": 0.2}, 1000) == pytest.approx(0.2)
    assert _rate("cosine", 500) == pytest.approx(0.5)


def test_step_multiplies_at_every_step() -> None:
    step = {"kind": "step", "gamma": 0.85, "every_images": 100}
    assert [_rate(step, seen) for seen in (0, 99, 100, 250)] == pytest.approx([1, 1, 0.85, 0.85**2])


def test_linear_falls_over_the_last_part_only() -> None:
    linear = {"kind": "linear", "fraction": 0.5}
    assert [_rate(linear, seen) for seen in (0, 500, 750, 1000)] == pytest.approx([1, 1, 0.5, 0])


def test_warmup_rises_linearly() -> None:
    options = parse(OptimizerOptions, {"learning_rate": 1.0, "warmup_images": 100})
    assert options.rate(49, 1000) == pytest.approx(0.5)
    assert options.rate(49, 500) == 1.0
    assert options.rate(99, 1000) == options.rate(500, 1000) == 1.0


def test_unknown_optimizer_and_decay_name_the_alternatives() -> None:
    with pytest.raises(BadInput, match="adamw"):
        parse(OptimizerOptions, {"optimizer": "adamv"})
    with pytest.raises(BadInput, match="decay: unknown decay 'cosin'.*cosine"):
        parse(OptimizerOptions, {"decay": "cosin"})


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_steps_are_those_of_torch_bit_for_bit(name: str) -> None:
    options = parse(OptimizerOptions, {"optimizer": name, "weight_decay": 0.1, "learning_rate": 0.01})
    ours, theirs = (nn.Linear(4, 3) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    settings = {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1, "fused": True}
    pairs = [(ours, build(options, ours)), (theirs, OPTIMIZERS[name](theirs.parameters(), **settings))]
    for _ in range(3):
        for module, optimizer in pairs:
            optimizer.zero_grad()
            module(torch.ones(2, 4)).square().sum().backward()
            optimizer.step()
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


def test_an_optimizer_does_not_import_the_compiler() -> None:
    script = (
        "import sys, torch\n"
        "from mezzotint.training.optimizers import OptimizerOptions, build\n"
        "module = torch.nn.Linear(2, 2)\n"
        "optimizer = build(OptimizerOptions(), module)\n"
        "module(torch.ones(1, 2)).sum().backward()\n"
        "optimizer.step(); optimizer.zero_grad()\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_state_round_trips_and_the_next_step_is_bit_identical(name: str) -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)

    def step(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        module(torch.linspace(-1, 1, 256).reshape(1, 4, 8, 8)).square().sum().backward()
        optimizer.step()

    options = parse(OptimizerOptions, {"optimizer": name, "weight_decay": 0.01})
    first = network()
    optimizer = build(options, first)
    step(first, optimizer)
    second = network()
    second.load_state_dict(first.state_dict())
    copied = build(options, second)
    saved = {key: value.clone().contiguous() for key, value in state_tensors(optimizer, first).items()}
    load_state_tensors(copied, second, saved)
    first.zero_grad()
    step(first, optimizer)
    step(second, copied)
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert copied.state[next(second.parameters())]["exp_avg"].stride() == next(second.parameters()).stride()
