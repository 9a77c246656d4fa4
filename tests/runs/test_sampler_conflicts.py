"""Samplers and schedules that don't go together are refused with the recipe, before training begins."""

import pytest

from mezzotint.errors import BadInput
from mezzotint.runs import build, recipe

LINEAR = "family.schedule={kind: linear, timesteps: 100}"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            ["sampling.sampler=adaptive", "sampling.steps=1"],
            "^sampling: steps: sampler adaptive needs at least 2, got 1",
        ),
        (["sampling.sampler={kind: ddpm, variances: learned}"], "^sampling: sampler.variances: learned .* family"),
        ([LINEAR, "sampling.schedule=null", "sampling.steps=101"], "^sampling: steps: this schedule has 100 timesteps"),
        (["sampling.sampler={kind: adaptive, tolerance: 1}"], "tolerance: unknown key"),
        (
            ["family.variance=learned", "sampling.sampler={kind: heun, variances: learned}"],
            r"sampling\.sampler\.variances: unknown key: .*kind: heun",
        ),
        (
            ["sampling.schedule={kind: karras, sigma_min: 100, sigma_max: 400}"],
            r"^sampling: schedule: its noise levels go from 400 to 100, but family\.schedule .* to 0.002: nothing",
        ),
        (["family.variance=learned"], r"^family\.variance=learned: sampling\.sampler=heun .* makes no use of it"),
        (["sampling.sampler=predictor"], "unknown sampler 'predictor'.*predictor-corrector"),
        (["family.schedule={kind: shifted, by: 2, schedule: {kind: cosine, s: 1}}"], "schedule.*s: unknown key"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: list[str], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        build.check(recipe.read("digits-edm", ["data.channels=1", *changes])[1], 10)


@pytest.mark.parametrize("name", recipe.shipped())
def test_no_shipped_recipe_asks_for_what_is_hardly_meant(name: str) -> None:
    assert recipe.read(name)[1].cautions() == []


def test_what_does_is_not() -> None:
    shifted = "family.schedule={kind: shifted, by: 2, schedule: chen-cosine}"
    build.check(recipe.read("digits-edm", [shifted, "sampling.sampler=adaptive", "sampling.steps=2"])[1], 10)
