"""Known GPUs: makers' figures and usual rents, to say what a training would cost there. Not verified here."""

from dataclasses import dataclass

PRICES_OF = "2025-06"
_USED_HALF, _USED_FLOAT32 = 0.25, 0.35  # of the peak, typical of convolutional networks at 32 to 64 px


@dataclass(frozen=True, slots=True)
class Gpu:
    """Peak dense TFLOP/s by number type, memory in GiB, and a usual rent in USD per hour at `PRICES_OF`.

    `half` is the type that training chooses there: bfloat16, before Ampere float16.
    """

    name: str
    half: float
    float32: float
    memory_gib: int
    dollars_per_hour: float

    def seconds(self, operations: float) -> float:
        """Return the time of so many operations at the usual part of the faster number type's peak."""
        return operations / (1e12 * max(self.half * _USED_HALF, self.float32 * _USED_FLOAT32))

    def dollars(self, operations: float) -> float:
        """Return the rent for so many operations."""
        return self.seconds(operations) / 3600 * self.dollars_per_hour


GPUS = (
    Gpu("T4", 65.0, 8.1, 16, 0.35),  # float16
    Gpu("RTX 3060", 25.0, 12.7, 12, 0.10),
    Gpu("RTX 4090", 165.0, 82.6, 24, 0.40),
    Gpu("L4", 121.0, 30.3, 24, 0.70),
    Gpu("A100 40 GB", 312.0, 19.5, 40, 1.30),
    Gpu("H100 SXM", 989.0, 66.9, 80, 2.50),
)
