"""What `bench` measured, in words."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mezzotint.runs.measured import Measured


def lines(precision: str, found: "Measured") -> Iterator[str]:
    """Yield the lines that tell one machine's speed."""
    for name, gflops in found.convolution_gflops.items():
        yield f"convolutions   {gflops:,.0f} GFLOP/s alone in {name}, forward and backward"
    yield (
        f"updates        {found.update_images_per_second:,.1f} images/s in {precision}, batch {found.batch_size}: "
        f"{found.update_gflops:,.0f} GFLOP/s"
    )
    yield f"roofline       {found.roofline_fraction:.0%} of an update's time is what its convolutions need alone"
    yield f"drawing        {found.evaluations_per_second:,.1f} denoiser evaluations/s"
    if found.compiled:
        yield f"compiled       updates {found.compiled.gain:.2f} times as fast, after {found.compiled.seconds:.0f} s"
    yield f"measured       {found.date}"
