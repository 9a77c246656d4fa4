"""A perceptual distance: features of SqueezeNet 1.1 compared at several depths, its weights from a local file."""

from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mezzotint.errors import BadInput
from mezzotint.options import Options

_DEPTHS = (1, 4, 7, 12)  # after the first convolution and after the second, fourth and last pair of fire modules
_SHORT_SIDE = 64  # smaller images are enlarged to it
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in 0..1
_PREFIX = "features."
_EPSILON = 1e-10


class Perceptual(Options):
    """How much features count in the loss, and where the weights of the network are that makes them."""

    weight: float = Field(default=1.0, gt=0, description="factor on the distance, beside nats per dimension")
    weights: Path = Field(description="SqueezeNet 1.1's weights as torchvision names them, a .safetensors file")

    @field_validator("weights")
    @classmethod
    def _anywhere(cls, value: Path) -> Path:
        """A run resumed from another folder must find it, too."""
        return value.expanduser().absolute()

    def build(self) -> "PerceptualDistance":
        """Return the distance; `BadInput` where the file isn't what it must be."""
        return PerceptualDistance(self.weight, self.weights)


class PerceptualDistance(nn.Module):
    """Squared distance of unit-length features, averaged over positions, summed over depths (Zhang et al. 2018, eq. 1).

    All channels weigh the same. What it was trained to is no part of a checkpoint and never changes: buffers.
    """

    def __init__(self, weight: float, path: Path) -> None:
        super().__init__()
        self.weight = weight
        self.features = _trunk(path)
        for name, values in (("mean", _MEAN), ("std", _STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    mean: Tensor
    std: Tensor

    def forward(self, images: Tensor, wanted: Tensor) -> Tensor:
        """Images and wanted images [N, C, H, W] in [-1, 1] -> weighted distances [N]."""
        total = torch.zeros(len(images), device=images.device)
        x, y = self._standardised(images), self._standardised(wanted)
        for depth, layer in enumerate(self.features):
            x, y = layer(x), layer(y)
            if depth in _DEPTHS:
                total = total + (_unit(x) - _unit(y)).square().sum(1).mean((1, 2))
            if depth == _DEPTHS[-1]:
                break
        return self.weight * total

    def _standardised(self, images: Tensor) -> Tensor:
        greys = ((images + 1) / 2).expand(-1, 3, -1, -1)
        short = min(greys.shape[2:])
        if short < _SHORT_SIDE:
            greys = F.interpolate(greys, scale_factor=_SHORT_SIDE / short, mode="bilinear")
        return (greys - self.mean) / self.std


def _unit(features: Tensor) -> Tensor:
    features = features.float()
    return features / (features.square().sum(1, keepdim=True) + _EPSILON).sqrt()


def _trunk(path: Path) -> nn.Sequential:
    """Return SqueezeNet's convolutional part with the file's weights, as buffers that no checkpoint holds."""
    from torchvision.models import squeezenet1_1  # noqa: PLC0415  (imports torch's compiler: a second of a start)

    trunk = squeezenet1_1(weights=None).features
    try:
        state = {name: value for name, value in load_file(path).items() if name.startswith(_PREFIX)}
        trunk.load_state_dict({name.removeprefix(_PREFIX): value for name, value in state.items()}, assign=True)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"perceptual.weights: {path} can't be read as safetensors ({error})") from None
    except RuntimeError:
        raise BadInput(f"perceptual.weights: {path} holds no weights of torchvision's squeezenet1_1") from None
    for part in trunk.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach(), persistent=False)
    return trunk
