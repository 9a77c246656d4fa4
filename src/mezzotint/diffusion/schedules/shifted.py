"""Any schedule with all its noise multiplied, for larger images (Hoogeboom et al. 2023; Esser et al. 2024)."""

from typing import Annotated, Self

from pydantic import Field, model_validator
from torch import Tensor

from mezzotint.diffusion.schedules import SCHEDULES, SIGMA_LIMIT, Schedule, Spacing
from mezzotint.diffusion.schedules.cosine import Cosine
from mezzotint.errors import BadInput
from mezzotint.options import Choice


class Shifted(Schedule):
    """sigma' = by * sigma(u): log-SNR falls by 2 ln by (Hoogeboom et al. 2023, sec. 3.1; Esser et al. 2024, eq. 23).

    Neighbouring pixels of a larger image agree, so noise hides less of it: `by` is its size over the
    size that the inner schedule suits.
    """

    by: float = Field(default=2.0, gt=0, le=64, description="what every sigma is multiplied by: image size over usual")
    schedule: Annotated[Schedule, Choice(SCHEDULES)] = Field(
        default=Cosine(), description="the schedule that is shifted"
    )

    @model_validator(mode="after")
    def _finite(self) -> Self:
        if self.bounds()[1] > SIGMA_LIMIT:
            highest = f"{self.bounds()[1]:g}, over {SIGMA_LIMIT:g}"
            raise BadInput(f"by: sigma_max would be {highest}; choose less or end the schedule lower")
        return self

    def bounds(self) -> tuple[float, float]:
        """Both of the inner schedule's ends, shifted."""
        low, high = self.schedule.bounds()
        return low * self.by, high * self.by

    def within(self, other: Schedule) -> Schedule:
        """Leave to the inner schedule a range that is the other's once shifted."""
        return self.but(schedule=self.schedule.within(Shifted(by=1 / self.by, schedule=other)))

    def sigma(self, u: Tensor) -> Tensor:
        """The inner schedule's, shifted."""
        return self.schedule.sigma(u) * self.by

    def u(self, sigma: Tensor) -> Tensor:
        """Where the inner schedule has what was shifted to sigma."""
        return self.schedule.u(sigma / self.by)

    def last_timestep(self) -> int:
        """The inner schedule's."""
        return self.schedule.last_timestep()

    def alpha(self, sigma: Tensor) -> Tensor:
        """Of the inner schedule's process, at sigma."""
        return self.schedule.alpha(sigma)

    def start_scale(self, sigma: float) -> float:
        """Of the inner schedule's process, at sigma."""
        return self.schedule.start_scale(sigma)

    def grid(self, steps: int, spacing: Spacing = "linspace") -> Tensor:
        """The inner schedule's points, shifted."""
        return self.schedule.grid(steps, spacing) * self.by
