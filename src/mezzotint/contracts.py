"""READ FIRST: the nouns every room shares, and what each promises.

pixels   uint8   [N, C, H, W], 0..255: what disks and metrics see
images   float32 [N, C, H, W] in [-1, 1]
codes    what a codec makes of images for the network
latent   [N, *latent_shape], standard normal: the input of every generator
sigma    [N], standard deviation of the noise in units of codes: x = x0 + sigma n
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, Self, runtime_checkable

from pydantic import Field
from torch import Tensor, nn

from mezzotint.options import Options as OptionGroup


class Denoiser(Protocol):
    """D(x; sigma) = E[x0 | x0 + sigma n = x] (Karras et al. 2022, eq. 2)."""

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Noisy codes [N, *], sigma [N] -> denoised codes [N, *]."""
        ...


@runtime_checkable
class VarianceDenoiser(Denoiser, Protocol):
    """A denoiser that also learnt the variance of ancestral moves (Nichol & Dhariwal 2021, eq. 15)."""

    def with_variance(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return denoised codes [N, *], and v in [0, 1] [N, *]: it mixes the logs of the small and the large one."""
        ...


class Noise(Protocol):
    """Standard normal noise, one stream per image: row i depends on seed i alone, whatever the batch."""

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Draw float32 noise of the full shape [N, *]; N is the number of streams."""
        ...


class Generator(Protocol):
    """A map from a standard normal latent to images. Seeds, grids, interpolation and metrics rest on it alone."""

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one image's latent."""
        ...

    @property
    def num_classes(self) -> int:
        """Number of classes it can be asked for, 0 without."""
        ...

    def decode(self, latent: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        """Latent [N, *latent_shape], labels int64 [N] or None -> images [N, C, H, W]."""
        ...


class Codec(Protocol):
    """Images to what the network sees, and back."""

    def encode(self, images: Tensor, noise: Noise) -> Tensor:
        """Images [N, C, H, W] -> codes [N, *]."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [N, *] -> images [N, C, H, W]."""
        ...

    def clip(self, codes: Tensor) -> Tensor:
        """Codes [N, *] -> the nearest codes of images within [-1, 1]."""
        ...


@dataclass(frozen=True, slots=True)
class Condition:
    """What a network may be told besides x and the noise level; every entry is optional.

    `augmentation` float32 [N, P]: what was done to each image; none and zeros mean nothing was.
    `previous` float32 [N, C, *]: a self-conditioned denoiser's earlier estimate; it becomes channels of the input.
    """

    labels: Tensor | None = None
    augmentation: Tensor | None = None
    previous: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """One chunk of training data on the device, and the moment it belongs to.

    `update` and `images_seen` count what was learnt from before, the same for all chunks of an update; `start` is the
    chunk's place among them, in images. `drawn` holds what a phase drew for it (sigma, noise, latents ...), row i for
    image i.
    """

    images: Tensor
    labels: Tensor | None
    augmentation: Tensor | None
    update: int
    images_seen: int
    start: int = 0
    drawn: Mapping[str, Tensor] = field(default_factory=dict)

    def rows(self, start: int, stop: int) -> "Batch":
        """Return images start..stop with all that belongs to them."""
        labels, augmentation = (None if rows is None else rows[start:stop] for rows in (self.labels, self.augmentation))
        drawn = {name: rows[start:stop] for name, rows in self.drawn.items()}
        return replace(self, images=self.images[start:stop], labels=labels, augmentation=augmentation, drawn=drawn)


@dataclass(frozen=True, slots=True)
class Loss:
    """A scalar to minimise, averaged over the chunk, and named physical parts (detached) for the log.

    `sums`: what the family adapts from, of any shape, added up over chunks and processes and handed to `finish`.
    """

    value: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    sums: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Phase:
    """One way a family learns: minimise `loss` over `module`'s parameters, every `every` updates.

    A phase whose loss is a mean over rows may say `draw`: it puts into `batch.drawn` all that `loss` would draw itself
    (dropout aside), so that `loss(draw(batch))` equals `loss(batch)` and a chunk too large for memory runs in slices.
    """

    name: str
    module: nn.Module
    loss: Callable[[Batch], Loss]
    every: int = 1
    draw: Callable[[Batch], Batch] | None = None


class FamilyOptions(OptionGroup):
    """What every family is asked."""

    encoded: ClassVar[int] = 1
    """How many numbers an encoder is to give for each number of a code: two are a mean and a log variance."""

    class_conditional: bool = Field(default=False, description="whether the network is told the class")

    def classes(self, num_classes: int) -> int:
        """Return how many classes the network tells apart, of data with so many; 0 where it isn't told."""
        return num_classes if self.class_conditional else 0

    def channels_in(self, channels: int) -> int:
        """Return how many numbers the network reads at each position, for codes of so many channels."""
        return channels

    def channels_out(self, channels: int) -> int:
        """Return how many numbers the network is to give at each position, for codes of so many channels."""
        return channels

    def measured(self, deviation: float) -> Self:
        """Return these options with what they leave to the images filled in: `deviation` is that of the codes."""
        return self

    def cautions(self, sampling: OptionGroup) -> list[str]:
        """Name what is allowed but hardly meant where a model of these is drawn from so; by default nothing is."""
        return []

    def check_use(self, sampling: OptionGroup) -> None:
        """Refuse, before training, to learn what drawing so never uses; by default all is used."""


class Family(nn.Module):
    """A kind of model and how it learns. Whatever it adapts while it trains is a buffer, changed in `finish`."""

    Options: ClassVar[type[FamilyOptions]]
    Sampling: ClassVar[type[OptionGroup]]
    architecture: ClassVar[type[nn.Module]]
    """What kind of network a recipe must name for it."""
    draws: ClassVar[bool] = True
    """Whether it draws from latents by itself; sheets of one that doesn't show its `preview` of held-out images."""
    can_worsen: ClassVar[bool] = False
    """Whether longer training may make it worse: then the best checkpoint draws, where one was monitored."""
    told_together: ClassVar[int] = 1
    """Of how many held-out images at least `held_out` is told at once, if there are as many, whatever a chunk of the
    training is: more than one where images are compared with each other."""
    compiles: ClassVar[bool] = True
    """Whether its networks may be compiled: a compiled one can be differentiated once only."""

    def phases(self) -> list[Phase]:
        """Return the phases of one update, in order; one optimizer belongs to each phase's module."""
        raise NotImplementedError(f"{type(self).__name__} must say how it learns")

    def averaged(self) -> nn.Module:
        """Return the part whose parameters are averaged for drawing; the rest is shared with the average."""
        return self

    def rhythm(self) -> int:
        """Return after how many updates the same work comes again, for timing them."""
        return math.lcm(*(phase.every for phase in self.phases()))

    def generator(self, options: OptionGroup) -> Generator:
        """Return what draws images from the present weights, under this family's sampling options."""
        raise NotImplementedError(f"{type(self).__name__} must say how it draws")

    def held_out(self, batch: Batch) -> Mapping[str, Tensor]:
        """Name what held-out images tell of the present weights, means over rows; by default every phase's loss."""
        return {f"{phase.name}/held_out_loss": phase.loss(batch).value for phase in self.phases()}

    def summarise(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Turn what `held_out` named, averaged over all rows, into numbers for the log; by default they are those."""
        return {name: mean.item() for name, mean in means.items()}

    def preview(self, batch: Batch) -> Tensor:
        """Return images [N, C, H, W] of what the present weights make of a batch's, where they draw none."""
        raise NotImplementedError(f"{type(self).__name__} draws from latents: look at that")

    def finish(self, update: int, sums: Mapping[str, Tensor]) -> None:
        """Adapt buffers after an update; `sums` is named `<phase>/<name>`. Most families have nothing to adapt.

        Torch's generators are seeded by the run's seed and the update, the same in every process.
        """
