"""SqueezeNet 1.1 (ImageNet) features averaged over the image: a small part of Inception's cost, for monitoring."""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.errors import BadInput
from mezzotint.evaluation.extractors import Batches, Extractor, Features, PublishedWeights
from mezzotint.evaluation.extractors.resizing import IMAGENET_MEAN, IMAGENET_STD, standardised
from mezzotint.evaluation.weights import Published, read_weights

SHORT_SIDE = 64
"""Smaller images are enlarged to it; larger ones stay as they are.

Measured on 3,000 CIFAR-10 test images: how many standard errors damaged images (blur, noise, pasted halves, half the
classes, JPEG) lie above real ones. At 64 px 9, 17, 29, 14 and 9; at their own 32 px, 5 times cheaper, 6, 11, 19, 7, 4.
"""


class _Pooled(nn.Module):
    def __init__(self) -> None:
        from torchvision.models import squeezenet1_1  # noqa: PLC0415  (imports torch's compiler: a second of a start)

        super().__init__()
        self.features = squeezenet1_1(weights=None).features

    def forward(self, pixels: Tensor) -> Features:
        images = pixels.to(torch.float32).div_(255)
        height, width = images.shape[-2:]
        short = min(height, width)
        if short < SHORT_SIDE:
            size = (round(height * SHORT_SIDE / short), round(width * SHORT_SIDE / short))
            images = F.interpolate(images, size, mode="bilinear")
        return Features(self.features(standardised(images, IMAGENET_MEAN, IMAGENET_STD)).mean((2, 3)), None)


class SqueezeNet(PublishedWeights):
    """SqueezeNet 1.1 (Iandola et al. 2016), 512 features: its last convolutional layer, averaged over the image."""

    published: ClassVar[Mapping[str, tuple[Published, ...]]] = {
        "squeezenet": (
            Published(
                "squeezenet1_1-features.safetensors",
                "c7498b4d2505fbcbe5a771673ecb477d319335722aa5f7eb29f1a88d612653a1",
            ),
            Published(
                "squeezenet1_1-b8a52dc0.pth",
                "b8a52dc0",
                "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
            ),
        )
    }

    def load(self, labelled: Batches | None, device: torch.device) -> Extractor:
        """Return the extractor with checked weights; `labelled` isn't used."""
        path = self.find("squeezenet")
        state = {key: value for key, value in read_weights(path).items() if not key.startswith("classifier.")}
        network = _Pooled()
        try:
            network.load_state_dict(state)
        except RuntimeError:
            raise BadInput(f"{path}: not the weights of torchvision's squeezenet1_1") from None
        rule = f"bilinear, short side at least {SHORT_SIDE}; ImageNet mean and std; averaged over positions"
        return Extractor("squeezenet", 512, network, rule, device)
