"""The VQ-VAE: codes from a learnt codebook. Alone it reconstructs; to draw it needs a prior over its codes."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn

from mezzotint.contracts import Batch, Codec, Generator, Loss, Noise, Phase
from mezzotint.errors import BadInput
from mezzotint.options import Options as OptionGroup
from mezzotint.seeds import AmbientNoise
from mezzotint.vae.autoencoding import PHASE, Account, AutoencoderOptions, Autoencoding, Trained, fitting
from mezzotint.vae.likelihood import Likelihood
from mezzotint.vae.quantizer import Codebook, perplexity


class VQVAEOptions(AutoencoderOptions):
    """What a VQ-VAE learns: likelihood and codebook."""

    codes: int = Field(default=512, ge=2, le=65_536, description="vectors in the codebook")
    commitment: float = Field(
        default=0.25, ge=0, description="factor on the mean squared distance of what is encoded to its code"
    )
    codebook_decay: float = Field(
        default=0.99, ge=0, lt=1, description="what the codebook's running means keep over one update"
    )
    restart_below: float = Field(
        default=0.1, ge=0, lt=1, description="part of an even share of use below which a code begins anew; 0: never"
    )


class VQVAESampling(OptionGroup):
    """Nothing to choose: it doesn't draw."""


class Quantised(Trained):
    """Encode, replace by the nearest codes, decode."""

    def forward(self, x: Tensor, labels: Tensor | None, codebook: Codebook) -> tuple[Tensor, Tensor, Tensor]:
        """Codec's codes x -> decoded numbers; what is encoded [N, positions, D] and its codes' indices.

        The gradient passes the codes as if they were what is encoded (van den Oord et al. 2017, sec. 3.2).
        """
        encoded = self.network.encoder(x, labels).float()
        rows = encoded.flatten(2).transpose(1, 2)
        indices = codebook.nearest(rows.flatten(0, 1)).reshape(rows.shape[:2])
        codes = codebook.vectors[indices].transpose(1, 2).reshape(encoded.shape)
        return self.network.decoder(encoded + (codes - encoded).detach(), labels), rows, indices


class VQVAE(Autoencoding):
    """-ln p(x | codes) + commitment |z - sg(code)|^2; codes are running means (van den Oord et al. 2017, eq. 3)."""

    draws = False
    Options = VQVAEOptions
    Sampling = VQVAESampling

    def __init__(
        self, network: nn.Module, options: VQVAEOptions, codec: Codec, shape: tuple[int, int, int], num_classes: int
    ) -> None:
        """Compose an autoencoder network, whose code is a map of vectors, with images of `shape` (C, H, W)."""
        super().__init__(options, codec, shape, num_classes)
        self.options = options
        self.model = Quantised(fitting(network), options.likelihood.build())
        width, *places = fitting(network).latent_shape
        if not places:
            raise BadInput("network: a code of one vector holds one entry of the codebook; choose residual-autoencoder")
        self.positions = math.prod(places)
        self.codebook = Codebook(options.codes, width, options.codebook_decay, options.restart_below)

    @property
    def likelihood(self) -> Likelihood:
        """How the decoder's numbers speak of images."""
        return self.model.likelihood

    def phases(self) -> list[Phase]:
        """One phase: both networks; the codebook follows in `finish`."""
        return [Phase(PHASE, self.model, self.loss, draw=self.draw)]

    @torch.no_grad()
    def draw(self, batch: Batch) -> Batch:
        """Put what the encoder reads into `batch.drawn`."""
        x = self.codec.encode(batch.images, AmbientNoise(batch.images.device)).float()
        return replace(batch, drawn={"x": x})

    def loss(self, batch: Batch) -> Loss:
        """Mean over a batch of nats per number of an image, plus the commitment."""
        drawn = batch.drawn or self.draw(batch).drawn
        numbers, rows, indices = self.model(drawn["x"], self.labels(batch), self.codebook)
        nll, looks = self.nats(numbers, batch), self.looks(numbers, batch)
        distance = (rows - self.codebook.vectors[indices]).square().mean()

        error = self.squared_error(numbers, batch)
        sums = {"squared_error": error.sum(), "rows": torch.ones_like(error).sum()}
        sums |= self.codebook.sums(rows.flatten(0, 1), indices.flatten())
        parts = {"nll": nll.mean(), "commitment": distance, **self.bits_per_dim(nll.mean() + self.rate())}
        parts |= self.codebook.statistics() | self.likelihood.parts()
        parts |= {"perceptual": looks} if self.perceptual is not None else {}
        value = nll.mean() / self.dimensions + self.options.commitment * distance + looks
        return Loss(value, {k: v.detach() for k, v in parts.items()}, sums)

    def rate(self) -> float:
        """Return the nats of an image's codes where all are equally probable (van den Oord et al. 2017, sec. 3.1)."""
        return self.positions * math.log(self.options.codes)

    def finish(self, update: int, sums: Mapping[str, Tensor]) -> None:
        """Move the codebook; let the likelihood adapt to the error."""
        mine = {name.removeprefix(f"{PHASE}/"): value for name, value in sums.items()}
        self.codebook.follow(mine)
        self.likelihood.adapt(mine["squared_error"] / mine["rows"], update)

    # --- Looking at it ---

    @torch.no_grad()
    def account(self, batch: Batch, noise: Noise) -> Account:
        """Reconstruct from codes; `kl` is what their indices take, `use` how often [N, K] each code stands there."""
        x = self.codec.encode(batch.images, noise).float()
        numbers, rows, indices = self.model(x, self.labels(batch), self.codebook)
        nll = self.nats(numbers, batch)
        use = nll.new_zeros(len(nll), self.options.codes)
        use.scatter_add_(1, indices, torch.full_like(indices, 1, dtype=use.dtype) / self.positions)
        distance = (rows - self.codebook.vectors[indices]).square().mean((1, 2))
        told = {"nll": nll, "kl": torch.full_like(nll, self.rate()), "commitment": distance, "use": use}
        told["mse"] = self.squared_error(numbers, batch) / 4
        return Account(self.likelihood.mean(numbers), told)

    def facts(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Add how many codes used evenly would be as uncertain, and the share of codes that stand anywhere."""
        use = means["use"]
        used = {"perplexity": perplexity(use).item(), "used_codes": (use > 0).double().mean().item()}
        return {**super().facts(means), "commitment": means["commitment"].item(), **used}

    def whole_loss(self, means: Mapping[str, Tensor]) -> float:
        """Return nats per number of an image, plus the commitment."""
        return (means["nll"] / self.dimensions + self.options.commitment * means["commitment"]).item()

    def generator(self, options: OptionGroup) -> Generator:
        """Refuse: nothing says which codes belong together."""
        raise BadInput(
            "a vq-vae draws nothing by itself: that takes a prior over its codes; `mezzotint reconstruct` shows what "
            "it makes of images"
        )
