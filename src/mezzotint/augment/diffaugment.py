"""DiffAugment: colour, translation and cutout for GANs that see few images (Zhao et al. 2020)."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mezzotint.augment import Augmentation, uniform
from mezzotint.augment.colour import brighter, contrasted, saturated
from mezzotint.augment.cutout import Cutout
from mezzotint.augment.shift import Shift

Policy = Literal["color", "translation", "cutout"]


class _Color(Augmentation):
    """Brightness by up to 1/2, then saturation by 0 to 2, then contrast by 1/2 to 3/2 (Zhao et al. 2020, appendix)."""

    def width(self) -> int:
        return 3

    def draw(self, images: Tensor) -> Tensor:
        return uniform(images, 0.5, 1.0, 0.5)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        images = saturated(brighter(images, drawn[:, 0]), drawn[:, 1])
        return contrasted(images, drawn[:, 2])


_POLICIES: dict[Policy, Augmentation] = {
    "color": _Color(),
    "translation": Shift(fraction=0.125, padding="zero", probability=1),
    "cutout": Cutout(fraction=0.5, probability=1),
}


class DiffAugment(Augmentation):
    """The paper's policies at the paper's strengths, in turn, on every image."""

    policies: tuple[Policy, ...] = Field(
        default=("color", "translation", "cutout"), description="what is done: color, translation, cutout"
    )

    def width(self) -> int:
        """The policies' numbers side by side."""
        return sum(_POLICIES[name].width() for name in self.policies)

    def draw(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] -> float32 [N, width], all policies drawn."""
        none = torch.zeros(len(images), 0, device=images.device)
        return torch.cat([none, *(_POLICIES[name].draw(images) for name in self.policies)], dim=1)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Images [N, C, H, W] -> the same images under all policies."""
        widths = [_POLICIES[name].width() for name in self.policies]
        for name, part in zip(self.policies, drawn.split(widths, dim=1), strict=True):
            images = _POLICIES[name].apply(images, part)
        return images
