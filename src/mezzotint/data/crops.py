"""Crops: which part of a picture becomes the square, and whether it may be stretched, enlarged or padded."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from mezzotint.data.sources import Item
from mezzotint.options import Options
from mezzotint.registry import Table
from mezzotint.seeds import mix


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture, edges in pixels from its left upper corner, and what is odd about the choice.

    It fills the square exactly, unless it is `padded`: then it keeps its shape, and may be `enlarged` or not.
    """

    left: float
    top: float
    right: float
    bottom: float
    notes: tuple[str, ...] = ()
    padded: bool = False
    enlarged: bool = True

    @property
    def side(self) -> float:
        """The side, in pixels, that becomes the square's: the shorter one, or the longer one where it is padded."""
        sides = self.right - self.left, self.bottom - self.top
        return max(sides) if self.padded else min(sides)


class Crop(Options):
    """A choice of a part of every picture."""

    def region(self, width: int, height: int, item: Item) -> Region:
        """Choose from a picture of so many pixels."""
        raise NotImplementedError(f"{type(self).__name__} must say what it cuts out")

    def told(self) -> str:
        """Return the options in words, for the pack's provenance."""
        return ", ".join(f"{name} {value}" for name, value in self.tree().items())


class Center(Crop):
    """The largest central square, scaled."""

    def region(self, width: int, height: int, item: Item) -> Region:
        """Cut what is too long off both ends."""
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return Region(left, top, left + side, top + side)


class Whole(Crop):
    """All of it, scaled to fit, and padded to a square with the median colour of the corners."""

    def region(self, width: int, height: int, item: Item) -> Region:
        """Cut nothing."""
        return Region(0, 0, width, height, padded=True)


class Pad(Crop):
    """All of it, scaled to fit but never enlarged, and padded to a square with the median colour of the corners."""

    def region(self, width: int, height: int, item: Item) -> Region:
        """Cut nothing."""
        return Region(0, 0, width, height, padded=True, enlarged=False)


class Box(Crop):
    """The square around the picture's box, moved and at most shrunk to lie inside; central where there is no box."""

    margin: float = Field(
        default=0.0, ge=0.0, le=2.0, description="added on every side, as a fraction of the box's longer side"
    )

    def region(self, width: int, height: int, item: Item) -> Region:
        """Square the box about its centre, after cutting off what lies outside the picture."""
        if item.box is None:
            return _central(width, height, item, "no box: centred")
        x, y, wide, high = item.box
        left, right, top, bottom = max(x, 0), min(x + wide, width), max(y, 0), min(y + high, height)
        if not (right > left and bottom > top):  # also where a number is none
            return _central(width, height, item, "box outside the picture: centred")
        outside = min(x, y) < 0 or x + wide > width or y + high > height
        notes = ("box clamped to the picture",) if outside else ()
        side = min(max(right - left, bottom - top) * (1 + 2 * self.margin), width, height)
        left, top = _inside((left + right) / 2, side, width), _inside((top + bottom) / 2, side, height)
        return Region(left, top, left + side, top + side, notes)


def _central(width: int, height: int, item: Item, note: str) -> Region:
    middle = Center().region(width, height, item)
    return Region(middle.left, middle.top, middle.right, middle.bottom, (note,))


def _inside(centre: float, side: float, size: int) -> float:
    """Where a span about `centre` begins once it is moved between 0 and `size`."""
    return min(max(centre - side / 2, 0.0), size - side)


class RandomResized(Crop):
    """A part of random size, shape and place, scaled (Szegedy et al. 2015): the same one whenever it is prepared."""

    scale: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = Field(
        default=(0.5, 1.0), description="smallest and largest part of the picture's area"
    )
    ratio: tuple[Annotated[float, Field(gt=0, le=10)], Annotated[float, Field(gt=0, le=10)]] = Field(
        default=(1.0, 1.0), description="smallest and largest width over height; other than 1 stretches"
    )
    seed: int = Field(default=0, ge=0, description="another seed, other parts")

    def region(self, width: int, height: int, item: Item) -> Region:
        """Draw area and shape, uniform and log-uniform, shrink to fit, then draw the place; all from the item's name.

        Where a shape doesn't fit at its area, it is made as large as fits.
        """
        random = np.random.Generator(np.random.Philox(mix("random-resized", self.seed, item.name)))
        area = random.uniform(min(self.scale), max(self.scale)) * width * height
        ratio = math.exp(random.uniform(math.log(min(self.ratio)), math.log(max(self.ratio))))
        wide, high = math.sqrt(area * ratio), math.sqrt(area / ratio)
        fit = min(1.0, width / wide, height / high)
        left, top = random.uniform(0, width - wide * fit), random.uniform(0, height - high * fit)
        return Region(left, top, min(left + wide * fit, width), min(top + high * fit, height))


CROPS = Table("crop", {"center": Center, "none": Whole, "pad": Pad, "box": Box, "random-resized": RandomResized})
