"""What a run takes from its images when it begins: moments, sigma_data; and telling what augmentation did."""

from pathlib import Path

import pytest
import torch

from mezzotint.diffusion.denoiser import EDM
from mezzotint.diffusion.family import DiffusionOptions
from mezzotint.errors import BadInput
from mezzotint.machine import Machine
from mezzotint.options import parse
from mezzotint.runs import build
from mezzotint.runs.codecs import CODECS, Identity, Moments, Standardize, unseen
from mezzotint.runs.estimate import estimate
from mezzotint.runs.recipe import Recipe, read
from mezzotint.runs.run import Run, enter, open_run
from mezzotint.seeds import SeededNoise, forked
from tiny import OVERRIDES, RECIPE, tensors, train

MOMENTS = Moments(mean=(0.1, -0.4, 0.0), std=(0.5, 0.25, 0.4))
STANDARD = ["codec=standardize", "family.prediction=edm", "family.prediction.sigma_data=auto"]
TOLD = ["augment=[flip, cutout]", "family.augmentation_conditional=true"]


def _begin(runs: Path, name: str, *changes: str) -> Run:
    with enter(runs, name, RECIPE, [*OVERRIDES, *changes]) as run:
        return run


def _prediction(recipe: Recipe) -> EDM:
    assert isinstance(recipe.family, DiffusionOptions)
    assert isinstance(recipe.family.prediction, EDM)
    return recipe.family.prediction


# --- Codecs --------------------------------------------------------------------------------------------------------


def test_standardised_codes_have_mean_zero_and_deviation_one_and_come_back():
    torch.manual_seed(0)
    images = (torch.randn(500, 3, 4, 4) * torch.tensor(MOMENTS.std)[:, None, None]).add(
        torch.tensor(MOMENTS.mean)[:, None, None]
    )
    codec, noise = Standardize().measured(MOMENTS), SeededNoise(range(500))
    codes = codec.encode(images, noise)
    torch.testing.assert_close(codes.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=0.05)
    torch.testing.assert_close(codes.std((0, 2, 3)), torch.ones(3), rtol=0, atol=0.05)
    torch.testing.assert_close(codec.decode(codes), images)


@pytest.mark.parametrize("codec", [Identity(), Standardize(mean=MOMENTS.mean, std=MOMENTS.std)])
def test_clipped_codes_are_those_of_clipped_images(codec: Identity | Standardize):
    torch.manual_seed(0)
    images, noise = 2 * torch.randn(5, 3, 4, 4), SeededNoise(range(5))
    clipped = codec.clip(codec.encode(images, noise))
    torch.testing.assert_close(codec.decode(clipped), images.clamp(-1, 1))


def test_deviation_of_codes():
    assert Standardize().measured(MOMENTS).deviation(MOMENTS) == pytest.approx(1)
    assert Standardize(std=(1.0, 0.5, 0.8)).measured(MOMENTS).deviation(MOMENTS) == pytest.approx(0.5)
    assert Identity().deviation(Moments(mean=(0, 0), std=(0.3, 0.4))) == pytest.approx((0.125) ** 0.5)


def test_moments_of_levels_are_those_of_images():
    moments = Moments.of_levels((0.5, 1.0), (0.25, 0.0))
    assert (moments.mean, moments.std) == ((0, 1), (0.5, 0))


@pytest.mark.parametrize(
    ("codec", "images", "message"),
    [
        (Standardize(), Moments(mean=(0, 0), std=(0.5, 0)), r"codec\.std: a channel of the images has one level alone"),
        (Standardize(mean=(0.0,)), unseen(3), r"codec\.mean: 1 numbers for 3 channels"),
        (Standardize(std=(0.5, 0.5)), unseen(1), r"codec\.std: 2 numbers for 1 channels"),
    ],
)
def test_moments_that_dont_do(codec: Standardize, images: Moments, message: str):
    with pytest.raises(BadInput, match=message):
        codec.measured(images)


