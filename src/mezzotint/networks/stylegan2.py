"""StyleGAN2: a mapping network, modulated convolutions, noise, a residual critic (after Karras et al. 2020)."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mezzotint.contracts import Noise
from mezzotint.networks import AdversarialPair, Critic, GeneratorNetwork, NetworkShape
from mezzotint.networks.pairs import LabelledLatent, Verdict, sides, widths
from mezzotint.networks.resampling import SmoothDouble, SmoothHalve
from mezzotint.options import Options

_MOST = 4
_SLOPE = 0.2
_GROUP = 4  # images whose deviation the critic sees together
_TINY = 1e-8


class StyleGAN2Options(Options):
    """Sizes of both networks, and how often training mixes two styles."""

    ngf: int = Field(
        default=32, ge=1, le=1024, description="generator's features at full size; doubled per level, to 4 times"
    )
    ndf: int = Field(
        default=32, ge=1, le=1024, description="critic's features at full size; doubled per level, to 4 times"
    )
    latent: int = Field(default=128, ge=1, le=4096, description="numbers of a latent")
    style: int = Field(default=128, ge=1, le=4096, description="numbers of w, from which every layer takes its style")
    mapping: int = Field(default=4, ge=1, le=16, description="layers from a latent to w")
    mapping_rate: float = Field(
        default=0.01, gt=0.0, le=1.0, description="learning rate of the mapping, times the generator's"
    )
    mixing: float = Field(
        default=0.9, ge=0.0, le=1.0, description="probability that training draws an image from two w"
    )


# --- Equalised rates: weights of unit variance, scaled when used (Karras et al. 2018, sec. 4.1) --------------------


class EqualLinear(nn.Module):
    """x W^T / sqrt(fan_in) + b; `rate` scales the steps of W and b, `bias` is what b starts at."""

    def __init__(self, width_in: int, width_out: int, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width_out, width_in) / rate)
        self.bias = nn.Parameter(torch.full((width_out,), bias / rate))
        self.scale, self.rate = rate / math.sqrt(width_in), rate

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, width_in] -> [N, width_out]."""
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


class EqualConv(nn.Module):
    """A convolution that keeps the size, its weight scaled by 1 / sqrt(fan_in)."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels_out)) if bias else None
        self.scale, self.padding = 1 / math.sqrt(channels_in * kernel**2), kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, C, S, S] -> [N, channels_out, S, S]."""
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class EqualEmbedding(nn.Module):
    """A vector for each class, over the root of its length: products with unit features have unit variance."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_classes, width))
        self.scale = 1 / math.sqrt(width)

    def forward(self, labels: Tensor) -> Tensor:
        """Labels int64 [N] -> [N, width]."""
        return F.embedding(labels, self.weight) * self.scale


def activated(x: Tensor) -> Tensor:
    """Leaky ReLU, times sqrt 2 to keep the variance."""
    return F.leaky_relu(x, _SLOPE) * math.sqrt(2)


# --- Generator -----------------------------------------------------------------------------------------------------


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """Weight [O, C, K, K], style [N, C] -> [N, O]: one over the norm of every modulated filter (eq. 3)."""
    return (style.square() @ weight.square().sum((2, 3)).T + _TINY).rsqrt()


class Modulated(nn.Module):
    """A convolution whose input channels are scaled by a style, its filters then to unit norm (eqs. 1 and 3).

    Scaling the features before and after is the same as scaling every image's own weights, and cheaper.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, style: int, demodulate: bool = True) -> None:
        super().__init__()
        self.conv = EqualConv(channels_in, channels_out, kernel, bias=False)
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.affine = EqualLinear(style, channels_in, bias=1.0)
        self.demodulate = demodulate

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Features [N, C, S, S], w [N, style] -> [N, channels_out, S, S]."""
        style = self.affine(w).float()
        h = self.conv(x * style[:, :, None, None].to(x.dtype))
        if self.demodulate:
            h = h * demodulation(self.conv.weight * self.conv.scale, style)[:, :, None, None].to(h.dtype)
        return h + self.bias[:, None, None]


class Styled(nn.Module):
    """A modulated 3x3 convolution, noise of a learned strength, leaky ReLU."""

    def __init__(self, channels_in: int, channels_out: int, style: int) -> None:
        super().__init__()
        self.modulated = Modulated(channels_in, channels_out, 3, style)
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        """Features [N, C, S, S], w [N, style] -> [N, channels_out, S, S]."""
        h = self.modulated(x, w)
        drawn = noise.normal((len(h), 1, *h.shape[2:]))
        return activated(h + self.strength * drawn)


class _Generator(GeneratorNetwork):
    maps = True

    def __init__(self, options: StyleGAN2Options, shape: NetworkShape) -> None:
        super().__init__()
        self.latent, self.width, self.mixing = options.latent, options.style, options.mixing
        found = sides(shape.image_size)
        features = widths(options.ngf, len(found), _MOST)
        self.labelled = LabelledLatent(options.latent, shape.num_classes)
        widths_in = [self.labelled.width, *[options.style] * (options.mapping - 1)]
        self.mapping = nn.ModuleList(EqualLinear(n, options.style, options.mapping_rate) for n in widths_in)
        self.constant = nn.Parameter(torch.randn(features[0], found[0], found[0]))
        pairs = [(features[0], features[0])]
        for before, after in pairwise(features):
            pairs += [(before, after), (after, after)]
        self.styled = nn.ModuleList(Styled(*pair, options.style) for pair in pairs)
        self.enlarge = SmoothDouble()
        self.to_image = nn.ModuleList(
            Modulated(width, shape.channels_out, 1, options.style, demodulate=False) for width in features
        )

    def map(self, latent: Tensor, labels: Tensor | None) -> Tensor:
        """Latent [N, latent], labels int64 [N] if it has classes -> w [N, style]."""
        h = self.labelled(_unit(latent), labels)
        for layer in self.mapping:
            h = activated(layer(h))
        return h

    def mixed(self, latent: Tensor, labels: Tensor | None) -> Tensor:
        """Return w for every layer [N, layers, style]; at random, those from some layer on come from a second latent.

        Karras et al. 2019, sec. 3.1. The first layer's always comes from the latent given.
        """
        count, layers = len(latent), len(self.styled)
        w, second = self.map(latent, labels), self.map(torch.randn_like(latent), labels)
        cut = torch.randint(1, layers, (count, 1), device=latent.device)
        mixes = torch.rand(count, 1, device=latent.device) < self.mixing
        late = (torch.arange(layers, device=latent.device) >= cut) & mixes
        return torch.where(late[:, :, None], second[:, None], w[:, None])

    def draw(self, w: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        """Return images [N, C, S, S] of w [N, style], or of one for every layer [N, layers, style]."""
        ws = w.expand(len(self.styled), *w.shape) if w.ndim == 2 else w.unbind(1)
        h = self.constant.expand(len(w), *self.constant.shape)
        h = self.styled[0](h, ws[0], noise)
        image = self.to_image[0](h, ws[0])
        for level, i in enumerate(range(1, len(self.styled), 2), 1):
            h = self.styled[i](self.enlarge(h), ws[i], noise)
            h = self.styled[i + 1](h, ws[i + 1], noise)
            image = self.enlarge(image) + self.to_image[level](h, ws[i + 1])
        return image


def _unit(latent: Tensor) -> Tensor:
    """Scale latents [N, D] to a mean square of 1 (Karras et al. 2018, sec. 4.2)."""
    return latent * (latent.square().mean(1, keepdim=True) + _TINY).rsqrt()


# --- Critic --------------------------------------------------------------------------------------------------------


class Down(nn.Module):
    """Two 3x3 convolutions, halving, beside a halved 1x1 shortcut, over sqrt 2 (Karras et al. 2020, fig. 7c)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = EqualConv(channels_in, channels_in, 3)
        self.conv2 = EqualConv(channels_in, channels_out, 3)
        self.shortcut = EqualConv(channels_in, channels_out, 1, bias=False)
        self.reduce = SmoothHalve()

    def forward(self, x: Tensor) -> Tensor:
        """Features [N, C, S, S] -> [N, channels_out, S/2, S/2]."""
        h = activated(self.conv2(self.reduce(activated(self.conv1(x)))))
        return (h + self.shortcut(self.reduce(x))) / math.sqrt(2)


