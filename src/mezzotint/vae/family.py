"""The variational autoencoder: a Gaussian code of every image, learnt with its decoder by one bound."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from mezzotint.contracts import Batch, Codec, Loss, Noise, Phase
from mezzotint.options import Count
from mezzotint.options import Options as OptionGroup
from mezzotint.seeds import AmbientNoise
from mezzotint.vae.autoencoding import PHASE, Account, AutoencoderOptions, Autoencoding, Trained, fitting
from mezzotint.vae.likelihood import Likelihood

_LOG_VARIANCES = (-30.0, 20.0)
ACTIVE = 0.01
"""Variance over images of a code's posterior mean, above which it is active (Burda et al. 2016, sec. 5.1.2)."""


class VAEOptions(AutoencoderOptions):
    """What a variational autoencoder learns: likelihood, and how much its code may tell."""

    encoded: ClassVar[int] = 2

    beta: float = Field(default=1.0, ge=0, description="factor on the divergence; 1 is the bound (Higgins et al. 2017)")
    warmup_images: Count = Field(
        default=0, ge=0, description="images over which that factor rises linearly from 0; 0: none"
    )
    free_bits: float = Field(
        default=0.0,
        ge=0,
        description="nats that each number of the code may tell at no cost (Kingma et al. 2016, eq. 15)",
    )


