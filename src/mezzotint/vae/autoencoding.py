"""What both families of autoencoders share: a likelihood of pixels, the account of an image, a preview."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from mezzotint.contracts import Batch, Codec, Family, FamilyOptions, Noise
from mezzotint.errors import BadInput
from mezzotint.networks import Autoencoder
from mezzotint.options import Choice
from mezzotint.seeds import AmbientNoise
from mezzotint.vae.likelihood import LIKELIHOODS, Gaussian, Likelihood, LikelihoodOptions
from mezzotint.vae.perceptual import Perceptual

PHASE = "autoencoder"


class AutoencoderOptions(FamilyOptions):
    """What both kinds of autoencoders are asked."""

    likelihood: Annotated[LikelihoodOptions, Choice(LIKELIHOODS)] = Field(
        default=Gaussian(), description="how the decoder's numbers tell the probability of an image"
    )
    perceptual: Perceptual | None = Field(
        default=None, description="distance between features of image and reconstruction, added to the loss"
    )

    def channels_out(self, channels: int) -> int:
        """Return how many numbers the likelihood reads at each position."""
        return self.likelihood.channels_out(channels)


class Trained(nn.Module):
    """What one optimizer trains: the two networks, and what the likelihood learns besides."""

    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, network: Autoencoder, likelihood: Likelihood) -> None:
        super().__init__()
        self.network, self.likelihood = network, likelihood


@dataclass(frozen=True, slots=True)
class Account:
    """What an autoencoder makes of images: the reconstructions [N, C, H, W], and by name what each row comes to.

    Among the rows are `nll` and `kl` [N], in nats of an image, and `mse` [N], of greys in [0, 1].
    """

    images: Tensor
    rows: Mapping[str, Tensor]


class Autoencoding(Family):
    """A family that encodes images and decodes them again; a codec standardises what its encoder reads, no more.

    The likelihood is always that of the images themselves.
    """

    architecture = Autoencoder

    def __init__(
        self, options: AutoencoderOptions, codec: Codec, shape: tuple[int, int, int], num_classes: int
    ) -> None:
        """Images have `shape` (C, H, W); `num_classes` is the data's, 0 without labels."""
        super().__init__()
        if options.class_conditional and num_classes < 1:
            raise BadInput("class_conditional: the data have no labels; set it to false")
        self.codec, self.dimensions = codec, math.prod(shape)
        self.num_classes = options.classes(num_classes)
        self.perceptual = None if options.perceptual is None else options.perceptual.build()

    # --- What a kind of autoencoder says ---

    @property
    def likelihood(self) -> Likelihood:
        """How the decoder's numbers speak of images."""
        raise NotImplementedError(f"{type(self).__name__} must name its likelihood")

    def account(self, batch: Batch, noise: Noise) -> Account:
        """Reconstruct a batch from its codes, and tell what every image costs."""
        raise NotImplementedError(f"{type(self).__name__} must say what it makes of images")

    def facts(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Turn an account's rows, averaged over many images, into numbers for people."""
        nll, kl, mse = (means[name].item() for name in ("nll", "kl", "mse"))
        psnr = -10 * math.log10(max(mse, 1e-12))
        bits = self.bits_per_dim(means["nll"] + means["kl"])
        return {"nll": nll, "kl": kl, **{name: value.item() for name, value in bits.items()}, "mse": mse, "psnr": psnr}

    def whole_loss(self, means: Mapping[str, Tensor]) -> float:
        """Return what is minimised in the end, from an account's averaged rows; the perceptual term aside."""
        raise NotImplementedError(f"{type(self).__name__} must say what it minimises")

    # --- What follows from it ---

    def held_out(self, batch: Batch) -> Mapping[str, Tensor]:
        """Average the rows of an account."""
        rows = self.account(batch, AmbientNoise(batch.images.device)).rows
        return {name: row.mean(0) for name, row in rows.items()}

    def summarise(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Name the loss and the facts, as the log has them."""
        facts = {"loss": self.whole_loss(means), **self.facts(means)}
        del facts["psnr"]  # mse tells it
        return {f"{PHASE}/held_out_{name}": value for name, value in facts.items()}

    def preview(self, batch: Batch) -> Tensor:
        """Return the reconstructions [N, C, H, W] of a batch's images."""
        return self.account(batch, AmbientNoise(batch.images.device)).images

    def labels(self, batch: Batch) -> Tensor | None:
        """Return what the networks are told of the classes; `BadInput` where they need them and there are none."""
        if not self.num_classes:
            return None
        if batch.labels is None:
            raise BadInput(f"labels: this model is class conditional and needs a class below {self.num_classes}")
        return batch.labels

    def bits_per_dim(self, nats: Tensor) -> dict[str, Tensor]:
        """Nats of images -> {bits of each 8-bit number of them}; empty where the likelihood tells none."""
        level = self.likelihood.level_nats
        return {} if level is None else {"bits_per_dim": (nats / self.dimensions + level) / math.log(2)}

    def looks(self, numbers: Tensor, batch: Batch) -> Tensor:
        """Return the mean over rows of the perceptual term's loss, 0 without one."""
        if self.perceptual is None:
            return torch.zeros((), device=numbers.device)
        return self.perceptual(self.likelihood.mean(numbers), batch.images).mean()

    def nats(self, numbers: Tensor, batch: Batch) -> Tensor:
        """Return -ln p(image | numbers) of every image [N]."""
        return self.likelihood.nll(numbers, batch.images).flatten(1).sum(1)

    def squared_error(self, numbers: Tensor, batch: Batch) -> Tensor:
        """Return the mean squared error of every image [N], in units of images in [-1, 1]."""
        mean = self.likelihood.mean(numbers.detach())
        return (mean - batch.images).square().flatten(1).mean(1)


def fitting(network: nn.Module) -> Autoencoder:
    """Return a network as what it must be."""
    return cast("Autoencoder", network)
