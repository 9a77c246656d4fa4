"""Which noise levels training draws, and how often: as the schedule says, or more where the loss is large."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from mezzotint.diffusion.schedules import Schedule
from mezzotint.options import Options
from mezzotint.registry import Table


class Drawing(nn.Module):
    """Draws sigma for a loss, and averages that loss so that its mean is the schedule's own."""

    def draw(self, count: int, schedule: Schedule, device: torch.device) -> dict[str, Tensor]:
        """Return what was drawn for `count` rows: `sigma` [count], and whatever `mean` and `sums` need of it."""
        return {"sigma": schedule.draw(count, device)}

    def mean(self, rows: Tensor, drawn: Mapping[str, Tensor]) -> Tensor:
        """Losses of rows [N] -> their expected value under the schedule's own distribution, a scalar."""
        return rows.mean()

    def sums(self, rows: Tensor, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses of rows [N], detached -> what `finish` learns from once it is added over all rows of an update."""
        return {}

    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Adapt after an update."""


class Importance(Options):
    """How training chooses its noise levels."""

    def drawing(self) -> Drawing:
        """Return what draws, knowing nothing yet."""
        return Drawing()


class Unweighted(Importance):
    """As the training schedule distributes them."""


class LossSecondMoment(Importance):
    """In proportion to the root of the loss's second moment (Nichol & Dhariwal 2021, eq. 18), weighted back.

    The range of u is cut into equal bins; each keeps its last few updates. Until all have as many, and for a small part
    after, levels are drawn as the schedule distributes them.
    """

    bins: int = Field(default=64, ge=2, le=10_000, description="equal parts of u that are told apart")
    history: int = Field(default=10, ge=1, le=1000, description="updates that a bin remembers")
    uniform: float = Field(default=0.001, gt=0, le=1, description="part of the levels still drawn as scheduled")

    def drawing(self) -> "ByLoss":
        """Return what draws by its history."""
        return ByLoss(self.bins, self.history, self.uniform)


class ByLoss(Drawing):
    """Draws bins of u by what their losses were; the history is a buffer."""

    moments: Tensor
    updates: Tensor

    def __init__(self, bins: int, history: int, uniform: float) -> None:
        """Begin without history."""
        super().__init__()
        self.uniform = uniform
        self.register_buffer("moments", torch.zeros(bins, history))
        self.register_buffer("updates", torch.zeros(bins, dtype=torch.int64))

    def shares(self) -> Tensor:
        """Return the probability of each bin, float64 [bins]."""
        bins, history = self.moments.shape
        even = torch.full_like(self.updates, 1, dtype=torch.float64) / bins
        roots = self.moments.to(torch.float64).mean(1).sqrt() + 1e-30
        known = (self.updates >= history).all()
        return torch.where(known, (1 - self.uniform) * roots / roots.sum() + self.uniform * even, even)

    def draw(self, count: int, schedule: Schedule, device: torch.device) -> dict[str, Tensor]:
        """Draw stratified: one from each of `count` equal parts of the distribution; `importance` is its weight."""
        places = (torch.arange(count, dtype=torch.float64) + torch.rand(count, dtype=torch.float64)) / count
        shares = self.shares().to(places.device)
        ends = shares.cumsum(0)
        chosen = torch.searchsorted(ends, places, right=True).clamp_max(len(shares) - 1)
        within = 1 - (ends[chosen] - places) / shares[chosen]
        sigma = schedule.sigma(((chosen + within) / len(shares)).clamp(0, 1))
        weight = 1 / (len(shares) * shares[chosen])
        return {
            "sigma": sigma.to(device, torch.float32),
            "bin": chosen.to(device),
            "importance": weight.to(device, torch.float32),
        }

    def mean(self, rows: Tensor, drawn: Mapping[str, Tensor]) -> Tensor:
        """Weigh each row by how much rarer the schedule would have drawn it."""
        return (drawn["importance"] * rows).mean()

    def sums(self, rows: Tensor, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sum squared losses and count rows, bin by bin [bins]; by products, whose order of addition is fixed."""
        inside = (drawn["bin"][:, None] == torch.arange(len(self.updates), device=rows.device)).float()
        return {"squares": (inside * rows[:, None].float() ** 2).sum(0), "rows": inside.sum(0)}

    @torch.no_grad()
    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Let every bin that was drawn remember this update's mean square, and forget its oldest."""
        drawn = sums["rows"] > 0
        mean = sums["squares"] / sums["rows"].clamp_min(1)
        moved = torch.cat([self.moments[:, 1:], mean[:, None]], 1)
        self.moments.copy_(torch.where(drawn[:, None], moved, self.moments))
        self.updates.add_(drawn)


IMPORTANCES = Table("importance", {"none": Unweighted, "loss-second-moment": LossSecondMoment})
