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


class Network(nn.Module):
    """A noise-conditioned network F(x; level), built as `Part(options, shape)` from its own `Part.Options`."""

    Options: type[Options]

    def blocks(self) -> Sequence[nn.Module]:
        """Return the parts that gradient checkpointing computes again, each a function of tensors; none by default."""
        return ()

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Noisy codes [N, channels_in, S, S], noise level [N] -> raw output [N, channels_out, S, S]."""
        raise NotImplementedError(f"{type(self).__name__} must say what it computes")
