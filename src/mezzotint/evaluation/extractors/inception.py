"""Inception-v3 (2015, converted from TensorFlow by torch-fidelity), 2,048 features: what FID is defined on."""

import io

import torch
from torch import Tensor, nn

from mezzotint.errors import BadInput
from mezzotint.evaluation.extractors import Batches, Extractor, Features, PublishedWeights
from mezzotint.evaluation.weights import Published, read_weights

PUBLISHED = (
    Published(
        "weights-inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    ),
)


class _Inception(nn.Module):
    def __init__(self, state: dict[str, Tensor]) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # noqa: PLC0415  (slow)

        super().__init__()
        # torch-fidelity reads its weights with a full unpickler: it is handed a copy of tensors already checked.
        checked = io.BytesIO()
        torch.save(state, checked)
        checked.seek(0)
        self.module = FeatureExtractorInceptionV3(
            "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=checked
        )

    def forward(self, pixels: Tensor) -> Features:
        features, logits = self.module(pixels)
        return Features(features, logits.softmax(1))


class Inception(PublishedWeights):
    """Inception-v3 as in Heusel et al. 2017: pool features, and probabilities from logits without bias."""

    def load(self, labelled: Batches | None, device: torch.device) -> Extractor:
        """Return the extractor with checked weights; `labelled` isn't used."""
        path = self.find(PUBLISHED)
        state = read_weights(path)
        try:
            network = _Inception(state)
        except RuntimeError:
            raise BadInput(f"{path}: not Inception weights in torch-fidelity's format") from None
        return Extractor("inception", 2048, network, "TensorFlow 1 bilinear to 299 x 299, -1..1", device)
