"""Seeds to batches of pixels, for any generator: image k depends on seed k (and its label) alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.contracts import Generator
from mezzotint.errors import BadInput
from mezzotint.pixels import to_pixels
from mezzotint.seeds import SeededNoise


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Some drawn pictures: their seeds, pixels uint8 [n, C, H, W] and labels int64 [n] (or None), on the CPU."""

    seeds: tuple[int, ...]
    pixels: Tensor
    labels: Tensor | None


def default_labels(seeds: Sequence[int], num_classes: int) -> list[int] | None:
    """Seed mod num_classes, so that consecutive seeds show every class; None for a generator without classes."""
    return [seed % num_classes for seed in seeds] if num_classes > 0 else None


def _check_labels(labels: Sequence[int], seeds: Sequence[int], num_classes: int) -> list[int]:
    if num_classes == 0:
        raise BadInput(
            "labels (--label): this generator learnt no classes (family.class_conditional=false), draw without classes"
        )
    if len(labels) != len(seeds):
        raise BadInput(f"labels: there are {len(labels)} for {len(seeds)} images, one is needed per image")
    wrong = next((label for label in labels if not 0 <= label < num_classes), None)
    if wrong is not None:
        raise BadInput(f"labels: there is no class {wrong}, classes are 0..{num_classes - 1}")
    return [int(label) for label in labels]


@torch.inference_mode()
def _draw(generator: Generator, seeds: Sequence[int], labels: Tensor | None, device: torch.device) -> Tensor:
    noise = SeededNoise(seeds, device)
    latent = noise.normal((len(seeds), *generator.latent_shape))
    return to_pixels(generator.decode(latent, None if labels is None else labels.to(device), noise)).cpu()


def stream(
    generator: Generator,
    seeds: Sequence[int],
    *,
    batch_size: int,
    device: torch.device | str,
    labels: Sequence[int] | None = None,
) -> Iterator[Drawn]:
    """Draw one picture per seed, in order, at most `batch_size` at a time.

    A seed's stream of noise gives the latent first, then whatever the generator asks for, so a picture does not depend
    on the batch it is drawn in. `labels` (one class per seed) default to `seed mod num_classes`.
    """
    seeds = [int(seed) for seed in seeds]
    classes = generator.num_classes
    chosen = default_labels(seeds, classes) if labels is None else _check_labels(labels, seeds, classes)
    for start in range(0, len(seeds), batch_size):
        part = slice(start, start + batch_size)
        batch_labels = None if chosen is None else torch.tensor(chosen[part])
        pixels = _draw(generator, seeds[part], batch_labels, torch.device(device))
        # Cloned outside inference mode: an ordinary tensor, which callers may write to.
        yield Drawn(tuple(seeds[part]), pixels.clone(), batch_labels)
