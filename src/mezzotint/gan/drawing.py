"""How a trained generator draws: truncation, and batch statistics measured anew for the weights at hand."""

import copy
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateImportUsage]

from mezzotint.contracts import Codec, Noise
from mezzotint.networks import GeneratorNetwork
from mezzotint.options import Options
from mezzotint.seeds import SeededNoise

_BATCHES, _ROWS = 4, 64  # from which batch statistics are measured


class GanSampling(Options):
    """How a trained generator draws."""

    truncation: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="psi: how far w (without a mapping, the latent) stands from its mean, times what was drawn",
    )


def normalising(network: nn.Module) -> list[_BatchNorm]:
    """Return the parts of a network that normalise by batch statistics."""
    return [part for part in network.modules() if isinstance(part, _BatchNorm)]


@dataclass
class GanGenerator:
    """One pass from a latent to an image, under the weights that the family had when this was made.

    Batch norm draws with statistics of its own weights, measured from 256 fixed latents when it first draws, so an
    image depends on its latent alone, and averaged weights don't draw with the statistics of the others.
    """

    network: GeneratorNetwork
    codec: Codec
    mean_w: Tensor
    truncation: float
    num_classes: int
    settled: bool = False

    @classmethod
    def of(
        cls, network: GeneratorNetwork, codec: Codec, mean_w: Tensor, options: GanSampling, num_classes: int
    ) -> "GanGenerator":
        """Return what draws with a network; one with batch norm is copied, for its statistics."""
        norms = bool(normalising(network))
        own = copy.deepcopy(network) if norms else network
        return cls(own, codec, mean_w, options.truncation, num_classes, settled=not norms)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one image's latent."""
        return (self.network.latent,)

    @torch.no_grad()
    def decode(self, latent: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        """Latent [N, *latent_shape], labels int64 [N] or None -> images [N, C, H, W]."""
        if not self.settled:
            self._settle(latent.device)
        w = self.network.map(latent.float(), labels)
        w = torch.lerp(self.mean_w.to(w.dtype), w, self.truncation)
        return self.codec.decode(self.network.draw(w, labels, noise).float())

    def _settle(self, device: torch.device) -> None:
        """Measure batch statistics of the present weights, as means over batches of fixed latents."""
        for norm in normalising(self.network):
            norm.track_running_stats, norm.momentum = True, None
            norm.running_mean = torch.zeros(norm.num_features, device=device)
            norm.running_var = torch.ones(norm.num_features, device=device)
            norm.num_batches_tracked = torch.tensor(0, device=device)
        self.network.train()
        for batch in range(_BATCHES):
            seeds = range(batch * _ROWS, (batch + 1) * _ROWS)
            noise = SeededNoise(seeds, device)
            labels = torch.tensor(seeds, device=device) % self.num_classes if self.num_classes else None
            self.network(noise.normal((_ROWS, self.network.latent)), labels, noise)
        self.network.eval()
        self.settled = True
