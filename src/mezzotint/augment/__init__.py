"""Augmentation of whole batches on the device: what may change about an image without changing what it shows."""

from torch import Tensor

from mezzotint.options import Options
from mezzotint.registry import Folder

AUGMENTATIONS = Folder("mezzotint.augment", "augmentation")


class Augmentation(Options):
    """A random change of images, drawn from torch's default generator on their device."""

    def __call__(self, images: Tensor) -> Tensor:
        """Images float32 [N, C, H, W] in [-1, 1] -> images of the same shape."""
        raise NotImplementedError(f"{type(self).__name__} must say how it changes images")
