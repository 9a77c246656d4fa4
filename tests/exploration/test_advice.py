"""Advice: each piece follows from its measurement, and the settings are ones that recipes take."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mezzotint.data.pack import Pack
from mezzotint.data.prepare import DataOptions, ensure_pack
from mezzotint.diffusion.family import DiffusionOptions
from mezzotint.exploration.advice import (
    MISMATCH_NATS,
    Advice,
    Measured,
    advise,
    advised_schedule,
    measured,
    overrides,
    useful_shares,
)
from mezzotint.exploration.originals import originals
from mezzotint.exploration.schedules import named_schedules
from mezzotint.options import parse
from mezzotint.runs.recipe import read, shipped
from packing import levels, pack_of, smooth


def known(pack: Pack) -> Measured:
    return measured(pack, originals(pack))


def named(rows: list[Advice]) -> dict[str, Advice]:
    return {row.about: row for row in rows}


@pytest.fixture(scope="module")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return known(pack_of(smooth(np.random.default_rng(0), 300, 32, 3), tmp_path_factory.mktemp("natural")))


DIFFUSION = [name for name in shipped() if isinstance(read(name)[1].family, DiffusionOptions)]


@pytest.mark.parametrize("name", DIFFUSION)
def test_every_diffusion_recipe_takes_the_overrides(name: str, natural: Measured) -> None:
    advice = advise(natural)
    _, recipe = read(name, overrides(advice).split())
    assert isinstance(recipe.family, DiffusionOptions)
    assert recipe.family.schedule == advised_schedule(natural)
    assert recipe.family.prediction.tree()["sigma_data"] == pytest.approx(natural.pack.info.std[0] * 2, rel=0.05)


def test_sigma_data_is_the_pooled_deviation(natural: Measured) -> None:
    images = natural.pack.pixels(np.arange(len(natural.pack))).double() / 127.5 - 1
    pooled = images.var((0, 2, 3), correction=0).mean().sqrt()
    assert float(named(advise(natural))["sigma_data"].value.split(";")[0]) == pytest.approx(float(pooled), abs=6e-4)


def test_sigma_max_is_the_least_that_hides_the_pictures(natural: Measured) -> None:
    _, high = advised_schedule(natural).bounds()
    assert natural.extent.mismatch(high) <= MISMATCH_NATS
    assert natural.extent.mismatch(high * 0.85) > MISMATCH_NATS


def test_brighter_and_larger_pictures_want_more_noise(tmp_path: Path, natural: Measured) -> None:
    white = np.clip(smooth(np.random.default_rng(0), 300, 32, 3).astype(int) + 100, 0, 255).astype(np.uint8)
    large = smooth(np.random.default_rng(0), 100, 64, 3)
    highest = advised_schedule(natural).bounds()[1]
    for name, pixels in (("white", white), ("large", large)):
        assert advised_schedule(known(pack_of(pixels, tmp_path / name))).bounds()[1] > 1.3 * highest


def test_useful_shares_are_those_of_random_draws(natural: Measured) -> None:
    low, high = natural.spectrum.range()
    chosen = named_schedules(["linear", "log-normal", "flow"])
    for name, share in useful_shares(natural, chosen).items():
        sigma = chosen[name].sigma(torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
        assert share == pytest.approx(float(((sigma >= low) & (sigma <= high)).double().mean()), abs=0.02)


def test_resolution_follows_the_power_and_the_originals(tmp_path: Path, natural: Measured) -> None:
    assert named(advise(natural))["image size"].value == "keep 32 px"
    assert named(advise(natural))["originals allow"].value == "32 px"
    options = {"source": "npz", "path": natural.pack.info.provenance["path"], "image_size": 64}
    enlarged = named(advise(known(ensure_pack(parse(DataOptions, options)))))
    assert enlarged["image size"].value == "32 px would do"
    assert enlarged["image size"].settings == ("data.image_size=32",)
    assert "100.0% at 64 px" in enlarged["originals allow"].because


def test_flip_only_where_left_and_right_are_alike(tmp_path: Path, natural: Measured) -> None:
    assert named(advise(natural))["mirroring"].settings == ("augment=[flip]",)
    ramp = np.linspace(-0.4, 0.4, 16)[None, None, :, None]
    leaning = levels(0.2 * np.random.default_rng(0).normal(size=(300, 16, 16, 1)) + ramp)
    assert named(advise(known(pack_of(leaning, tmp_path))))["mirroring"].settings == ()


def test_real_pictures(shared_data: Path) -> None:
    found = {}
    for file, size in (("cifar10_jpeg_test", 32), ("mnist_test", 28)):
        path = shared_data / "data" / f"{file}.parquet"
        options = {"source": "parquet", "path": path, "image_size": size, "limit": 1500}
        found[file] = known(ensure_pack(parse(DataOptions, options)))
    photographs, digits = found["cifar10_jpeg_test"], found["mnist_test"]
    assert named(advise(photographs))["mirroring"].value == "flip"
    assert named(advise(digits))["mirroring"].value == "no flip"
    assert photographs.spectrum.log_normal()[0] == pytest.approx(-1.6, abs=0.15)
    assert 20 < advised_schedule(photographs).bounds()[1] < 60