class VAESampling(OptionGroup):
    """How a trained autoencoder draws."""

    temperature: float = Field(default=1.0, ge=0, le=10, description="factor on the standard normal latent")
    noise: bool = Field(
        default=False, description="whether pixels are drawn from their likelihood; else its mean is shown"
    )


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) | N(0, 1)) of every number, in nats (Kingma & Welling 2014, App. B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


class Variational(Trained):
    """Encode, draw a code, decode."""

    def forward(self, x: Tensor, labels: Tensor | None, n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codec's codes x [N, C, H, W], unit noise n [N, *] -> decoded numbers; mean and log variance [N, *]."""
        mean, log_variance = self.posterior(x, labels)
        z = mean + (0.5 * log_variance).exp() * n
        return self.network.decoder(z, labels), mean, log_variance

    def posterior(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return mean and log variance [N, *latent_shape] of q(z | x)."""
        mean, log_variance = self.network.encoder(x, labels).float().chunk(2, dim=1)
        return mean, log_variance.clamp(*_LOG_VARIANCES)


class VAE(Autoencoding):
    """Nats of an image given its code, plus beta times the code's divergence (Kingma & Welling 2014, eq. 10)."""

    Options = VAEOptions
    Sampling = VAESampling
    information: Tensor  # nats that each number of the code told on average in the last update

    def __init__(
        self, network: nn.Module, options: VAEOptions, codec: Codec, shape: tuple[int, int, int], num_classes: int
    ) -> None:
        """Compose an autoencoder network with images of `shape` (C, H, W)."""
        super().__init__(options, codec, shape, num_classes)
        self.options = options
        self.model = Variational(fitting(network), options.likelihood.build())
        self.latent_shape = fitting(network).latent_shape
        self.register_buffer("information", torch.zeros(self.latent_shape))

    @property
    def likelihood(self) -> Likelihood:
        """How the decoder's numbers speak of images."""
        return self.model.likelihood

    def phases(self) -> list[Phase]:
        """One phase: both networks."""
        return [Phase(PHASE, self.model, self.loss, draw=self.draw)]

    @torch.no_grad()
    def draw(self, batch: Batch) -> Batch:
        """Put what the encoder reads and unit noise for the codes into `batch.drawn`."""
        x = self.codec.encode(batch.images, AmbientNoise(batch.images.device)).float()
        n = torch.randn(len(x), *self.latent_shape, device=x.device)
        return replace(batch, drawn={"x": x, "n": n})

    def beta(self, images_seen: int) -> float:
        """Return the factor on the divergence after so many images."""
        warmup = self.options.warmup_images
        return self.options.beta * (min(1.0, images_seen / warmup) if warmup else 1.0)

    def loss(self, batch: Batch) -> Loss:
        """Mean over a batch of nats per number of an image: -ln p(x | z) + beta KL(q(z | x) | p(z)).

        Which numbers of the code have their nats free is decided by what they told in the last update, so that the
        loss is a mean over rows.
        """
        drawn = batch.drawn or self.draw(batch).drawn
        numbers, mean, log_variance = self.model(drawn["x"], self.labels(batch), drawn["n"])
        nll, told, free = self.nats(numbers, batch), divergence(mean, log_variance), self.options.free_bits
        counted = torch.where(self.information > free, told, free) if free else told
        kl, beta = told.flatten(1).sum(1), self.beta(batch.images_seen)
        bound = nll.mean() + beta * counted.flatten(1).sum(1).mean()
        looks = self.looks(numbers, batch)

        error = self.squared_error(numbers, batch)
        sums = {"information": told.sum(0), "squared_error": error.sum(), "rows": torch.ones_like(error).sum()}
        parts = {"nll": nll.mean(), "kl": kl.mean(), **self.bits_per_dim((nll + kl).mean())}
        parts |= self.likelihood.parts()
        parts |= {"perceptual": looks} if self.perceptual is not None else {}
        parts |= {"beta": nll.new_tensor(beta)} if self.options.warmup_images else {}
        return Loss(bound / self.dimensions + looks, {k: v.detach() for k, v in parts.items()}, sums)

    def finish(self, update: int, sums: Mapping[str, Tensor]) -> None:
        """Note what each number of the code told; let the likelihood adapt to the error."""
        rows = sums[f"{PHASE}/rows"]
        self.information.copy_(sums[f"{PHASE}/information"] / rows)
        self.likelihood.adapt(sums[f"{PHASE}/squared_error"] / rows, update)

    # --- Looking at it ---

    @torch.no_grad()
    def account(self, batch: Batch, noise: Noise) -> Account:
        """Reconstruct from the posterior's mean; nll is that of one code drawn from it, as the bound wants."""
        x, labels = self.codec.encode(batch.images, noise).float(), self.labels(batch)
        n = noise.normal((len(x), *self.latent_shape))
        numbers, mean, log_variance = self.model(x, labels, n)
        shown = self.model.network.decoder(mean, labels)
        rows = {
            "nll": self.nats(numbers, batch),
            "kl": divergence(mean, log_variance).flatten(1).sum(1),
            "mse": self.squared_error(shown, batch) / 4,
            "mean": mean.flatten(1),
            "square": mean.flatten(1).square(),
        }
        return Account(self.likelihood.mean(shown), rows)

    def facts(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Add the active units: numbers of the code whose posterior mean varies over images; 0 is a collapse."""
        variance = means["square"] - means["mean"].square()
        return {**super().facts(means), "active_units": (variance > ACTIVE).sum().item()}

    def whole_loss(self, means: Mapping[str, Tensor]) -> float:
        """Return nats per number of an image, the divergence at its full factor and nothing free."""
        return (means["nll"] + self.options.beta * means["kl"]).item() / self.dimensions

    def generator(self, options: OptionGroup) -> "VAEGenerator":
        """Return what draws from the present weights."""
        if not isinstance(options, VAESampling):
            raise TypeError(f"an autoencoder draws under VAESampling, not {type(options).__name__}")
        return VAEGenerator(self, options, self.latent_shape, self.num_classes)


@dataclass
class VAEGenerator:
    """A standard normal latent, decoded."""

    family: VAE
    options: VAESampling
    latent_shape: tuple[int, ...]
    num_classes: int

    @torch.no_grad()
    def decode(self, latent: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        """Latent [N, *latent_shape], labels int64 [N] or None -> images [N, C, H, W]."""
        told = self.family.labels(Batch(latent, labels, None, 0, 0))
        model = self.family.model
        numbers = model.network.decoder(latent.float() * self.options.temperature, told)
        return model.likelihood.sample(numbers, noise) if self.options.noise else model.likelihood.mean(numbers)
