"""What a run will need, told before anything starts: counted where it can be, timed in a few trial updates."""

from dataclasses import dataclass
from importlib import import_module
from typing import TypedDict

import torch
from torch import Tensor, nn

from mezzotint.contracts import Condition
from mezzotint.diffusion.denoiser import X0, LogSigma
from mezzotint.diffusion.family import DiffusionOptions
from mezzotint.machine import Machine
from mezzotint.memory import free_bytes, memory_told, peak_bytes
from mezzotint.runs import build, weaker
from mezzotint.runs.compilation import decide, expected, operations_per_image
from mezzotint.runs.fitting import blank_batches, choose_chunk, training_memory
from mezzotint.runs.recipe import Recipe, family_class
from mezzotint.seeds import SeededNoise, forked
from mezzotint.training.cost import Memory, Operations, Pace, evaluation_seconds, pace
from mezzotint.training.loop import Trainer
from mezzotint.training.slices import LESS_MEMORY

_TRIAL_OPERATIONS = 60e9  # of a trial update: a fraction of a second on two processor cores
_PROCESS = 110 * 2**20  # main memory that parts of Python and torch take once updates begin
_SMALL = 8  # pixels of the picture that network calls are counted for
_LOOKS = 2  # raw and averaged weights are both looked at


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
        forward_operations=found.work.forward,
        update_operations=found.work.update,
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
    work: Operations  # per image
    per_evaluation: float  # seconds
    speed: Pace


@memory_told("a trial update", LESS_MEMORY)
def _tried(recipe: Recipe, num_classes: int, machine: Machine) -> _Tried:
    with forked(recipe.seed, "estimate"):
        needed = training_memory(recipe, num_classes, machine)
        chunk = choose_chunk(recipe.training, needed, machine)
        family = build.family(recipe, num_classes, machine)
        make = blank_batches(recipe, num_classes, machine.device)
        work = operations_per_image(recipe, num_classes)
        rows = max(1, min(chunk, int(_TRIAL_OPERATIONS / work.update)))
        per_evaluation = evaluation_seconds(family, make(rows), machine)
        return _Tried(needed, chunk, work, per_evaluation, _pace(recipe, num_classes, machine, rows))


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


class _TwoLevels(nn.Module):
    """The exact denoiser of pictures whose numbers are bright or dark by themselves: costs nothing, counts its images.

    It is told ln(sigma) / 4 and says x0. Adaptive samplers need about as many calls of it as of a trained network that
    draws a batch (with `dormand-prince` three fifths of those); all others need as many of any.
    """

    LEVEL, DEVIATION = 0.6, 0.2

    def __init__(self, channels: int, channels_out: int) -> None:
        super().__init__()
        self.channels, self.more, self.rows = channels, channels_out - channels, 0

    def forward(self, scaled: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Codes over sqrt(1 + sigma^2) [N, C or more, S, S], level [N] -> x0 and zeros [N, channels_out, S, S].

        Both levels are Gaussians: their posterior means, weighed by their likelihoods.
        """
        self.rows += len(scaled)
        sigma = (4 * level).exp().reshape(-1, 1, 1, 1)
        x = scaled[:, : self.channels] * (1 + sigma**2).sqrt()
        variance = self.DEVIATION**2 + sigma**2
        nearer = self.LEVEL * torch.tanh(self.LEVEL * x / variance)
        x0 = nearer + self.DEVIATION**2 / variance * (x - nearer)
        return torch.cat([x0, x0.new_zeros(len(x), self.more, *x.shape[2:])], 1)


def evaluations(recipe: Recipe, num_classes: int) -> float:
    """Return the nfe of one image drawn as the recipe says: network calls, guidance included, a weaker model's too.

    With adaptive steps it depends on images and on what was learnt: then it is a typical one.
    """
    if not isinstance(recipe.family, DiffusionOptions):
        return 1.0  # no noise levels to walk down
    known = recipe.family.but(prediction=X0(), level=LogSigma())
    small = recipe.but(family=known, data=recipe.data.but(image_size=_SMALL))  # calls don't depend on the size
    shape = build.network_shape(small, num_classes)
    network = _TwoLevels(shape.channels_in // known.channels_in(1), shape.channels_out)
    generator = weaker.by_itself(build.around(network, small, num_classes), small)
    labels, noise = torch.zeros(1, dtype=torch.int64) if generator.num_classes else None, SeededNoise([0])
    generator.decode(noise.normal((1, *generator.latent_shape)), labels, noise)
    return float(network.rows)
