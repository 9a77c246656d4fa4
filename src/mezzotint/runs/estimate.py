"""What a run will need, told before anything starts: counted where it can be, timed in a few trial updates."""

from dataclasses import dataclass
from importlib import import_module
from typing import TypedDict

import torch
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.machine import Machine
from mezzotint.memory import free_bytes, memory_told, peak_bytes
from mezzotint.networks import Network
from mezzotint.runs import build, weaker
from mezzotint.runs.compilation import decide, expected, operations_per_image
from mezzotint.runs.fitting import blank_batches, choose_chunk, training_memory
from mezzotint.runs.recipe import Recipe, family_class
from mezzotint.seeds import SeededNoise, forked
from mezzotint.training.cost import Memory, Pace, evaluation_seconds, pace
from mezzotint.training.loop import Trainer
from mezzotint.training.slices import LESS_MEMORY

_TRIAL_OPERATIONS = 60e9  # of a trial update: a fraction of a second on two processor cores
_PROCESS = 110 * 2**20  # main memory that parts of Python and torch take once updates begin
_LOOKS = 2  # raw and averaged weights are both looked at
_UPDATE = 3  # a forward pass, and twice its operations backward


@dataclass(frozen=True, slots=True)
class Estimate:
    """Memory in bytes, times in seconds, operations of products and convolutions (a multiply-add counts as two).

    `process_bytes` are Python's and torch's own, on a CPU; `fixed_bytes` the training's, whatever the chunk.
    """

    device: str
    precision: str
    threads: int
    parameters: int
    forward_operations: float
    update_operations: float
    batch_size: int
    chunk_size: int
    process_bytes: int
    fixed_bytes: int
    image_bytes: int
    peak_bytes: int
    free_bytes: int | None
    compiled: bool
    compiled_because: str
    compiling_seconds: float
    seconds_per_1000_images: float
    images: int
    training_seconds: float
    nfe: float
    sheet_seconds: float
    validation_seconds: float
    monitor_seconds: float

    def total_operations(self) -> float:
        """Operations of all updates."""
        return self.images * self.update_operations

    def total_seconds(self) -> float:
        """Time of compiling, training, its sheets and validations; monitoring takes up to `monitor_seconds` more."""
        return self.compiling_seconds + self.training_seconds + self.sheet_seconds + self.validation_seconds


def estimate(recipe: Recipe, num_classes: int, machine: Machine) -> Estimate:
    """Estimate what training a recipe costs on a machine, in a few seconds and without its images: grey ones do.

    Open channels count as 3. Nothing is compiled for it: what that brings is known from `bench`, or assumed.
    `RunFailed` where not even a few images fit into memory.
    """
    whole = build.assumed(recipe)
    process = _process_bytes(whole) if machine.device.type == "cpu" else 0
    found = _tried(whole, num_classes, machine)
    compilation = decide(whole, machine, num_classes)
    brings = expected(machine)[0] if compilation.on else None
    plain = found.speed.seconds(whole.training.images, whole.training.batch_size)
    seconds = plain / brings.gain if brings else plain
    return Estimate(
        device=str(machine.device),
        precision=machine.precision,
        threads=machine.threads,
        parameters=found.needed.parameters,
        forward_operations=found.forward,
        update_operations=_UPDATE * found.forward,
        batch_size=whole.training.batch_size,
        chunk_size=found.chunk,
        process_bytes=process,
        fixed_bytes=found.needed.fixed,
        image_bytes=found.needed.image,
        peak_bytes=process + found.needed.peak(found.chunk),
        free_bytes=free_bytes(machine.device),
        compiled=compilation.on,
        compiled_because=compilation.because,
        compiling_seconds=brings.seconds if brings else 0.0,
        seconds_per_1000_images=1000 * seconds / whole.training.images,
        images=whole.training.images,
        training_seconds=seconds,
        **_looks(whole, num_classes, found.per_evaluation),
        monitor_seconds=whole.evaluation.reserved(seconds, family_class(whole.family).can_worsen),
    )


