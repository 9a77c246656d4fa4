"""Shift by whole pixels, mirrored or grey where nothing is: the random crop of a padded image."""

from pydantic import Field
from torch import Tensor

from mezzotint.augment import Augmentation, sometimes, uniform
from mezzotint.augment.moving import Padding, moved


class Shift(Augmentation):
    """Translations down and right, each uniform; the numbers told are fractions of the height and of the width."""

    fraction: float = Field(default=0.125, ge=0.0, le=1.0, description="largest shift, as a fraction of the side")
    padding: Padding = Field(default="reflect", description="what comes in: reflect (mirrored) or zero (mid-grey)")
    probability: float = Field(default=1.0, ge=0.0, le=1.0, description="probability that an image is shifted")

    def width(self) -> int:
        """Two numbers: down, right."""
        return 2

    def draw(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] -> float32 [N, 2]: whole pixels, as fractions of height and width."""
        size = images.new_tensor(images.shape[2:]).float()
        drawn = uniform(images, self.fraction, self.fraction)
        return sometimes((drawn * size).round() / size, self.probability)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images [N, C, H, W] -> the same images, shifted."""
        return moved(images, drawn * drawn.new_tensor(images.shape[2:]), self.padding)
