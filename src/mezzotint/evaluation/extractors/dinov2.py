"""DINOv2 (Oquab et al. 2023): the class token of a vision transformer, what Stein et al. 2023 rank generators by."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mezzotint.errors import BadInput
from mezzotint.evaluation.extractors import Batches, Extractor, Features, PublishedWeights
from mezzotint.evaluation.extractors.resizing import IMAGENET_MEAN, IMAGENET_STD, pillow_bicubic, standardised
from mezzotint.evaluation.weights import Published, read_weights

SIDE, PATCH = 224, 14
OFFSET = 0.1
"""The authors' code stretches the table of positions by (grid + 0.1) / side of the table, so published scores do."""

RULE = f"Pillow bicubic to {SIDE} x {SIDE}, ImageNet mean and std; positions bicubic, not antialiased, offset {OFFSET}"


def _published(letter: str, sha256: str) -> tuple[Published, ...]:
    file = f"dinov2_vit{letter}14_pretrain.pth"
    return (Published(file, sha256, f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{letter}14/{file}"),)


def _positions(table: Tensor) -> Tensor:
    """Positions [1, 1 + s^2, D] of training -> [1, 1 + g^2, D] for g x g patches; the first is the class's."""
    grid, side = SIDE // PATCH, round((table.shape[1] - 1) ** 0.5)
    if grid == side:
        return table
    square = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    ours = F.interpolate(square, scale_factor=(grid + OFFSET) / side, mode="bicubic")
    return torch.cat([table[:, :1], ours.permute(0, 2, 3, 1).reshape(1, grid * grid, -1)], 1)


class _ClassToken(nn.Module):
    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, pixels: Tensor) -> Features:
        images = pillow_bicubic(pixels, SIDE, SIDE).to(torch.float32).div_(255)
        return Features(self.transformer(standardised(images, IMAGENET_MEAN, IMAGENET_STD)), None)


def _transformer(model: str, state: dict[str, Tensor]) -> nn.Module:
    try:
        from timm import create_model  # noqa: PLC0415  (optional)
        from timm.models.vision_transformer import checkpoint_filter_fn  # noqa: PLC0415
    except ImportError:
        raise BadInput("extractor dinov2: needs timm, pip install 'mezzotint[extractors]'") from None
    with torch.device("meta"):  # no time and memory for weights that are replaced at once
        transformer = create_model(f"vit_{model}_patch14_dinov2", img_size=SIDE, num_classes=0)
    whole = {name: value.float() for name, value in state.items()}
    resized = whole | {"pos_embed": _positions(whole["pos_embed"])}
    transformer.load_state_dict(checkpoint_filter_fn(resized, transformer), assign=True)  # type: ignore[arg-type]
    return transformer


class DINOv2(PublishedWeights):
    """DINOv2 without registers at 224 px, the class token after the last norm: 1,024 features of ViT-L/14."""

    published: ClassVar[Mapping[str, tuple[Published, ...]]] = {
        "dinov2-small": _published("s", "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9"),
        "dinov2-base": _published("b", "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73"),
        "dinov2-large": _published("l", "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"),
        "dinov2-giant": _published("g", "baf8467e50af277596bbbafa06887c177ee899ab46033649c383577d7e9309d3"),
    }

    model: Literal["small", "base", "large", "giant"] = Field(
        default="large", description="size of the vision transformer; Stein et al. 2023 use large"
    )

    def load(self, labelled: Batches | None, device: torch.device) -> Extractor:
        """Return the extractor with checked weights; `labelled` isn't used."""
        path = self.find(f"dinov2-{self.model}")
        try:
            transformer = _transformer(self.model, read_weights(path))
        except (RuntimeError, KeyError):
            raise BadInput(f"{path}: not the weights of a DINOv2 {self.model} transformer") from None
        return Extractor("dinov2", int(transformer.num_features), _ClassToken(transformer), RULE, device, 16)  # type: ignore[arg-type]
