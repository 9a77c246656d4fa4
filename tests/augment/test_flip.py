"""Horizontal flips: how often, which axis, and that the seed alone decides."""

import pytest
import torch

from mezzotint.augment import AUGMENTATIONS, Augmentation
from mezzotint.augment.flip import Flip
from mezzotint.errors import BadInput
from mezzotint.options import parse


def _mirrored(images: torch.Tensor, probability: float) -> torch.Tensor:
    """Which images came out mirrored; every image is either itself or its mirror image."""
    out = Flip(probability=probability)(images)
    same = (out == images).flatten(1).all(1)
    turned = (out == images.flip(3)).flatten(1).all(1)
    assert torch.all(same ^ turned)
    return turned


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 1.0])
def test_images_are_mirrored_as_often_as_asked(probability: float):
    torch.manual_seed(0)
    count = 4000
    share = _mirrored(torch.randn(count, 2, 3, 4), probability).float().mean().item()
    assert abs(share - probability) <= 4 * (probability * (1 - probability) / count) ** 0.5


def test_the_seed_decides_and_the_input_stays():
    images = torch.randn(64, 3, 8, 8)
    before = images.clone()

    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return Flip()(images)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert torch.equal(images, before)
    assert drawn(1).dtype == torch.float32


def test_flip_is_registered_and_refuses_impossible_probabilities():
    assert AUGMENTATIONS["flip"] is Flip
    assert all(issubclass(AUGMENTATIONS[name], Augmentation) for name in AUGMENTATIONS)
    with pytest.raises(BadInput, match="probability"):
        parse(Flip, {"probability": 1.5})
    with pytest.raises(BadInput, match="flip"):
        AUGMENTATIONS["flop"]
