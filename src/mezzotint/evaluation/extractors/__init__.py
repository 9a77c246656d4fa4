"""Pixels to features and, where it has them, class probabilities: one extractor per file."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from mezzotint.evaluation.cache import tensors_hash
from mezzotint.evaluation.weights import Published, find_weights
from mezzotint.options import Options
from mezzotint.registry import Folder

EXTRACTORS = Folder("mezzotint.evaluation.extractors", "extractor")

Batches = Iterable[tuple[Tensor, Tensor | None]]
"""Batches of pixels uint8 [N, C, H, W] with their labels int64 [N], if they have any."""


class Features(NamedTuple):
    """What an extractor sees in N images."""

    features: Tensor  # float32 [N, D]
    probabilities: Tensor | None  # float32 [N, K], over the classes the extractor knows


@contextmanager
def _all_of_float32() -> Iterator[None]:
    """Multiply in float32 proper: TF32 and bfloat16, which torch may take instead, give other features."""
    before = _precision("highest", False)
    try:
        yield
    finally:
        _precision(*before)


def _precision(products: str, shorter_convolutions: bool) -> tuple[str, bool]:
    """Set how exact products and cuDNN's convolutions of float32 are; return how exact they were."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from 2.9 on torch warns of these names, before it knows no others
        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = shorter_convolutions
    return before


@dataclass(frozen=True)
class Extractor:
    """A network with its weights, ready to use: `network(uint8 [N, 3, H, W]) -> Features`, resizing included."""

    name: str
    dimension: int
    network: nn.Module
    rule: str  # how pixels become the network's input, in words; part of the hash
    device: torch.device
    batch_size: int = 64
    weights_hash: str = ""  # of the weights as published; empty: of the network's own

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False).to(self.device).to(memory_format=torch.channels_last)

    @cached_property
    def hash(self) -> str:
        """Identity of the features: weights and resize rule. Scores of different hashes are never compared."""
        if self.weights_hash:
            return tensors_hash({}, self.name, self.rule, self.weights_hash)
        return tensors_hash(self.network.state_dict(), self.name, self.rule)

    @torch.inference_mode()
    @_all_of_float32()
    def features(self, pixels: Tensor) -> Features:
        """Pixels uint8 [N, 3, H, W] -> features float32 [N, D] and probabilities [N, K] or None, on the CPU."""
        with torch.autocast(self.device.type, enabled=False):  # that of whoever calls
            parts = [self.network(part.to(self.device)) for part in pixels.split(self.batch_size)]
        features = torch.cat([part.features for part in parts]).float().cpu()
        known = [part.probabilities for part in parts if part.probabilities is not None]
        return Features(features, torch.cat(known).float().cpu() if known else None)


class ExtractorOptions(Options):
    """Base of every extractor's options: where its weights come from."""

    learns: ClassVar[bool] = False  # whether it is trained on labelled images, kept apart from the reference

    @property
    def as_published(self) -> bool:
        """Whether the weights are those that somebody has published: only then do published numbers compare."""
        return False

    def load(self, labelled: Batches | None, device: torch.device) -> Extractor:
        """Return the extractor, ready on the device; `labelled` is for extractors that learn."""
        raise NotImplementedError(f"{type(self).__name__} must say where its weights come from")


class PublishedWeights(ExtractorOptions):
    """Options of an extractor whose weights somebody has published, and which may be given as a file."""

    published: ClassVar[Mapping[str, tuple[Published, ...]]] = {}  # by the name that `mezzotint weights` knows

    weights: Path | None = Field(
        default=None, description="weights file as published; null: $MEZZOTINT_WEIGHTS, the cache, then its URL"
    )
    sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{8,64}$",
        description="leading digits of the file's SHA-256, for weights of your own",
    )

    @property
    def as_published(self) -> bool:
        """Whether no other hash is given than a published one."""
        own = self.sha256
        known = [file.sha256 for files in self.published.values() for file in files]
        return own is None or any(own.startswith(digest) or digest.startswith(own) for digest in known)

    def find(self, name: str) -> Path:
        """Return the checked weights file called `name` in `published`."""
        return find_weights(name, self.published.get(name, ()), self.weights, self.sha256)


def all_published() -> dict[str, tuple[Published, ...]]:
    """Name to published files (the same weights, any of them will do) of every extractor's weights."""
    known = [EXTRACTORS[name] for name in EXTRACTORS]
    return {
        name: files for part in known if issubclass(part, PublishedWeights) for name, files in part.published.items()
    }
