"""CLIP (Radford et al. 2021): image embeddings of length 1, what CMMD (Jayasumana et al. 2024) compares."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mezzotint.errors import BadInput, nearest
from mezzotint.evaluation.extractors import Batches, Extractor, Features, PublishedWeights
from mezzotint.evaluation.extractors.resizing import IMAGENET_MEAN, IMAGENET_STD, pillow_bicubic, standardised
from mezzotint.evaluation.weights import Published, read_weights

_Colours = tuple[float, float, float]
NORMALISATIONS: Mapping[str, tuple[_Colours, _Colours]] = {
    "openai": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and standard deviation of each channel, 0..1, that the tower's images had in training."""

TOWER = "visual."
"""What the names of the image tower's weights begin with in open-clip's layout; the text tower isn't needed."""


def _published(file: str, sha256: str) -> tuple[Published, ...]:
    return (Published(file, sha256, f"https://openaipublic.azureedge.net/clip/models/{sha256}/{file}"),)


class _Embedding(nn.Module):
    def __init__(self, tower: nn.Module, side: int, mean: _Colours, std: _Colours) -> None:
        super().__init__()
        self.tower, self.side, self.mean, self.std = tower, side, mean, std

    def forward(self, pixels: Tensor) -> Features:
        height, width = pixels.shape[-2:]
        short = min(height, width)
        resized = pillow_bicubic(pixels, self.side * height // short, self.side * width // short)
        top, left = (round((length - self.side) / 2) for length in resized.shape[-2:])
        images = resized[..., top : top + self.side, left : left + self.side].to(torch.float32).div_(255)
        return Features(F.normalize(self.tower(standardised(images, self.mean, self.std)), dim=1), None)


def _tower(model: str) -> tuple[nn.Module, int]:
    """Return the image tower, without memory for its weights yet, and the side of its images in px."""
    try:
        import open_clip  # noqa: PLC0415  (optional)
    except ImportError:
        raise BadInput("extractor clip: needs open-clip-torch, pip install 'mezzotint[extractors]'") from None
    config = open_clip.get_model_config(model)
    if config is None:
        raise BadInput(f"extractor clip: open-clip has no model {model!r}: {nearest(model, open_clip.list_models())}")
    with torch.device("meta"):
        whole = open_clip.CLIP(
            config["embed_dim"], config["vision_cfg"], open_clip.CLIPTextCfg(), bool(config.get("quick_gelu"))
        )
    return whole.visual, int(config["vision_cfg"]["image_size"])


class Clip(PublishedWeights):
    """CLIP's image tower through open-clip: projected embeddings divided by their length, 768 of ViT-L/14 at 336 px."""

    published: ClassVar[Mapping[str, tuple[Published, ...]]] = {
        "clip-ViT-L-14-336-quickgelu": _published(
            "ViT-L-14-336px.pt", "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"
        ),
        "clip-ViT-L-14-quickgelu": _published(
            "ViT-L-14.pt", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"
        ),
        "clip-ViT-B-32-quickgelu": _published(
            "ViT-B-32.pt", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
        ),
    }

    model: str = Field(
        default="ViT-L-14-336-quickgelu",
        description="open-clip's name of the architecture; OpenAI's weights need the ones with quickgelu",
    )
    normalisation: Literal["openai", "imagenet", "half"] = Field(
        default="openai",
        description="mean and standard deviation of the images that the weights were trained with; half: 0.5 and 0.5",
    )

    def load(self, labelled: Batches | None, device: torch.device) -> Extractor:
        """Return the extractor with checked weights; `labelled` isn't used."""
        tower, side = _tower(self.model)
        path = self.find(f"clip-{self.model}")
        state = {
            name.removeprefix(TOWER): value for name, value in read_weights(path).items() if name.startswith(TOWER)
        }
        try:
            tower.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
        except RuntimeError:
            raise BadInput(f"{path}: not the weights of open-clip's {self.model}") from None
        colours = {"openai": "CLIP's"}.get(self.normalisation, self.normalisation)
        rule = f"{self.model}: Pillow bicubic, short side to {side}, centre; {colours} mean and std; divided by length"
        network = _Embedding(tower, side, *NORMALISATIONS[self.normalisation])
        return Extractor("clip", int(tower.output_dim), network, rule, device, 16)  # type: ignore[arg-type]
