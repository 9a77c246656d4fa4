"""A small CNN trained in seconds on the data's own labels: works without any downloaded weights."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mezzotint.disk import home
from mezzotint.errors import BadInput
from mezzotint.evaluation.cache import recall, store, tensors_hash
from mezzotint.evaluation.extractors import Batches, Extractor, ExtractorOptions, Features
from mezzotint.options import Count
from mezzotint.pixels import to_images
from mezzotint.seeds import forked, shuffled

LONGEST_SIDE = 32
RULE = f"bilinear, antialiased, at most {LONGEST_SIDE} px; -1..1; averaged over positions"


def _shrunk(pixels: Tensor) -> Tensor:
    """Pixels uint8 [N, 3, H, W] -> uint8, the longer side at most LONGEST_SIDE; smaller ones unchanged."""
    height, width = pixels.shape[-2:]
    scale = LONGEST_SIDE / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    smaller = F.interpolate(pixels.to(torch.float32), size, mode="bilinear", antialias=True)
    return smaller.round_().clamp_(0, 255).to(torch.uint8)


def _block(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU())


class _Network(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_block(3, 32, 1), _block(32, 64, 2), _block(64, 64, 2), _block(64, 64, 2))
        self.logits = nn.Linear(64, num_classes)

    def pooled(self, images: Tensor) -> Tensor:
        return self.body(images).mean((2, 3))

    def forward(self, pixels: Tensor) -> Features:
        features = self.pooled(to_images(_shrunk(pixels)))
        return Features(features, self.logits(features).softmax(1))


def _gather(labelled: Batches | None, most: int) -> tuple[Tensor, Tensor]:
    """Collect up to `most` images, shrunk, and their labels; refuse data that can't teach a classifier."""
    pixels, labels, count = [], [], 0
    for images, classes in labelled or ():
        if classes is None:
            raise BadInput("extractor classifier: needs labelled images, these have no labels; squeezenet needs none")
        pixels.append(_shrunk(images)[: most - count])
        labels.append(classes[: most - count])
        count += len(pixels[-1])
        if count == most:
            break
    found = torch.cat(labels) if labels else torch.zeros(0, dtype=torch.int64)
    if len(found.unique()) < 2:
        raise BadInput(f"extractor classifier: needs images of at least two classes, got {count} images of one or none")
    return torch.cat(pixels), found.to(torch.int64)


class Classifier(ExtractorOptions):
    """Four convolutions (32, 64, 64, 64 channels) and a linear head: 64 averaged features and class probabilities."""

    learns: ClassVar[bool] = True

    images: Count = Field(default=20_000, ge=100, description="images seen in training, all passes together")
    batch_size: int = Field(default=100, ge=2, description="images in one update")
    learning_rate: float = Field(default=0.005, gt=0, description="peak rate of Adam, on a one-cycle schedule")
    most_images: Count = Field(default=20_000, ge=2, description="different labelled images used at most")

    def load(self, labelled: Batches | None, device: torch.device) -> Extractor:
        """Return the classifier trained on `labelled`, or the one kept from an earlier training on the same images."""
        pixels, labels = _gather(labelled, self.most_images)
        with forked("classifier"):
            network = _Network(int(labels.max()) + 1)
        content = tensors_hash({"pixels": pixels, "labels": labels}, self.model_dump_json(), RULE, str(network))
        path = home() / "features" / f"classifier-{content}.safetensors"
        state = recall(path)
        if state is None:
            self._train(network, pixels, labels)
            store(path, state := network.state_dict())
        network.load_state_dict(state)
        return Extractor("classifier", 64, network, RULE, device)

    def _train(self, network: _Network, pixels: Tensor, labels: Tensor) -> None:
        """Train on the CPU, where the same images give the same weights; nothing here draws at random."""
        updates, size = max(1, self.images // self.batch_size), min(self.batch_size, len(pixels))
        optimizer = torch.optim.Adam(network.to(memory_format=torch.channels_last).parameters())
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, updates + 1)
        for update in range(updates):
            chosen = torch.from_numpy(shuffled(len(pixels), 0, update * size, size))
            images = to_images(pixels[chosen]).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(network.logits(network.pooled(images)), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
