"""Every augmentation: zero changes nothing, the seed decides, what is told is what was done, gradients flow."""

import math

import pytest
import torch
from torch import Tensor

from mezzotint.augment import AUGMENTATIONS, Augmentation, augmented, sometimes
from mezzotint.augment.color_jitter import ColorJitter
from mezzotint.augment.cutout import Cutout
from mezzotint.augment.diffaugment import DiffAugment
from mezzotint.augment.flip import Flip
from mezzotint.augment.rotation import Rotation
from mezzotint.augment.scale import Scale
from mezzotint.augment.shift import Shift
from mezzotint.errors import BadInput
from mezzotint.options import parse

ALWAYS = [
    Flip(probability=1),
    Shift(fraction=0.4, probability=1),
    Shift(fraction=0.4, padding="zero", probability=1),
    Rotation(degrees=180, probability=1),
    Scale(factor=2, probability=1),
    ColorJitter(hue=0.5, probability=1),
    Cutout(probability=1),
    DiffAugment(),
]
NONE = [
    Flip(probability=0),
    Shift(fraction=0),
    Rotation(degrees=0),
    Scale(factor=1),
    ColorJitter(brightness=0, contrast=0, saturation=0, hue=0),
    Cutout(fraction=0),
    DiffAugment(policies=()),
]
by_kind = pytest.mark.parametrize("step", ALWAYS, ids=lambda step: f"{type(step).__name__}")


def _images(count: int = 16, channels: int = 3, size: int = 12) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(3)) * 2 - 1