def with_deviation(h: Tensor) -> Tensor:
    """Features [N, C, S, S] -> [N, C + 1, S, S]: the mean deviation within groups of at most four images is added.

    Karras et al. 2018, sec. 3: so that a critic sees how varied a batch is. The groups are the largest that divide N.
    """
    group = next(size for size in range(_GROUP, 0, -1) if len(h) % size == 0)
    y = h.float().unflatten(0, (group, -1))
    deviation = (y.var(0, unbiased=False) + _TINY).sqrt().mean((1, 2, 3))  # [N / group]
    column = deviation.repeat(group)[:, None, None, None].expand(-1, 1, *h.shape[2:])
    return torch.cat([h, column.to(h.dtype)], dim=1)


class _Critic(Critic):
    def __init__(self, options: StyleGAN2Options, shape: NetworkShape) -> None:
        super().__init__()
        base, *rest = sides(shape.image_size)
        features = widths(options.ndf, len(rest) + 1, _MOST)[::-1]
        self.conv_in = EqualConv(shape.channels_in, features[0], 1)
        self.downs = nn.Sequential(*(Down(*pair) for pair in pairwise(features)))
        self.conv_out = EqualConv(features[-1] + 1, features[-1], 3)
        self.linear = EqualLinear(features[-1] * base**2, features[-1])
        self.verdict = Verdict(features[-1], 1, shape.num_classes, linear=EqualLinear, embedding=EqualEmbedding)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Images [N, C, S, S], labels int64 [N] if it has classes -> [N]."""
        h = with_deviation(self.downs(activated(self.conv_in(images))))
        h = activated(self.linear(activated(self.conv_out(h)).flatten(1)))
        return self.verdict(h[:, :, None, None], labels)


class StyleGAN2(AdversarialPair):
    """A small pair in the manner of Karras et al. 2020, sec. 2 to 4, in plain PyTorch, at 8 to 256 px."""

    Options = StyleGAN2Options

    def __init__(self, options: StyleGAN2Options, shape: NetworkShape) -> None:
        super().__init__()
        self.generator_network = _Generator(options, shape)
        self.critic = _Critic(options, shape)