def test_open_numbers_outside_of_runs_and_impossible_ones_are_refused():
    with pytest.raises(BadInput, match="measured when a run begins"):
        Standardize().encode(torch.zeros(1, 1, 2, 2), SeededNoise([0]))
    with pytest.raises(BadInput, match="auto is measured when a run begins"):
        parse(EDM, {"sigma_data": "auto"}).c_in(torch.ones(1))
    with pytest.raises(BadInput, match="std"):
        parse(Standardize, {"std": [0]})
    with pytest.raises(BadInput, match=r"sigma_data.*automatic"):
        parse(EDM, {"sigma_data": "automatic"})
    assert parse(EDM, {"sigma_data": "auto"}).tree() == {"sigma_data": "auto"}
    assert set(CODECS) == {"identity", "standardize"}


# --- Runs ----------------------------------------------------------------------------------------------------------


def test_a_run_writes_down_what_it_measured_and_the_same_command_opens_it(tmp_path: Path):
    run = _begin(tmp_path, "standard", *STANDARD)
    info = run.loader().pack.info
    again = open_run(run.folder).recipe
    assert again == run.recipe
    codec = again.codec
    assert isinstance(codec, Standardize)
    assert codec.mean == pytest.approx([2 * info.mean[0] - 1])
    assert codec.std == pytest.approx([2 * info.std[0]])
    assert _prediction(again).sigma_data == 1
    assert _begin(tmp_path, "standard", *STANDARD).recipe == run.recipe
    with pytest.raises(BadInput, match=r"made with codec\.kind=standardize, not identity"):
        _begin(tmp_path, "standard", *STANDARD, "codec=identity")


def test_sigma_data_auto_is_the_images_deviation(tmp_path: Path):
    run = _begin(tmp_path, "auto", "family.prediction={kind: edm, sigma_data: auto}")
    deviation = 2 * run.loader().pack.info.std[0]
    assert _prediction(run.recipe).sigma_data == pytest.approx(deviation, rel=1e-3)
    assert deviation != pytest.approx(0.5, abs=0.1)


def test_a_standardised_run_trains_and_draws_pictures(tmp_path: Path):
    run, records = train(tmp_path, "standard", [*STANDARD, "sampling.clip_x0=true"])
    assert records[-1].kind == "done"
    drawn = run.generator("last", "ema").decode(torch.randn(4, 1, 8, 8), torch.arange(4), SeededNoise(range(4)))
    assert drawn.abs().max() <= 1 + 1e-3
    assert drawn.std() > 0.1


def test_what_is_open_is_estimated_and_checked_without_images():
    _, recipe = read(RECIPE, [*OVERRIDES, *STANDARD, *TOLD])
    build.check(recipe, num_classes=10)
    whole = build.assumed(recipe)
    assert _prediction(whole).sigma_data == 1
    assert estimate(recipe, 10, Machine(torch.device("cpu"), "float32", 1)).parameters > 0


# --- Told what augmentation did ------------------------------------------------------------------------------------


def test_a_run_that_is_told_draws_as_if_nothing_was_done(tmp_path: Path):
    run, records = train(tmp_path, "told", TOLD)
    assert records[-1].kind == "done"
    weight = tensors(run)["weights/network.told.augmentation.weight"]
    assert weight.shape == (64, 4)
    with forked("fresh"):
        fresh = build.family(run.recipe, run.num_classes, run.machine).state_dict()
    assert not weight.equal(fresh["network.told.augmentation.weight"])  # it has learnt
    drawn = run.generator("last", "ema").decode(torch.randn(2, 1, 8, 8), torch.arange(2), SeededNoise(range(2)))
    assert drawn.isfinite().all()


def test_only_who_asks_is_told():
    _, recipe = read(RECIPE, [*OVERRIDES, "augment=[flip, shift]"])
    images = torch.zeros(4, 1, 8, 8)
    assert build.augmentation(recipe)(images)[1] is None
    _, asking = read(RECIPE, [*OVERRIDES, *TOLD])
    told = build.augmentation(asking)(images)[1]
    assert told is not None
    assert told.shape == (4, asking.told()) == (4, 4)


def test_nothing_to_tell_is_refused(tmp_path: Path):
    with pytest.raises(BadInput, match=r"augmentation_conditional: augment is empty"):
        _begin(tmp_path, "empty", "augment=[]", "family.augmentation_conditional=true")
    assert not (tmp_path / "empty").exists()