class _Looks(TypedDict):
    """Network calls of one picture, and seconds that a training spends looking at what it learns."""

    nfe: float
    sheet_seconds: float
    validation_seconds: float


@dataclass(frozen=True, slots=True)
class _Tried:
    """What was counted, and timed in a few trial updates."""

    needed: Memory
    chunk: int
    forward: float  # operations per image
    per_evaluation: float  # seconds
    speed: Pace


@memory_told("a trial update", LESS_MEMORY)
def _tried(recipe: Recipe, num_classes: int, machine: Machine) -> _Tried:
    with forked(recipe.seed, "estimate"):
        needed = training_memory(recipe, num_classes, machine)
        chunk = choose_chunk(recipe.training, needed, machine)
        family = build.family(recipe, num_classes, machine)
        make = blank_batches(recipe, num_classes, machine.device)
        forward = operations_per_image(recipe, num_classes) / _UPDATE
        rows = max(1, min(chunk, int(_TRIAL_OPERATIONS / (_UPDATE * forward))))
        per_evaluation = evaluation_seconds(family, make(rows), machine)
        return _Tried(needed, chunk, forward, per_evaluation, _pace(recipe, num_classes, machine, rows))


def _looks(recipe: Recipe, num_classes: int, per_evaluation: float) -> _Looks:
    """Return what sheets and validations take in a whole training."""
    training, nfe = recipe.training, evaluations(recipe, num_classes)
    sheets, validations = (-(-training.images // training.every(what)) for what in ("sheet", "validation"))
    return {
        "nfe": nfe,
        "sheet_seconds": _LOOKS * sheets * training.sheet_size * nfe * per_evaluation,
        "validation_seconds": _LOOKS * validations * training.validation_size * per_evaluation,
    }


def _process_bytes(recipe: Recipe) -> int:
    """Return what Python and its packages take once updates begin; what monitoring imports is imported for it."""
    if recipe.evaluation.monitor != "off":
        import_module("torchvision.models")
    return peak_bytes(torch.device("cpu")) + _PROCESS


def _pace(recipe: Recipe, num_classes: int, machine: Machine, rows: int) -> Pace:
    """Time updates of `rows` random images with a throwaway learner."""
    trial = recipe.but(training=recipe.training.but(images=2**50, batch_size=rows, chunk_size=rows))
    make = blank_batches(recipe, num_classes, torch.device("cpu"))

    def feed(position: int, length: int) -> tuple[Tensor, Tensor | None]:
        batch = make(length)
        return torch.randint(0, 256, batch.images.shape, dtype=torch.uint8), batch.labels

    learner = build.learner(trial, num_classes, machine)
    return pace(Trainer(feed, build.augmentation(trial), machine, recipe.seed), learner)


class _Counting(nn.Module):
    """A network of so many channels out that costs nothing and counts the images it is called for."""

    def __init__(self, channels_out: int) -> None:
        super().__init__()
        self.channels_out, self.rows = channels_out, 0

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Noisy codes [N, C, S, S] -> zeros [N, channels_out, S, S]."""
        self.rows += len(x)
        return x.new_zeros(len(x), self.channels_out, *x.shape[2:])


def evaluations(recipe: Recipe, num_classes: int) -> float:
    """Return the nfe of one image drawn as the recipe says: network calls, guidance included, a weaker model's too."""
    if not issubclass(family_class(recipe.family).architecture, Network):
        return 1.0  # no noise levels to walk down
    network = _Counting(build.network_shape(recipe, num_classes).channels_out)
    family = build.around(network, recipe, num_classes)
    generator = weaker.by_itself(family, recipe)
    labels = torch.zeros(1, dtype=torch.int64) if generator.num_classes else None
    generator.decode(torch.randn(1, *generator.latent_shape), labels, SeededNoise([0]))
    return float(network.rows)
