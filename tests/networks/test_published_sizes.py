"""Networks of the literature at their authors' settings: parameters (and operations) as published."""

from typing import Any

import pytest
import torch

from mezzotint.contracts import Condition
from mezzotint.networks import NETWORKS, NetworkShape
from mezzotint.options import parse
from mezzotint.training.speed import flops

DDPMPP = {"smooth": False, "fourier_scale": None, "progressive_input": False}
SONG = {"channels": 128, "multipliers": [2, 2, 2], "blocks": 4, "attention": [16]}  # as resized by Karras et al.
ADM64 = {"channels": 192, "multipliers": [1, 2, 3, 4], "blocks": 3, "attention": [32, 16, 8]}
IMPROVED = {"channels": 128, "blocks": 3, "attention": [16, 8], "residual_resampling": False}


def _dit(width: int, depth: int, heads: int) -> dict[str, Any]:
    return {"width": width, "depth": depth, "heads": heads, "patch": 2}


LATENT = NetworkShape(4, 8, 32, num_classes=1001)  # a learned variance, and a class of its own for none
PARAMETERS = {  # millions, to the digits published
    "Dhariwal & Nichol 2021, table 4: ImageNet 64": ("adm", ADM64, NetworkShape(3, 6, 64, 1000), 296, 0.5),
    "Nichol & Dhariwal 2021: CIFAR-10": ("adm", IMPROVED, NetworkShape(3, 6, 32), 52.5, 0.05),
    "Karras et al. 2022, table 7: DDPM++": ("ncsnpp", {**SONG, **DDPMPP}, NetworkShape(3, 3, 32, 0, 9), 55.7, 0.05),
    "Karras et al. 2022, table 7: NCSN++": ("ncsnpp", SONG, NetworkShape(3, 3, 32, 0, 9), 56.4, 0.05),
    "Peebles & Xie 2023, table 4: DiT-S/2": ("dit", _dit(384, 12, 6), LATENT, 33, 0.5),
    "Peebles & Xie 2023, table 4: DiT-B/2": ("dit", _dit(768, 12, 12), LATENT, 130, 0.5),
    "Peebles & Xie 2023, table 4: DiT-L/2": ("dit", _dit(1024, 24, 16), LATENT, 458, 0.5),
    "Peebles & Xie 2023, table 4: DiT-XL/2": ("dit", _dit(1152, 28, 16), LATENT, 675, 0.5),
}


@pytest.mark.parametrize("source", PARAMETERS)
def test_parameters_are_as_published(source: str):
    name, tree, shape, millions, digits = PARAMETERS[source]
    with torch.device("meta"):
        network = NETWORKS[name](parse(NETWORKS[name].Options, tree), shape)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=digits)


@pytest.mark.parametrize(("tree", "gmacs"), [(_dit(384, 12, 6), 6.06), (_dit(768, 12, 12), 23.01)])
def test_operations_of_dit_are_as_published(tree: dict[str, Any], gmacs: float):
    with torch.device("meta"):
        network = NETWORKS["dit"](parse(NETWORKS["dit"].Options, tree), LATENT)
        x, labels = torch.zeros(1, 4, 32, 32), torch.zeros(1, dtype=torch.int64)
        found = flops(lambda: network(x, torch.zeros(1), Condition(labels=labels)))
    assert found / 2e9 == pytest.approx(gmacs, rel=0.005)  # they count a multiply-add once
