"""Published numbers beside a score: comparable only where protocol, data, split, size and file format are the same."""

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field

from mezzotint.evaluation.score import Provenance, Score
from mezzotint.options import Options

_LOSSLESS = ("array", "png", "bmp", "tiff", "ppm", "gif")


class Published(Options):
    """One number as its authors report it."""

    name: str = Field(description="model, and what distinguishes it")
    source: str = Field(description="who reports it")
    dataset: str = Field(description="letters and digits that the name of the reference must contain")
    split: str = Field(description="reference split: train, test; none where the metric has no reference")
    format: Literal["lossless", "jpeg", "unstated"] = Field(description="files of the reference")
    image_size: int = Field(ge=1, description="height and width in pixels")
    protocol: str = Field(description="as this package writes it; else in words, and then nothing compares")
    value: float = Field(description="the number")
    resize: str = Field(description="what was done to the images before the extractor's own resize")

    def difference(self, score: Score) -> str | None:
        """Say what keeps this number from being comparable to a score; None where nothing does."""
        if self.protocol != score.protocol:
            return f"that is {self.protocol}, this {score.protocol}"
        if not score.published_weights:
            return "that is by the extractor's published weights, this by other ones"
        if score.image_size != (self.image_size, self.image_size):
            return f"that is at {self.image_size} px, this at {score.image_size[1]} px"
        return None if self.split == "none" else self._other_reference(score.reference)

    def _other_reference(self, known: Provenance | None) -> str | None:
        if known is None or not self._same_split(known):
            return f"that is against the {self.split} split, this is not known to be"
        if self.format != ("lossless" if known.format in _LOSSLESS else known.format):
            return f"that is against {self.format} files, this against {known.format}"
        return None if known.whole else f"that is against all images of {self.split}, this is not known to be"

    def _same_split(self, known: Provenance) -> bool:
        return self.split in re.split(r"[\W_]+", f"{known.source} {known.split}".lower())

    def line(self, score: Score) -> str:
        """Tell the number, with its protocol, and whether it may be compared."""
        told = f"{self.name} ({self.source}) {self.value:g}, {self.protocol}"
        against = "" if self.split == "none" else f" against {self.split}"
        difference = self.difference(score)
        return f"{told}{against}" + (f"; not comparable: {difference}" if difference else "")


@cache
def published() -> tuple[Published, ...]:
    """Return every number in `literature.yaml`."""
    text = Path(str(files("mezzotint.evaluation") / "literature.yaml")).read_text("utf-8")
    return tuple(Published(**entry) for entry in yaml.safe_load(text))


def beside(score: Score) -> Iterator[Published]:
    """Yield the numbers on a score's data: all comparable ones, else the first that isn't, so that it isn't missed."""
    if score.reference is None:
        return
    source = re.sub(r"[^a-z0-9]", "", score.reference.source.lower())
    about = [entry for entry in published() if entry.dataset in source]
    comparable = [entry for entry in about if entry.difference(score) is None]
    yield from comparable or about[:1]
