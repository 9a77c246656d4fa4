"""A residual autoencoder whose code is one vector of the whole image."""

from pydantic import Field
from torch import Tensor, nn

from mezzotint.networks import Autoencoder, NetworkShape
from mezzotint.networks.coding import ResidualOptions, WayIn, WayOut, coding_blocks, with_class


class ResidualVAEOptions(ResidualOptions):
    """Sizes of a residual autoencoder and the length of its code."""

    latent: int = Field(default=128, ge=1, le=8192, description="numbers of a code")


class VectorEncoder(nn.Module):
    """Images to the numbers of a vector: residual blocks, one linear map."""

    def __init__(self, options: ResidualVAEOptions, shape: NetworkShape) -> None:
        super().__init__()
        self.num_classes = shape.num_classes
        flat = options.widths()[-1] * options.side(shape.image_size) ** 2
        self.way_in = WayIn(options, shape)
        self.head = nn.Linear(flat + shape.num_classes, shape.encoded * options.latent)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Images [N, C, S, S], labels int64 [N] where it has classes -> [N, encoded * latent]."""
        return self.head(with_class(self.way_in(images, labels).flatten(1), labels, self.num_classes))


class VectorDecoder(nn.Module):
    """A vector to the numbers of an image: one linear map, residual blocks."""

    def __init__(self, options: ResidualVAEOptions, shape: NetworkShape) -> None:
        super().__init__()
        self.num_classes, self.side = shape.num_classes, options.side(shape.image_size)
        self.stem = nn.Linear(options.latent + shape.num_classes, options.widths()[-1] * self.side**2)
        self.way_out = WayOut(options, shape)

    def forward(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Codes [N, latent], labels int64 [N] where it has classes -> [N, channels_out, S, S]."""
        h = self.stem(with_class(codes, labels, self.num_classes)).unflatten(1, (-1, self.side, self.side))
        return self.way_out(h, labels)


class ResidualVAE(Autoencoder):
    """Residual blocks (He et al. 2016b) between an image and a vector, told the class in every block."""

    Options = ResidualVAEOptions

    def __init__(self, options: ResidualVAEOptions, shape: NetworkShape) -> None:
        super().__init__()
        self.latent_shape = (options.latent,)
        self.encoder, self.decoder = VectorEncoder(options, shape), VectorDecoder(options, shape)

    def blocks(self) -> list[nn.Module]:
        """Return the residual blocks."""
        return coding_blocks(self)
