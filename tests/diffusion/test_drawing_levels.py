"""The noise levels a model is drawn along: their range beside the one trained on, their spacing, where they start."""

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from mezzotint.diffusion.family import Diffusion, DiffusionOptions
from mezzotint.diffusion.generator import DiffusionGenerator, DiffusionSampling
from mezzotint.diffusion.schedules.cosine import Cosine
from mezzotint.diffusion.schedules.linear import Linear
from mezzotint.diffusion.schedules.vp import VP
from mezzotint.errors import BadInput
from mezzotint.options import parse
from mezzotint.runs.codecs import Identity


def generator(trained: object, **sampling: object) -> DiffusionGenerator:
    options = parse(DiffusionOptions, {"schedule": trained})
    return Diffusion(nn.Identity(), options, Identity(), (1, 8, 8), 0).generator(parse(DiffusionSampling, sampling))


def cautions(family: Mapping[str, object], **sampling: object) -> list[str]:
    return parse(DiffusionOptions, family).cautions(parse(DiffusionSampling, sampling))


# --- Range ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kind": "karras", "sigma_max": 400}, "from 400 to 0.002, but family.schedule trained the model from 80 to"),
        ({"kind": "karras", "sigma_min": 1e-4}, "from 80 to 0.0001, but family.schedule trained the model from 80 to"),
        ("linear", "from 157 to 0.01, but family.schedule trained the model from 80 to 0.002: "),
    ],
)
def test_levels_beyond_those_trained_on_are_told(asked: object, said: str) -> None:
    (caution,) = cautions({}, schedule=asked)
    assert caution.startswith(f"sampling.schedule: its noise levels go {said}")
    assert generator("log-normal", schedule=asked).sigmas[-1] == 0  # and allowed


@pytest.mark.parametrize(
    "asked",
    [
        "karras",
        None,
        {"kind": "karras", "sigma_max": 85, "sigma_min": 0.0019},
        {"kind": "karras", "sigma_max": 40, "sigma_min": 0.01},
    ],
)
def test_levels_within_or_nearly_are_not(asked: object) -> None:
    assert cautions({}, schedule=asked) == []


def test_tables_of_nearly_one_range_are_not() -> None:
    assert Linear().bounds()[1] > VP().bounds()[1]
    assert cautions({"schedule": "vp"}, schedule="linear") == []


def test_a_table_that_is_left_before_its_end_is_not() -> None:
    """Without its last levels a table that goes too far doesn't: what counts is what is drawn along."""
    table = {"kind": "linear", "timesteps": 500}
    trained = {"schedule": {"kind": "log-normal", "sigma_max": 10}}
    assert len(cautions(trained, schedule=table, steps=10)) == 1
    assert cautions(trained, schedule=table, steps=10, spacing="leading") == []


@pytest.mark.parametrize(("low", "high"), [(100, 400), (1e-4, 1.5e-3)])
def test_levels_none_of_which_was_trained_on_are_refused(low: float, high: float) -> None:
    asked = {"kind": "karras", "sigma_min": low, "sigma_max": high}
    with pytest.raises(BadInput, match=r"^schedule: its noise levels .* family\.schedule .*nothing in common"):
        generator("log-normal", schedule=asked)


def test_a_variance_learnt_for_nothing_is_told() -> None:
    learnt = {"variance": "learned", "schedule": "linear"}
    for sampler in ("ddim", "ddpm"):
        (caution,) = cautions(learnt, schedule=None, sampler=sampler)
        assert caution.startswith(f"family.variance=learned: sampling.sampler={sampler} ")
    assert cautions(learnt, schedule=None, sampler={"kind": "ddpm", "variances": "learned"}) == []


def test_predicted_noise_that_is_not_clipped_is_told() -> None:
    (caution,) = cautions({"prediction": "noise"})
    assert caution.startswith("family.prediction=noise: ")
    assert "sampling.clip_x0=true" in caution
    assert cautions({"prediction": "noise"}, clip_x0=True) == []
    assert cautions({"prediction": "noise"}, dynamic_threshold=0.995) == []
    assert cautions({"prediction": "ve-noise"}) == []  # as published, and its sampler is another


# --- Spacing and start ---------------------------------------------------------------------------------------------


def test_spacing_is_told_to_the_grid() -> None:
    own = generator("cosine", schedule=None, steps=5, spacing="trailing")
    assert torch.equal(own.sigmas, Cosine().grid(5, "trailing"))
    assert torch.equal(generator("cosine", schedule=None, steps=5).sigmas, Cosine().grid(5))


def test_a_process_starts_as_it_was_learnt_on_any_grid() -> None:
    small = {"kind": "linear", "timesteps": 100}
    for schedule in (None, "karras"):
        found = generator(small, schedule=schedule)
        assert float(found.sigmas[0]) == pytest.approx(1.32, abs=0.01)
        assert found.start_scale == pytest.approx((1 + float(found.sigmas[0]) ** 2) ** 0.5)
    followed = generator({"kind": "log-normal", "sigma_max": 1.4}, schedule=small)
    assert followed.start_scale == float(followed.sigmas[0])


def test_vps_start_is_the_nearer_one_to_images() -> None:
    """Gaussian images of one strong direction and a mean: what the exact ODE makes of a start, in closed form."""
    variances, mean, sigma = (
        torch.tensor([9.0, *[0.05] * 63]),
        torch.full((64,), -0.3),
        Linear(timesteps=100).bounds()[1],
    )
    shrink = (variances / (variances + sigma**2)).sqrt()

    def distance(start: float) -> float:
        return float(((shrink * mean) ** 2 + (start * shrink - variances.sqrt()) ** 2).sum())

    assert distance(Linear().start_scale(sigma)) < distance(float(variances.mean() + sigma**2) ** 0.5) < distance(sigma)
