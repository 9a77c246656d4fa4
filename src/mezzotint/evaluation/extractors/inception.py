"""Inception-v3 (2015, converted from TensorFlow by torch-fidelity), 2,048 features: what FID is defined on."""

import io
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.errors import BadInput
from mezzotint.evaluation.cache import tensors_hash
from mezzotint.evaluation.extractors import Batches, Extractor, Features, PublishedWeights
from mezzotint.evaluation.extractors.fused import FusedConv
from mezzotint.evaluation.extractors.resizing import tensorflow_bilinear
from mezzotint.evaluation.extractors.threads import by_threads
from mezzotint.evaluation.weights import Published, read_weights

SIDE = 299
RULE = f"TensorFlow 1 bilinear to {SIDE} x {SIDE}, -1..1"

BATCH_SIZE = 64
AT_ONCE = 4
"""Images that a thread of a CPU passes through the network together.

Up to 5 no layer's output exceeds 32 MB, above which glibc hands memory back and faults it in again.
"""


# --- The network, rebuilt from torch-fidelity's so that nothing is computed twice or copied ----------------------


class _AveragedConv(nn.Module):
    """A 1x1 convolution of averages over 3x3 neighbours, computed the other way round: both are linear."""

    def __init__(self, conv: FusedConv) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(x), 3, 1, 1, count_include_pad=False).relu_()


class _Parallel(nn.ModuleList):
    """Modules that see the same input, their outputs joined along the channels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], 1)


def _fused(part: nn.Module, relu: bool = True) -> FusedConv:
    return FusedConv.of(part.conv, part.bn, relu=relu)  # type: ignore[arg-type]


def _averaging(block: nn.Module) -> nn.Module:
    return _AveragedConv(_fused(block.get_submodule("branch_pool"), relu=False))


def _halving(block: nn.Module) -> nn.Module:
    return nn.MaxPool2d(3, 2)


def _taking_the_most(block: nn.Module) -> nn.Module:
    return nn.Sequential(nn.MaxPool2d(3, 1, 1), _fused(block.get_submodule("branch_pool")))


_EIGHT = ("1x1", "3x3_1 3x3_2a|3x3_2b", "3x3dbl_1 3x3dbl_2 3x3dbl_3a|3x3dbl_3b")
_BLOCKS: Mapping[str, tuple[tuple[str, ...], Callable[[nn.Module], nn.Module]]] = {
    "InceptionA": (("1x1", "5x5_1 5x5_2", "3x3dbl_1 3x3dbl_2 3x3dbl_3"), _averaging),
    "InceptionB": (("3x3", "3x3dbl_1 3x3dbl_2 3x3dbl_3"), _halving),
    "InceptionC": (("1x1", "7x7_1 7x7_2 7x7_3", "7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5"), _averaging),
    "InceptionD": (("3x3_1 3x3_2", "7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4"), _halving),
    "InceptionE_1": (_EIGHT, _averaging),
    "InceptionE_2": (_EIGHT, _taking_the_most),
}
"""The branches of each of torch-fidelity's blocks by the names of their convolutions (`a|b`: both), and the last."""


def _branch(block: nn.Module, words: str) -> nn.Module:
    stages = [[_fused(block.get_submodule(f"branch{name}")) for name in word.split("|")] for word in words.split()]
    return nn.Sequential(*(_Parallel(parts) if len(parts) > 1 else parts[0] for parts in stages))


def _rebuilt(part: nn.Module) -> nn.Module:
    """Return one part of torch-fidelity's network with batch norm folded in."""
    kind = type(part).__name__
    if kind == "BasicConv2d":
        return _fused(part)
    if kind in _BLOCKS:
        branches, last = _BLOCKS[kind]
        return _Parallel([*(_branch(part, words) for words in branches), last(part)])
    return part


class _Inception(nn.Module):
    def __init__(self, peer: nn.Module) -> None:
        super().__init__()
        *parts, logits = peer.children()  # torch-fidelity declares them in the order in which it calls them
        self.body = nn.Sequential(*map(_rebuilt, parts), nn.Flatten())
        self.register_buffer("logits", logits.get_parameter("weight").detach())

    def _pooled(self, pixels: Tensor) -> Tensor:
        return self.body(tensorflow_bilinear(pixels, SIDE).sub_(128).div_(128))

    def forward(self, pixels: Tensor) -> Features:
        on_cpu = pixels.device.type == "cpu"
        features = by_threads(self._pooled, pixels, AT_ONCE) if on_cpu else self._pooled(pixels)
        return Features(features, (features @ self.get_buffer("logits").T).softmax(1))


def _peer(state: Mapping[str, Tensor]) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # noqa: PLC0415  (slow)

    # torch-fidelity reads its weights with a full unpickler: it is handed a copy of tensors already checked.
    checked = io.BytesIO()
    torch.save(dict(state), checked)
    checked.seek(0)
    return FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=checked)


# --- The extractor ----------------------------------------------------------------------------------------------


class Inception(PublishedWeights):
    """Inception-v3 as in Heusel et al. 2017: pool features, and probabilities from logits without bias."""

    published: ClassVar[Mapping[str, tuple[Published, ...]]] = {
        "inception": (
            Published(
                "weights-inception-2015-12-05-6726825d.pth",
                "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
                "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
                "weights-inception-2015-12-05-6726825d.pth",
            ),
        )
    }

    def load(self, labelled: Batches | None, device: torch.device) -> Extractor:
        """Return the extractor with checked weights; `labelled` isn't used."""
        path = self.find("inception")
        state = read_weights(path)
        try:
            network = _Inception(_peer(state))
        except RuntimeError:
            raise BadInput(f"{path}: not Inception weights in torch-fidelity's format") from None
        return Extractor("inception", 2048, network, RULE, device, BATCH_SIZE, tensors_hash(state))
