"""SNGAN: residual blocks up and down, the critic's weights divided by their spectral norm (Miyato et al. 2018)."""

from itertools import pairwise

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mezzotint.contracts import Noise
from mezzotint.networks import AdversarialPair, Critic, GeneratorNetwork, NetworkShape
from mezzotint.networks.blocks import conv3x3, glorot
from mezzotint.networks.pairs import LabelledLatent, Verdict, constraint, sides, widths
from mezzotint.options import Options

_MOST = 4


class SNGANOptions(Options):
    """Sizes of both networks."""

    ngf: int = Field(
        default=64, ge=1, le=1024, description="generator's features at full size; doubled per level, to 4 times"
    )
    ndf: int = Field(
        default=64, ge=1, le=1024, description="critic's features at full size; doubled per level, to 4 times"
    )
    latent: int = Field(default=128, ge=1, le=4096, description="numbers of a latent")
    spectral_norm: bool = Field(
        default=True, description="whether the critic's weights are divided by their largest singular value"
    )


class Up(nn.Module):
    """Batch norm, ReLU, doubling, convolution, twice, beside a doubled 1x1 shortcut (Miyato et al. 2018, fig. 8)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels_in, track_running_stats=False)  # see networks/dcgan.py
        self.conv1 = glorot(conv3x3(channels_in, channels_out))
        self.norm2 = nn.BatchNorm2d(channels_out, track_running_stats=False)
        self.conv2 = glorot(conv3x3(channels_out, channels_out))
        self.shortcut = glorot(nn.Conv2d(channels_in, channels_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, C, S, S] -> [N, channels_out, 2 S, 2 S]."""
        h = self.conv1(_doubled(F.relu(self.norm1(x))))
        h = self.conv2(F.relu(self.norm2(h)))
        return h + _doubled(self.shortcut(x))  # 1x1 and repeating pixels commute; so it is a quarter of the work


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class Down(nn.Module):
    """ReLU, convolution, twice, beside a 1x1 shortcut; both averaged over 2x2 where the block halves.

    The first block of a critic leaves the images themselves without ReLU.
    """

    def __init__(self, channels_in: int, channels_out: int, *, spectral: bool, first: bool, halves: bool) -> None:
        super().__init__()
        self.first, self.halves = first, halves
        constrain = constraint(spectral)
        self.conv1 = constrain(glorot(conv3x3(channels_in, channels_out)))
        self.conv2 = constrain(glorot(conv3x3(channels_out, channels_out)))
        learned = halves or channels_in != channels_out
        self.shortcut = constrain(glorot(nn.Conv2d(channels_in, channels_out, 1))) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, C, S, S] -> [N, channels_out, S/2, S/2], or S where it doesn't halve."""
        h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if not self.halves:
            return h + self.shortcut(x)
        return F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))


class _Generator(GeneratorNetwork):
    ends_in_tanh = True

    def __init__(self, options: SNGANOptions, shape: NetworkShape) -> None:
        super().__init__()
        self.latent = self.width = options.latent
        base, *rest = sides(shape.image_size)
        features = widths(options.ngf, len(rest) + 1, _MOST)
        self.start = (features[0], base, base)
        self.labelled = LabelledLatent(options.latent, shape.num_classes)
        self.linear = glorot(nn.Linear(self.labelled.width, features[0] * base**2))
        self.ups = nn.Sequential(*(Up(*pair) for pair in pairwise(features)))
        self.norm = nn.BatchNorm2d(features[-1], track_running_stats=False)
        self.conv_out = glorot(conv3x3(features[-1], shape.channels_out))

    def draw(self, w: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        """Latents [N, D], labels int64 [N] if it has classes -> images [N, C, S, S] in [-1, 1]."""
        h = self.ups(self.linear(self.labelled(w, labels)).unflatten(1, self.start))
        return self.conv_out(F.relu(self.norm(h))).tanh()


class _Critic(Critic):
    def __init__(self, options: SNGANOptions, shape: NetworkShape) -> None:
        super().__init__()
        features = [shape.channels_in, *widths(options.ndf, len(sides(shape.image_size)) - 1, _MOST)[::-1]]
        halving = [
            Down(*pair, spectral=options.spectral_norm, first=i == 0, halves=True)
            for i, pair in enumerate(pairwise(features))
        ]
        last = Down(features[-1], features[-1], spectral=options.spectral_norm, first=False, halves=False)
        self.downs = nn.Sequential(*halving, last)
        self.verdict = Verdict(features[-1], 1, shape.num_classes, options.spectral_norm)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Images [N, C, S, S], labels int64 [N] if it has classes -> [N]."""
        h = F.relu(self.downs(images)).sum((2, 3), keepdim=True)
        return self.verdict(h, labels)


class SNGAN(AdversarialPair):
    """The residual pair of Miyato et al. 2018, appendix B.4, at 8 to 256 px."""

    Options = SNGANOptions

    def __init__(self, options: SNGANOptions, shape: NetworkShape) -> None:
        super().__init__()
        self.generator_network = _Generator(options, shape)
        self.critic = _Critic(options, shape)
