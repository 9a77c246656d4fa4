"""DCGAN: plain convolutions of stride 2 up and down, batch norm, few dials (Radford et al. 2016)."""

from collections.abc import Callable
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from mezzotint.contracts import Noise
from mezzotint.networks import AdversarialPair, Critic, GeneratorNetwork, NetworkShape
from mezzotint.networks.pairs import ACTIVATIONS, Activation, LabelledLatent, Verdict, constraint, sides, widths
from mezzotint.options import Options

_MOST = 8
Norm = Literal["batch", "layer", "none"]
# Batch statistics always: drawing measures its own (`Gan.generator`), and a critic never judges one image alone.
NORMS: dict[Norm, Callable[[int], nn.Module]] = {
    "batch": lambda channels: nn.BatchNorm2d(channels, track_running_stats=False),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "none": lambda _: nn.Identity(),
}


class DCGANOptions(Options):
    """Sizes and activations of both networks."""

    ngf: int = Field(
        default=64, ge=1, le=1024, description="features of the generator's last layer; doubled per level, to 8 times"
    )
    ndf: int = Field(
        default=64, ge=1, le=1024, description="features of the critic's first layer; doubled per level, to 8 times"
    )
    latent: int = Field(default=100, ge=1, le=4096, description="numbers of a latent")
    activation: Activation = Field(default="relu", description="nonlinearity of the generator")
    critic_activation: Activation = Field(default="leaky-relu", description="nonlinearity of the critic")
    critic_norm: Norm = Field(
        default="batch", description="normalisation in the critic; batch excludes gradient penalties"
    )
    spectral_norm: bool = Field(
        default=False, description="whether the critic's weights are divided by their largest singular value"
    )


class _Generator(GeneratorNetwork):
    ends_in_tanh = True

    def __init__(self, options: DCGANOptions, shape: NetworkShape) -> None:
        super().__init__()
        self.latent = self.width = options.latent
        base, *rest = sides(shape.image_size)
        features = widths(options.ngf, len(rest), _MOST)
        self.labelled = LabelledLatent(options.latent, shape.num_classes)
        layers: list[nn.Module] = [nn.ConvTranspose2d(self.labelled.width, features[0], base, bias=False)]
        for i, width in enumerate(features):
            out = (*features, shape.channels_out)[i + 1]
            layers += [NORMS["batch"](width), ACTIVATIONS[options.activation]()]
            layers += [nn.ConvTranspose2d(width, out, 4, 2, 1, bias=i == len(features) - 1)]
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def draw(self, w: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        """Latents [N, D], labels int64 [N] if it has classes -> images [N, C, S, S] in [-1, 1]."""
        return self.layers(self.labelled(w, labels)[:, :, None, None])


class _Critic(Critic):
    def __init__(self, options: DCGANOptions, shape: NetworkShape) -> None:
        super().__init__()
        base, *rest = sides(shape.image_size)
        features = widths(options.ndf, len(rest), _MOST)[::-1]
        constrain = constraint(options.spectral_norm)
        layers: list[nn.Module] = []
        for i, width in enumerate(features):
            norm: Norm = options.critic_norm if i else "none"  # none on the first layer (Radford et al. 2016, sec. 3)
            before = features[i - 1] if i else shape.channels_in
            conv = nn.Conv2d(before, width, 4, 2, 1, bias=norm == "none")
            layers += [constrain(_drawn(conv)), _drawn(NORMS[norm](width)), ACTIVATIONS[options.critic_activation]()]
        self.layers = nn.Sequential(*layers)
        self.verdict = Verdict(features[-1], base, shape.num_classes, options.spectral_norm)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Images [N, C, S, S], labels int64 [N] if it has classes -> [N]."""
        return self.verdict(self.layers(images), labels)


def _drawn(layer: nn.Module) -> nn.Module:
    """Draw weights as N(0, 0.02), gains as N(1, 0.02), biases 0 (Radford et al. 2016, sec. 4)."""
    weight, bias = (getattr(layer, name, None) for name in ("weight", "bias"))
    if isinstance(weight, Tensor):
        nn.init.normal_(weight, 1.0 if weight.ndim == 1 else 0.0, 0.02)
    if isinstance(bias, Tensor):
        nn.init.zeros_(bias)
    return layer


class DCGAN(AdversarialPair):
    """The pair of Radford et al. 2016, sec. 3, at 8 to 256 px: 4 to 7 features per side, doubled up to the image."""

    Options = DCGANOptions

    def __init__(self, options: DCGANOptions, shape: NetworkShape) -> None:
        super().__init__()
        self.generator_network = _Generator(options, shape)
        for layer in self.generator_network.layers:
            _drawn(layer)
        self.critic = _Critic(options, shape)
