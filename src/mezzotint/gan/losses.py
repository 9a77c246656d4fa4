"""What critic and generator minimise, from the critic's values of real and drawn images."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from mezzotint.options import Options
from mezzotint.registry import Table


class AdversarialLoss(Options):
    """A game of two: each side's loss from values on real and drawn images, float32 [N] each, to a scalar."""

    border: ClassVar[float | None] = 0.0
    """The value half way between real and drawn; None where only differences mean anything."""
    bounded: ClassVar[bool] = True
    """Whether it stays finite without a bound on the critic's slope."""
    compares: ClassVar[bool] = False
    """Whether the generator's loss depends on real images too."""

    def critic(self, real: Tensor, drawn: Tensor) -> Tensor:
        """Return what the critic minimises."""
        raise NotImplementedError(f"{type(self).__name__} must say what the critic minimises")

    def generator(self, real: Tensor, drawn: Tensor) -> Tensor:
        """Return what the generator minimises; `real` counts where the loss compares."""
        raise NotImplementedError(f"{type(self).__name__} must say what the generator minimises")


class NonSaturating(AdversarialLoss):
    """Cross-entropy; the generator maximises log D of what it draws (Goodfellow et al. 2014, sec. 3)."""

    def critic(self, real: Tensor, drawn: Tensor) -> Tensor:
        """Mean of -log sigmoid(real) - log(1 - sigmoid(drawn))."""
        return F.softplus(-real).mean() + F.softplus(drawn).mean()

    def generator(self, real: Tensor, drawn: Tensor) -> Tensor:
        """Mean of -log sigmoid(drawn)."""
        return F.softplus(-drawn).mean()


class LeastSquares(AdversarialLoss):
    """Squared distance from 1 for real and from 0 for drawn images (Mao et al. 2017, eq. 9)."""

    border: ClassVar[float | None] = 0.5

    def critic(self, real: Tensor, drawn: Tensor) -> Tensor:
        """Half the mean of (real - 1)^2 + drawn^2."""
        return 0.5 * ((real - 1).square().mean() + drawn.square().mean())

    def generator(self, real: Tensor, drawn: Tensor) -> Tensor:
        """Half the mean of (drawn - 1)^2."""
        return 0.5 * (drawn - 1).square().mean()


class Hinge(AdversarialLoss):
    """Values beyond 1 and below -1 are good enough for the critic (Lim & Ye 2017; Miyato et al. 2018, eqs. 16, 17)."""

    def critic(self, real: Tensor, drawn: Tensor) -> Tensor:
        """Mean of max(0, 1 - real) + max(0, 1 + drawn)."""
        return F.relu(1 - real).mean() + F.relu(1 + drawn).mean()

    def generator(self, real: Tensor, drawn: Tensor) -> Tensor:
        """Mean of -drawn."""
        return -drawn.mean()


class Wasserstein(AdversarialLoss):
    """Difference of means, for a critic whose slope is bounded (Arjovsky et al. 2017, eqs. 2, 3)."""

    border: ClassVar[float | None] = None
    bounded: ClassVar[bool] = False

    def critic(self, real: Tensor, drawn: Tensor) -> Tensor:
        """Mean of drawn - real."""
        return drawn.mean() - real.mean()

    def generator(self, real: Tensor, drawn: Tensor) -> Tensor:
        """Mean of -drawn."""
        return -drawn.mean()


class Relativistic(AdversarialLoss):
    """Cross-entropy of the difference between a real image and a drawn one, paired (Jolicoeur-Martineau 2019, eq. 7).

    Huang et al. 2024, eq. 2, train their baseline with it.
    """

    border: ClassVar[float | None] = None
    compares: ClassVar[bool] = True

    def critic(self, real: Tensor, drawn: Tensor) -> Tensor:
        """Mean of -log sigmoid(real - drawn)."""
        return F.softplus(drawn - real).mean()

    def generator(self, real: Tensor, drawn: Tensor) -> Tensor:
        """Mean of -log sigmoid(drawn - real)."""
        return F.softplus(real - drawn).mean()


LOSSES = Table(
    "loss",
    {
        "non-saturating": NonSaturating,
        "least-squares": LeastSquares,
        "hinge": Hinge,
        "wasserstein": Wasserstein,
        "relativistic": Relativistic,
    },
)
