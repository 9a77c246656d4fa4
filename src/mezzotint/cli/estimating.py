"""What `estimate` found, in words."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mezzotint.cli.duration import spoken
from mezzotint.errors import BadInput
from mezzotint.options import parse

if TYPE_CHECKING:
    from mezzotint.options import Tree
    from mezzotint.runs.estimate import Estimate
    from mezzotint.runs.recipe import Recipe

_GIB = 2**30
_MIB = 2**20


def in_epochs(tree: "Tree", checked: "Recipe", images: int | None) -> "Recipe":
    """Give lengths in epochs their meaning for so many training images; `BadInput` where these are not told."""
    training = tree.get("training")
    counts = training.items() if isinstance(training, dict) else ()
    texts = [(key, value) for key, value in counts if isinstance(value, str)]
    epochs = [f"training.{key}={value}" for key, value in texts if value.endswith("ep") and value[0].isdecimal()]
    if images is None and epochs:
        raise BadInput(f"{epochs[0]}: how many images an epoch has is known once data are read; say it with --images")
    return checked if images is None else parse(type(checked), tree, train_images=images)


def elsewhere(found: "Estimate") -> list[dict[str, str | float | bool]]:
    """Return time, rent and whether one image at a time fits, for every known GPU; none of it is verified."""
    from mezzotint.training.gpus import GPUS, PRICES_OF

    work, least = found.total_operations(), found.fixed_bytes + found.image_bytes
    return [
        {
            "name": gpu.name,
            "seconds": gpu.seconds(work),
            "dollars": gpu.dollars(work),
            "prices_of": PRICES_OF,
            "fits": least < 0.8 * gpu.memory_gib * _GIB,
            "verified": False,
        }
        for gpu in GPUS
    ]


def lines(found: "Estimate") -> Iterator[str]:
    """Yield the lines that tell an estimate."""
    free = "unknown" if found.free_bytes is None else f"{found.free_bytes / _GIB:.1f} GiB"
    yield f"machine        {found.device} in {found.precision}, {found.threads} threads, {free} free"
    yield f"network        {found.parameters:,} parameters"
    yield (
        f"operations     {found.forward_operations / 1e9:.2f} GFLOP forward per image, "
        f"{found.update_operations / 1e9:.2f} in training (a multiply-add counts as two)"
    )
    process = f"{found.process_bytes / _MIB:,.0f} MiB of Python and torch, " if found.process_bytes else ""
    yield (
        f"memory         {found.peak_bytes / _GIB:.2f} GiB at the peak: {process}{found.fixed_bytes / _MIB:,.0f} MiB, "
        f"and {found.image_bytes / _MIB:.1f} MiB for each of {found.chunk_size} images at once"
    )
    yield f"compiling      {found.compiled_because}"
    yield f"speed          {found.seconds_per_1000_images:.1f} s per 1,000 images, batch {found.batch_size}"
    yield (
        f"training       {spoken(found.training_seconds)} for {found.images:,} images; sheets "
        f"{spoken(found.sheet_seconds)} ({found.nfe:.0f} network calls per picture), validation "
        f"{spoken(found.validation_seconds)}, monitoring up to {spoken(found.monitor_seconds)}"
    )
    yield f"together       {spoken(found.total_seconds())} without monitoring"
    for gpu in elsewhere(found):
        time, dollars = spoken(float(gpu["seconds"])), float(gpu["dollars"])
        note = "" if gpu["fits"] else ", too little memory"
        yield f"{gpu['name']!s:14} about {time}, {dollars:,.2f} USD (prices of {gpu['prices_of']}; not verified{note})"
