"""Codecs: what the network sees instead of images. Built by a run, handed to its family."""

from torch import Tensor

from mezzotint.contracts import Noise
from mezzotint.options import Options
from mezzotint.registry import Table


class Identity(Options):
    """The images themselves."""

    def encode(self, images: Tensor, noise: Noise) -> Tensor:
        """Images [N, C, H, W] -> the same."""
        return images

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [N, C, H, W] -> the same."""
        return codes


CODECS = Table("codec", {"identity": Identity})
