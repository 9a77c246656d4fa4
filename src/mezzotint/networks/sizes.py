"""What sizes fit each other: groups and heads into channels, halvings into an image; `BadInput` where they don't."""

from collections.abc import Iterable, Sequence

from mezzotint.errors import BadInput


def must_divide(name: str, size: int, widths: Iterable[int]) -> None:
    """Raise `BadInput` where an option's size doesn't divide the channels of some level."""
    odd = next((width for width in widths if width % size), None)
    if odd is not None:
        divisors = ", ".join(str(n) for n in range(1, odd + 1) if odd % n == 0 and n < 2 * size)
        raise BadInput(f"{name}={size} must divide the {odd} channels of a level, e.g. {divisors}")


def must_hold_several(groups: int, widths: Sequence[int], sizes: Sequence[int]) -> None:
    """Raise `BadInput` where a group of normalised channels is a single number of an image: it would always become 0.

    `widths` and `sizes` are the channels and the features per side of each level; into the smallest one those of the
    level before arrive, too.
    """
    if sizes[-1] == 1 and groups in widths[-2:]:
        raise BadInput(
            f"groups={groups} normalises each of {groups} channels by itself, also where a level is 1 feature per "
            "side, and a single number becomes 0: choose fewer groups or fewer levels, or more channels there"
        )


def halved(image_size: int, levels: int, what: str) -> tuple[int, ...]:
    """Features per side of each level, each half of the last; `what` names the option that says how many there are."""
    smallest = 2 ** (levels - 1)
    if image_size % smallest:
        raise BadInput(
            f"image_size={image_size} can't be halved {levels - 1} times for {levels} {what}: "
            f"must be a multiple of {smallest}"
        )
    return tuple(image_size >> i for i in range(levels))
