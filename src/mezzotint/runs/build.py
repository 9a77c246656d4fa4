"""From a recipe to the objects it names: network, family, augmentations, data feed, learner, generator."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mezzotint.augment import augmented
from mezzotint.contracts import Codec, Family, Generator
from mezzotint.data.loading import Loader, Turn
from mezzotint.errors import BadInput
from mezzotint.machine import Machine
from mezzotint.networks import NETWORKS, Architecture, NetworkShape
from mezzotint.options import Choice, Options
from mezzotint.runs import checkpoint, weaker
from mezzotint.runs.codecs import unseen
from mezzotint.runs.recipe import FAMILIES, Recipe, family_class
from mezzotint.seeds import forked, seed_generators
from mezzotint.training.loop import Augment, Learner, Trainer
from mezzotint.training.recompute import recompute
from mezzotint.training.scaling import FIRST


def _network_class(options: Options, family: type[Family]) -> Any:  # noqa: ANN401  (a folder, one constructor)
    """Return the class that these options configure; `BadInput` where the family has no use for such a network."""
    name = Choice(NETWORKS).name_of(options)
    if not issubclass(NETWORKS[name], family.architecture):
        fitting = [other for other in NETWORKS if issubclass(NETWORKS[other], family.architecture)]
        kind = next(kind for kind, known in FAMILIES.items() if known is family)
        raise BadInput(f"network.kind={name} is not for family.kind={kind}; choose one of: {', '.join(fitting)}")
    return NETWORKS[name]


def family(recipe: Recipe, num_classes: int, machine: Machine) -> Family:
    """Return the recipe's family with freshly drawn weights, on the machine's device and in its memory layout."""
    shape = network_shape(recipe, num_classes)
    seed_generators(recipe.seed, "weights")
    network_class = _network_class(recipe.network, family_class(recipe.family))
    with naming(f"network.kind={Choice(NETWORKS).name_of(recipe.network)}"):
        network = network_class(recipe.network, shape)
    return around(network, recipe, num_classes).to(machine.device).to(memory_format=machine.memory_format)


def around(network: nn.Module, recipe: Recipe, num_classes: int) -> Family:
    """Return the recipe's family around a network of the caller's."""
    size, classes = recipe.data.image_size, num_classes if recipe.family.class_conditional else 0
    codes = (_channels(recipe), size, size)
    codec = cast("Codec", recipe.codec)
    family: Any = family_class(recipe.family)  # every family is built from the same five
    return family(network, recipe.family, codec, codes, classes)


def _channels(recipe: Recipe) -> int:
    channels = recipe.data.channels
    assert channels is not None, "a resolved recipe knows its channels"  # `open_run` and `check` see to it
    return channels


def network_shape(recipe: Recipe, num_classes: int) -> NetworkShape:
    """Return what data and family demand of the recipe's network; `BadInput` for classes that the data don't have."""
    channels = _channels(recipe)
    if recipe.family.class_conditional and not num_classes:
        raise BadInput("family.class_conditional: the images have no labels; set it to false")
    return NetworkShape(
        recipe.family.channels_in(channels),
        recipe.family.channels_out(channels),
        recipe.data.image_size,
        recipe.family.classes(num_classes),
        augmentation=recipe.told(),
        encoded=recipe.family.encoded,
    )


class _Undrawn(TorchFunctionMode):
    """Leaves normal weights undrawn: on the meta device there are none, and drawing them imports torch's compiler."""

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        if func in (Tensor.normal_, nn.init.normal_):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def check(recipe: Recipe, num_classes: int) -> None:
    """Raise `BadInput` where a recipe can't be built or can't draw; costs no memory. What is open is assumed."""
    whole = assumed(recipe)
    with torch.device("meta"), _Undrawn(), forked("check"):
        built = family(whole, num_classes, Machine(torch.device("meta"), "float32", 1))
    recipe.training.check_phases(built)
    if recipe.training.gradient_checkpointing and not blocks(built):
        raise BadInput(
            "training.gradient_checkpointing: this network names no blocks to compute again; set it to false"
        )
    if built.draws:
        whole.family.check_use(whole.sampling)
        with naming("sampling"):
            drawing = built.generator(recipe.sampling)
            asked = weaker.wanted(drawing)
            found = None if asked is None else weaker.find(asked)
            if found is not None and whole == recipe:  # what is assumed of the images may not be what the other has
                with torch.device("meta"):
                    _beside(drawing, found, Machine(torch.device("meta"), "float32", 1))


