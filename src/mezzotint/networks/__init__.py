"""Networks, tensors to tensors: what is built from options and a shape. Losses and noise schedules live elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.options import Options
from mezzotint.registry import Folder

NETWORKS = Folder("mezzotint.networks", "network")


@dataclass(frozen=True)
class NetworkShape:
    """What the data and the family demand of a network: channels, pixels per side, what it is told besides.

    `num_classes` 0: unconditional. `augmentation`: how many numbers tell it what was done to an image, 0 for none.
    """

    channels_in: int
    channels_out: int
    image_size: int
    num_classes: int = 0
    augmentation: int = 0


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


class AdversarialPair(Architecture):
    """Two networks that learn against each other: one draws images from latents, one tells them from real ones."""

    latent_shape: tuple[int, ...]
    generator_network: nn.Module
    critic: nn.Module


class Autoencoder(Architecture):
    """Two networks in a row: images to the numbers of a code, and a code to the numbers of an image."""

    encoder: nn.Module
    decoder: nn.Module
