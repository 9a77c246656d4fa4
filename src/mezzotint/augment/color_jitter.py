"""Brightness, contrast, saturation and, if asked, hue."""

from pydantic import Field
from torch import Tensor

from mezzotint.augment import Augmentation, sometimes, uniform
from mezzotint.augment.colour import brighter, contrasted, hued, saturated


class ColorJitter(Augmentation):
    """Each uniform about nothing at all; levels may leave [-1, 1], where clipping would stop gradients."""

    brightness: float = Field(default=0.2, ge=0.0, le=2.0, description="most that is added (black is -1, white is 1)")
    contrast: float = Field(
        default=0.2, ge=0.0, le=1.0, description="largest change of contrast, as a fraction, about an image's mean"
    )
    saturation: float = Field(default=0.2, ge=0.0, le=1.0, description="largest change of saturation, as a fraction")
    hue: float = Field(default=0.0, ge=0.0, le=0.5, description="largest turn of the hues either way, in full turns")
    probability: float = Field(default=0.5, ge=0.0, le=1.0, description="probability that an image is changed")

    def width(self) -> int:
        """Four numbers: brightness, contrast, saturation, hue."""
        return 4

    def draw(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] -> float32 [N, 4] in the order and the units of the options."""
        drawn = uniform(images, self.brightness, self.contrast, self.saturation, self.hue)
        return sometimes(drawn, self.probability)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images [N, 1 or 3, H, W] -> the same images in other colours; grey ones keep to brightness and contrast."""
        images = contrasted(brighter(images, drawn[:, 0]), drawn[:, 1])
        if images.shape[1] == 1:
            return images
        images = saturated(images, drawn[:, 2])
        return hued(images, drawn[:, 3]) if self.hue else images
