"""A residual autoencoder whose code is a map of vectors, a small image: for codebooks, and for codes to diffuse."""

from pydantic import Field
from torch import Tensor, nn

from mezzotint.networks import Autoencoder, NetworkShape
from mezzotint.networks.blocks import conv3x3, glorot
from mezzotint.networks.coding import ResidualOptions, WayIn, WayOut, coding_blocks


class ResidualAutoencoderOptions(ResidualOptions):
    """Sizes of a residual autoencoder and of the vectors of its code."""

    code_channels: int = Field(default=32, ge=1, le=2048, description="numbers of a code at each of its positions")


class MapEncoder(nn.Module):
    """Images to a map of vectors."""

    def __init__(self, options: ResidualAutoencoderOptions, shape: NetworkShape) -> None:
        super().__init__()
        self.way_in = WayIn(options, shape)
        self.head = glorot(nn.Conv2d(options.widths()[-1], shape.encoded * options.code_channels, 1))

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Images [N, C, S, S], labels int64 [N] where it has classes -> [N, encoded * code_channels, s, s]."""
        return self.head(self.way_in(images, labels))


class MapDecoder(nn.Module):
    """A map of vectors to the numbers of an image."""

    def __init__(self, options: ResidualAutoencoderOptions, shape: NetworkShape) -> None:
        super().__init__()
        self.stem = glorot(conv3x3(options.code_channels, options.widths()[-1]))
        self.way_out = WayOut(options, shape)

    def forward(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Codes [N, code_channels, s, s], labels int64 [N] where it has classes -> [N, channels_out, S, S]."""
        return self.way_out(self.stem(codes), labels)


class ResidualAutoencoder(Autoencoder):
    """Residual blocks (He et al. 2016b) between an image and a map of vectors, half as wide with every level."""

    Options = ResidualAutoencoderOptions

    def __init__(self, options: ResidualAutoencoderOptions, shape: NetworkShape) -> None:
        super().__init__()
        side = options.side(shape.image_size)
        self.latent_shape = (options.code_channels, side, side)
        self.encoder, self.decoder = MapEncoder(options, shape), MapDecoder(options, shape)

    def blocks(self) -> list[nn.Module]:
        """Return the residual blocks."""
        return coding_blocks(self)
