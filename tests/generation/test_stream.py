"""Image k depends on seed k alone; labels; what a batch holds."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from mezzotint.contracts import Noise
from mezzotint.errors import BadInput
from mezzotint.generation.stream import Drawn, stream


@dataclass
class Noisy:
    """Draws the latent, shifted by its label, plus fresh noise: everything a generator may use."""

    num_classes: int = 0
    latent_shape: tuple[int, ...] = (1, 4, 4)

    def decode(self, latent: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        assert torch.is_inference_mode_enabled()
        shift = 0 if labels is None else 0.1 * labels.view(-1, 1, 1, 1)
        return 0.2 * latent + 0.2 * noise.normal(latent.shape) + shift


def pixels_of(batches: list[Drawn]) -> Tensor:
    return torch.cat([batch.pixels for batch in batches])


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
@pytest.mark.parametrize("num_classes", [0, 3])
def test_batch_size_does_not_matter(batch_size: int, num_classes: int) -> None:
    generator, seeds = Noisy(num_classes), [5, 0, 1, 9, 2**40, 3, 4]
    whole = pixels_of(list(stream(generator, seeds, batch_size=7, device="cpu")))
    parts = list(stream(generator, seeds, batch_size=batch_size, device="cpu"))
    assert torch.equal(pixels_of(parts), whole)
    assert [seed for part in parts for seed in part.seeds] == seeds
    assert max(len(part.seeds) for part in parts) <= batch_size


def test_an_image_depends_on_its_seed_alone() -> None:
    alone = next(stream(Noisy(3), [9], batch_size=4, device="cpu")).pixels
    among = next(stream(Noisy(3), [1, 9, 2], batch_size=4, device="cpu")).pixels
    assert torch.equal(among[1], alone[0])
    assert not torch.equal(among[0], among[1])


def test_noise_of_steps_is_not_the_latent_again() -> None:
    class Difference(Noisy):
        def decode(self, latent: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
            return latent - noise.normal(latent.shape)

    pixels = next(stream(Difference(), range(8), batch_size=8, device="cpu")).pixels
    assert len(pixels.unique()) > 20  # repeated noise would cancel to one grey


def test_labels_default_to_seed_mod_classes() -> None:
    batch = next(stream(Noisy(3), [0, 1, 2, 3, 10], batch_size=8, device="cpu"))
    assert batch.labels is not None
    assert batch.labels.dtype == torch.int64
    assert batch.labels.tolist() == [0, 1, 2, 0, 1]


def test_no_labels_without_classes() -> None:
    assert next(stream(Noisy(0), [4], batch_size=1, device="cpu")).labels is None


def test_chosen_labels_reach_the_generator_batch_by_batch() -> None:
    batches = list(stream(Noisy(3), [0, 1, 2], batch_size=2, device="cpu", labels=[2, 2, 0]))
    assert [batch.labels.tolist() for batch in batches if batch.labels is not None] == [[2, 2], [0]]
    default = next(stream(Noisy(3), [0], batch_size=2, device="cpu")).pixels
    assert (batches[0].pixels[0].float() - default[0].float()).mean() > 10  # 0.2 lighter, some of it saturated


def test_pixels_are_ordinary_uint8_on_the_cpu() -> None:
    pixels = next(stream(Noisy(), [0, 1], batch_size=2, device="cpu")).pixels
    assert (pixels.dtype, pixels.shape, pixels.device.type) == (torch.uint8, (2, 1, 4, 4), "cpu")
    pixels[0] = 0  # an inference tensor would refuse


def test_inference_mode_does_not_leak_to_the_caller() -> None:
    for _ in stream(Noisy(), [0, 1], batch_size=1, device="cpu"):
        assert not torch.is_inference_mode_enabled()


def test_numpy_seeds_draw_the_same() -> None:
    plain = next(stream(Noisy(2), [3, 4], batch_size=2, device="cpu"))
    numpy = next(stream(Noisy(2), np.array([3, 4]), batch_size=2, device="cpu"))  # type: ignore[arg-type]
    assert torch.equal(plain.pixels, numpy.pixels)
    assert numpy.seeds == (3, 4)


def test_no_seeds_no_batches() -> None:
    assert list(stream(Noisy(), [], batch_size=2, device="cpu")) == []


@pytest.mark.parametrize(
    ("num_classes", "labels", "message"),
    [(0, [0, 0], "without classes"), (3, [0], "1 for 2 images"), (3, [0, 3], "0..2"), (3, [-1, 0], "no class -1")],
)
def test_wrong_labels(num_classes: int, labels: list[int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        next(stream(Noisy(num_classes), [0, 1], batch_size=2, device="cpu", labels=labels))
