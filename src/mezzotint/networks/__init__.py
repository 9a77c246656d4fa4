"""Networks, tensors to tensors: what is built from options and a shape. Losses and noise schedules live elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from mezzotint.contracts import Condition, Noise
from mezzotint.options import Options
from mezzotint.registry import Folder

NETWORKS = Folder("mezzotint.networks", "network")


@dataclass(frozen=True)
class NetworkShape:
    """What the data and the family demand of a network: channels, pixels per side, what it is told besides.

    `num_classes` 0: unconditional; a null class, which stands for none, is counted. `augmentation`: how many numbers
    tell it what was done to an image, 0 for none.
    `encoded`: how many numbers an encoder gives for each number of a code, 2 for a mean and a log variance.
    """

    channels_in: int
    channels_out: int
    image_size: int
    num_classes: int = 0
    augmentation: int = 0
    encoded: int = 1


class Architecture(nn.Module):
    """What a recipe's `network` names, built as `Part(options, shape)` from its own `Part.Options`."""

    Options: type[Options]

    def blocks(self) -> Sequence[nn.Module]:
        """Return the parts that gradient checkpointing computes again, each a function of tensors; none by default."""
        return ()


class Network(Architecture):
    """A noise-conditioned network F(x; level)."""

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Noisy codes [N, channels_in, S, S], noise level [N] -> raw output [N, channels_out, S, S]."""
        raise NotImplementedError(f"{type(self).__name__} must say what it computes")


class GeneratorNetwork(nn.Module):
    """Draws images from latents in two steps: `w = map(latent)`, then `draw(w)`; without a mapping, w is the latent."""

    maps: ClassVar[bool] = False
    ends_in_tanh: ClassVar[bool] = False
    """Whether it draws nothing beyond -1 and 1."""
    latent: int
    """Numbers of a latent."""
    width: int
    """Numbers of w."""

    def map(self, latent: Tensor, labels: Tensor | None) -> Tensor:
        """Latent [N, latent], labels int64 [N] if it has classes -> w [N, width]."""
        return latent

    def mixed(self, latent: Tensor, labels: Tensor | None) -> Tensor:
        """Return w as training draws from it, [N, width] or one w for every layer [N, layers, width]."""
        return self.map(latent, labels)

    def draw(self, w: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        """Return images [N, C, S, S] of w [N, width] or [N, layers, width]; what else it draws comes from `noise`."""
        raise NotImplementedError(f"{type(self).__name__} must say how it draws")

    def forward(self, latent: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        """Latent [N, latent], labels int64 [N] if it has classes -> images [N, C, S, S]."""
        return self.draw(self.map(latent, labels), labels, noise)


class Critic(nn.Module):
    """Tells real images from drawn ones: a number for each, the larger the more real.

    Where its weights are divided by their largest singular value, that is followed by `follow_weights`, once after
    every update, and never in a forward pass: so it does not depend on chunks and processes.
    """

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything but spectral norm, whose own training mode iterates in every forward pass."""
        super().train(mode)
        for part in self._spectral():
            part.parametrizations.weight.eval()
        return self

    def follow_weights(self) -> None:
        """Move the estimates of the largest singular values by one power iteration (Miyato et al. 2018, alg. 1)."""
        for part in self._spectral():
            part.parametrizations.weight.train()
            part.weight  # noqa: B018  (reading it in training mode iterates)
            part.parametrizations.weight.eval()

    @property
    def is_spectral(self) -> bool:
        """Whether any weight is divided by its largest singular value."""
        return bool(self._spectral())

    @property
    def normalises(self) -> bool:
        """Whether a layer divides what it sees by its deviation, which undoes any bound on the weights."""
        norms = (nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)
        return any(isinstance(part, norms) for part in self.modules())

    def _spectral(self) -> list[Any]:
        return [part for part in self.modules() if is_parametrized(part, "weight")]

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Images [N, C, S, S], labels int64 [N] if it has classes -> [N]."""
        raise NotImplementedError(f"{type(self).__name__} must say what it computes")


class AdversarialPair(Architecture):
    """Two networks that learn against each other: one draws images from latents, one tells them from real ones."""

    generator_network: GeneratorNetwork
    critic: Critic

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one image's latent."""
        return (self.generator_network.latent,)


class Autoencoder(Architecture):
    """Two networks in a row: images to the numbers of a code, and a code to the numbers of an image.

    `encoder(images [N, channels_in, S, S], labels)` -> [N, encoded * C, ...] for codes [N, C, ...] of `latent_shape`;
    `decoder(codes, labels)` -> [N, channels_out, S, S]. Labels are int64 [N], None for a shape without classes.
    """

    latent_shape: tuple[int, ...]
    encoder: nn.Module
    decoder: nn.Module