def generator(family: Family, recipe: Recipe, machine: Machine) -> Generator:
    """Return what draws as the recipe says from a family's weights; a weaker model that guides it is loaded, too."""
    with naming("sampling"):
        drawing = family.generator(recipe.sampling)
    asked = weaker.wanted(drawing)
    if asked is None:
        return drawing
    found = weaker.find(asked)
    guided, other = _beside(drawing, found, machine)
    load_weights(other, checkpoint.load_weights(found.checkpoint, "ema"))
    machine.lighten(other)
    return guided


def _beside(drawing: Generator, found: weaker.Weaker, machine: Machine) -> tuple[Generator, Family]:
    """Return a generator with a weaker model beside it, and that, its weights not loaded; `BadInput` if unfit."""
    with forked("weaker"):
        built = family(found.recipe, found.num_classes, machine).eval().requires_grad_(False)
    return weaker.beside(drawing, built), built


def assumed(recipe: Recipe) -> Recipe:
    """Return a recipe with what it leaves to its images filled in without them; open channels count as 3."""
    whole = recipe.but(data=recipe.data.but(channels=recipe.data.channels or 3))
    return whole.measured(unseen(whole.data.channels or 3))


@contextmanager
def naming(part: str) -> Iterator[None]:
    """Put the recipe's key in front of a complaint about that part of it."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{part}: {error}") from None


def augmentation(recipe: Recipe) -> Augment:
    """Return the recipe's augmentations as one function; what they did is told to a network that asks."""
    telling = recipe.told() > 0

    def augment(images: Tensor) -> tuple[Tensor, Tensor | None]:
        images, drawn = augmented(recipe.augment, images)
        return images, drawn if telling else None

    return augment


def blocks(family: Family) -> list[nn.Module]:
    """Return the parts of a family's networks that gradient checkpointing computes again."""
    return [block for part in family.modules() if isinstance(part, Architecture) for block in part.blocks()]


def learner(recipe: Recipe, num_classes: int, machine: Machine) -> Learner:
    """Return a learner before its first update; what its phases train is compiled if the run does so."""
    loss_scale = FIRST if machine.precision == "float16" else 1.0
    started = Learner.start(family(recipe, num_classes, machine), recipe.training, loss_scale)
    if recipe.training.gradient_checkpointing:
        recompute(blocks(started.family))
    for phase in started.family.phases():
        machine.compile(phase.module)
    return started


def trainer(recipe: Recipe, loader: Loader, machine: Machine) -> Trainer:
    """Return the surroundings of this recipe's training."""
    batch = recipe.training.batch_size
    turn = Turn(machine.rank, machine.world, batch, recipe.training.chunk_size or batch)
    return Trainer(loader.feed(turn), augmentation(recipe), machine, recipe.seed)


def load_weights(into: Family, tensors: dict[str, Tensor]) -> None:
    """Put saved tensors into a family, bit for bit, keeping its memory layout."""
    mine = into.state_dict()
    wrong = sorted(mine.keys() ^ tensors.keys()) or [k for k, v in mine.items() if v.shape != tensors[k].shape]
    if wrong:
        raise BadInput(
            f"recipe.yaml: its network is not the one of the checkpoint ({len(wrong)} differ, e.g. {wrong[0]})"
        )
    with torch.no_grad():
        into.load_state_dict(tensors, strict=True)