def _drawn(step: Augmentation, images: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return augmented([step], images)


def test_all_of_them_are_tested_here():
    assert {type(step) for step in ALWAYS} == {type(step) for step in NONE} == set(AUGMENTATIONS.values())
    assert {"flip", "shift", "rotation", "scale", "color-jitter", "cutout", "diffaugment"} <= set(AUGMENTATIONS)


# --- What all of them promise -----------------------------------------------------------------------------------


@by_kind
@pytest.mark.parametrize("channels", [1, 3])
def test_zeros_leave_images_bit_for_bit(step: Augmentation, channels: int):
    images = _images(channels=channels)
    assert torch.equal(step.apply(images, torch.zeros(len(images), step.width())), images)


@pytest.mark.parametrize("step", NONE, ids=lambda step: f"{type(step).__name__}")
def test_no_strength_leaves_images_bit_for_bit(step: Augmentation):
    images = _images()
    assert torch.equal(_drawn(step, images)[0], images)


@by_kind
@pytest.mark.parametrize("channels", [1, 3])
def test_the_seed_decides_and_the_input_stays(step: Augmentation, channels: int):
    images = _images(channels=channels)
    before = images.clone()
    (first, told), (again, _) = _drawn(step, images), _drawn(step, images)
    assert torch.equal(first, again)
    assert torch.equal(images, before)
    assert (first.shape, first.dtype) == (images.shape, torch.float32)
    assert (told.shape, told.dtype) == ((len(images), step.width()), torch.float32)
    assert not torch.equal(first, images)
    if not isinstance(step, Flip):  # which mirrors all of them, whatever the seed
        assert not torch.equal(_drawn(step, images, seed=1)[0], first)


@by_kind
def test_what_is_told_repeats_what_was_done(step: Augmentation):
    images = _images()
    changed, told = _drawn(step, images)
    assert torch.equal(step.apply(images, told), changed)
    alone = step.apply(images[5:6], told[5:6])  # no image knows of another
    torch.testing.assert_close(alone, changed[5:6], rtol=1e-6, atol=1e-6)


@by_kind
def test_probability_leaves_the_others_alone_and_says_so(step: Augmentation):
    if isinstance(step, DiffAugment):
        pytest.skip("changes every image, as in the paper")
    images = _images(400, size=8)
    changed, told = _drawn(step.but(probability=0.25), images)
    same = (changed == images).flatten(1).all(1)
    silent = (told == 0).all(1)
    assert torch.all(same[silent])
    assert 0.65 < silent.float().mean() < 0.85


@by_kind
def test_gradients_flow_to_the_images(step: Augmentation):
    images = _images(4, size=6).double().requires_grad_()
    torch.manual_seed(0)
    drawn = step.draw(images)
    assert torch.autograd.gradcheck(lambda x: step.apply(x, drawn), images, fast_mode=True)


def peak_bytes(step: Augmentation, images: Tensor) -> int:
    """The most that is allocated at once while images are augmented, the images themselves aside."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(images)
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    found = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")  # type: ignore[attr-defined]
    return int(torch.tensor([size for _, size in found]).cumsum(0).max())


@by_kind
def test_memory_is_a_few_times_the_batch(step: Augmentation):
    images = _images(64, size=32)
    assert 1 <= peak_bytes(step, images) / images.nbytes < 6


def test_steps_follow_each_other_and_tell_side_by_side():
    images = _images()
    torch.manual_seed(0)
    first = Flip()
    flipped = first(images)
    expected = Cutout(probability=1)(flipped)
    torch.manual_seed(0)
    changed, told = augmented([first, Cutout(probability=1)], images)
    assert torch.equal(changed, expected)
    assert told.shape == (len(images), 4)
    unchanged, nothing = augmented([], images)
    assert unchanged is images
    assert nothing.shape == (len(images), 0)


def test_sometimes_is_never_and_always_at_the_ends():
    drawn = torch.randn(50, 2)
    assert torch.equal(sometimes(drawn, 1.0), drawn)
    assert not sometimes(drawn, 0.0).any()


# --- What is special in each -------------------------------------------------------------------------------------


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("size", [8, 9])
def test_quarter_turns_are_torch_rot90(size: int, quarters: int):
    images, angle = _images(size=size), quarters * math.pi / 2
    drawn = torch.tensor([[math.cos(angle) - 1, math.sin(angle)]]).expand(len(images), 2)
    expected = torch.rot90(images, quarters, dims=(2, 3))
    torch.testing.assert_close(Rotation().apply(images, drawn), expected, rtol=0, atol=2e-5)


def test_rotation_and_its_opposite_nearly_cancel_on_smooth_images():
    ramp = torch.linspace(-1, 1, 32)
    images = (ramp[:, None] * 0.5 + ramp[None, :] * 0.3).expand(1, 1, 32, 32)
    there = Rotation().apply(images, torch.tensor([[math.cos(0.3) - 1, math.sin(0.3)]]))
    back = Rotation().apply(there, torch.tensor([[math.cos(0.3) - 1, -math.sin(0.3)]]))
    inner = (..., slice(10, 22), slice(10, 22))
    assert (there - images)[inner].abs().max() > 0.05
    torch.testing.assert_close(back[inner], images[inner], rtol=0, atol=1e-4)


def test_scale_enlarges_about_the_centre():
    images = torch.full((1, 1, 16, 16), -1.0)
    images[..., 6:10, 6:10] = 1
    enlarged = Scale().apply(images, torch.tensor([[1.0]]))
    assert (enlarged > 0).sum() == 64
    assert enlarged[0, 0, 5:11, 5:11].min() > 0.4
    reduced = Scale().apply(images, torch.tensor([[-1.0]]))
    assert (reduced[..., 4:12, 4:12] > 0).sum() == 4  # beyond lie its mirror images


@pytest.mark.parametrize("padding", ["reflect", "zero"])
@pytest.mark.parametrize(("down", "right"), [(0, 3), (2, 0), (-4, 1), (1, -2)])
def test_shift_moves_whole_pixels(down: int, right: int, padding: str):
    images = _images(2, size=10)
    step = parse(Shift, {"padding": padding})
    moved = step.apply(images, torch.tensor([[down / 10, right / 10]]).expand(2, 2))
    mode = "reflect" if padding == "reflect" else "constant"
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4), mode=mode)
    expected = padded[..., 4 - down : 14 - down, 4 - right : 14 - right]
    assert torch.equal(moved, expected)


def test_shift_draws_all_whole_shifts_up_to_its_fraction():
    torch.manual_seed(0)
    pixels = Shift(fraction=0.25).draw(torch.zeros(3000, 1, 8, 8)) * 8
    assert torch.equal(pixels, pixels.round())
    assert pixels.unique().tolist() == [-2, -1, 0, 1, 2]


def test_colours():
    images = _images(3)
    drawn = torch.tensor([[0.3, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, -1.0, 0]])
    brighter, contrasted, grey = ColorJitter(hue=0.1).apply(images, drawn)
    torch.testing.assert_close(brighter, images[0] + 0.3)
    torch.testing.assert_close(contrasted.std(), images[1].std() * 1.5)
    torch.testing.assert_close(contrasted.mean(), images[1].mean())
    torch.testing.assert_close(grey, images[2].mean(0, keepdim=True).expand(3, 12, 12))


def test_a_third_of_a_turn_of_hue_makes_red_green():
    red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1)
    turned = ColorJitter(hue=0.5).apply(red, torch.tensor([[0, 0, 0, 1 / 3]]))
    torch.testing.assert_close(turned.flatten(), torch.tensor([-1.0, 1.0, -1.0]), rtol=0, atol=1e-5)


def test_cutout_covers_the_square_it_tells():
    images = torch.ones(2, 3, 8, 8)
    covered = Cutout().apply(images, torch.tensor([[0.5, 0.0, 0.0], [0.5, -0.5, 0.5]]))
    expected = torch.ones(2, 3, 8, 8)
    expected[0, :, 2:6, 2:6] = 0
    expected[1, :, :2, 6:] = 0
    assert torch.equal(covered, expected)


def test_diffaugment_draws_in_the_papers_ranges():
    torch.manual_seed(0)
    drawn = DiffAugment().draw(torch.zeros(4000, 3, 16, 16))
    assert drawn.shape[1] == DiffAugment().width() == 8
    largest = drawn.abs().amax(0)
    expected = torch.tensor([0.5, 1.0, 0.5, 0.125, 0.125, 0.5, 0.5, 0.5])
    torch.testing.assert_close(largest, expected, rtol=0, atol=0.01)
    assert DiffAugment(policies=("color",)).width() == 3


@pytest.mark.parametrize(
    ("kind", "tree"),
    [
        ("shift", {"fraction": 1.5}),
        ("shift", {"padding": "wrap"}),
        ("rotation", {"degrees": -1}),
        ("scale", {"factor": 0.5}),
        ("color-jitter", {"hue": 2}),
        ("cutout", {"fraction": -0.1}),
        ("diffaugment", {"policies": ["colour"]}),
    ],
)
def test_impossible_strengths_are_refused(kind: str, tree: dict[str, object]):
    with pytest.raises(BadInput, match=next(iter(tree))):
        parse(AUGMENTATIONS[kind], tree)
