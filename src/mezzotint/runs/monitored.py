"""Which protocol a training is monitored by, if any: asked by the monitor, and by whoever plans time for it."""

from collections.abc import Iterable

from mezzotint.data.loading import Loader
from mezzotint.errors import BadInput
from mezzotint.evaluation.extractors import ExtractorOptions
from mezzotint.evaluation.extractors.squeezenet import SqueezeNet
from mezzotint.evaluation.weights import present
from mezzotint.runs.recipe import Recipe, family_class

IMAGES = 256
"""Pictures of an automatic monitor: always of the same seeds against the same real images, so few tell a trend."""

CHEAPEST = f"fd-thumbnail-{IMAGES}"
"""Costs little more than drawing the pictures, whatever is monitored and however short the training."""

LEAST_HELD_OUT = 128
"""With fewer held-out images no monitor is chosen automatically, except for what longer training may make worse."""

LEAST_TO_WATCH = 16
"""With fewer than these, not for that either: they would not tell a collapse."""


def monitored(recipe: Recipe, loader: Loader) -> str | None:
    """Name the protocol that `evaluation.monitor` asks for, or that suits the images; None for no monitor."""
    options, family = recipe.evaluation, family_class(recipe.family)
    if not family.draws and options.monitor not in ("auto", "off"):
        raise BadInput(f"evaluation.monitor: {options.monitor} scores pictures, this family draws none; set it to off")
    if not family.draws:
        return None
    if options.monitor == "auto":
        return derived(loader, options.extractors, family.can_worsen)
    return None if options.monitor == "off" else options.monitor


def derived(loader: Loader, extractors: Iterable[ExtractorOptions], can_worsen: bool) -> str | None:
    """Name the protocol that needs no network: SqueezeNet if its weights are there, a classifier if there are labels.

    What longer training may make worse is monitored without either and with few held-out images, by thumbnails.
    """
    count = len(loader.held_out_indices)
    if count < LEAST_HELD_OUT:
        return CHEAPEST if can_worsen and count >= LEAST_TO_WATCH else None
    given = any(isinstance(options, SqueezeNet) and options.weights for options in extractors)
    if given or next(present(SqueezeNet.published["squeezenet"]), None) is not None:
        return f"fd-squeezenet-{IMAGES}"
    if loader.pack.num_classes > 1:
        return f"fd-classifier-{IMAGES}"
    return CHEAPEST if can_worsen else None
