"""What the critic is shown instead of the bare images, real and drawn alike: nothing, always, or as far as it overfits.

Gradients pass through, so the generator learns from changed images to draw unchanged ones (Zhao et al. 2020).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mezzotint.augment import AUGMENTATIONS, Augmentation
from mezzotint.augment.color_jitter import ColorJitter
from mezzotint.augment.diffaugment import DiffAugment
from mezzotint.augment.flip import Flip
from mezzotint.augment.rotation import Rotation
from mezzotint.augment.scale import Scale
from mezzotint.augment.shift import Shift
from mezzotint.options import Choice, Options
from mezzotint.registry import Table

Steps = tuple[Annotated[Augmentation, Choice(AUGMENTATIONS)], ...]
_EVERY = 4  # updates between two moves of p


class Showing(Options):
    """How images are changed before the critic sees them."""

    def state(self) -> "Shown":
        """Return what changes them."""
        return Shown(())


class Bare(Showing):
    """The images themselves."""


class Always(Showing):
    """Changes that every image gets at random, each with its own probability; by default DiffAugment's."""

    steps: Steps = Field(default=(DiffAugment(),), description="augmentations, in turn")

    def state(self) -> "Shown":
        """Return what changes them."""
        return Shown(self.steps)


class ADA(Showing):
    """Changes that each image gets with a probability p, which follows the critic's overfitting (Karras et al. 2020a).

    p rises while the share by which real images look real, E[sign(D(real))], lies above its target, else it falls.
    """

    steps: Steps = Field(
        default=(
            Flip(),
            Shift(fraction=0.125),
            Scale(factor=1.2, probability=1.0),
            Rotation(degrees=180.0, probability=1.0),
            ColorJitter(brightness=0.4, contrast=0.5, saturation=0.5, probability=1.0),
        ),
        description="augmentations, in turn, each with probability p times its own",
    )
    start: float = Field(default=0.0, ge=0.0, le=1.0, description="probability p at the beginning")
    target: float = Field(default=0.6, ge=-1.0, le=1.0, description="mean sign of the critic on real images")
    images: int = Field(default=500_000, ge=1, description="real images over which p can go from 0 to 1")

    def state(self) -> "Shown":
        """Return what changes them, with its own p."""
        return Adapting(self)


class Shown(nn.Module):
    """Augmentations in turn."""

    def __init__(self, steps: Sequence[Augmentation]) -> None:
        super().__init__()
        self.steps = tuple(steps)

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] -> what the critic sees of them."""
        for step in self.steps:
            images = step.apply(images, self.drawn(step, images))
        return images

    def drawn(self, step: Augmentation, images: Tensor) -> Tensor:
        """Return what one augmentation is to do to each image [N, P]."""
        return step.draw(images)

    def parts(self) -> dict[str, Tensor]:
        """Name what the log is told."""
        return {}

    def sums(self, above: Tensor) -> dict[str, Tensor]:
        """Return what `adapt` needs, added up; `above` [N]: how far D of real images is above the border."""
        return {}

    def adapt(self, update: int, sums: Mapping[str, Tensor]) -> None:
        """Adapt to what one update summed up."""


class Adapting(Shown):
    """Augmentations with a probability that adapts: p, and what has been summed up since its last move, are buffers."""

    p: Tensor
    gathered: Tensor

    def __init__(self, options: ADA) -> None:
        super().__init__(options.steps)
        self.options = options
        self.register_buffer("p", torch.tensor(options.start))
        self.register_buffer("gathered", torch.zeros(2))  # sum of signs, number of images

    def drawn(self, step: Augmentation, images: Tensor) -> Tensor:
        """Return what one augmentation is to do, nothing to an image with probability 1 - p."""
        drawn = step.draw(images)
        kept = torch.rand(len(drawn), 1, device=drawn.device) < self.p
        return torch.where(kept, drawn, torch.zeros_like(drawn))

    def parts(self) -> dict[str, Tensor]:
        """P itself."""
        return {"augmentation_p": self.p}

    def sums(self, above: Tensor) -> dict[str, Tensor]:
        """Signs and their number [2]."""
        return {"signs": torch.stack([above.detach().sign().sum(), above.new_tensor(float(len(above)))])}

    def adapt(self, update: int, sums: Mapping[str, Tensor]) -> None:
        """Every fourth update, move p by the images seen since over `images`, up or down (sec. 3.1)."""
        self.gathered += sums["signs"]
        if update % _EVERY:
            return
        signs, count = self.gathered
        step = (signs / count - self.options.target).sign() * count / self.options.images
        self.p.copy_((self.p + step).clamp(0, 1))
        self.gathered.zero_()


SHOWINGS = Table("augmentation", {"none": Bare, "always": Always, "ada": ADA})
