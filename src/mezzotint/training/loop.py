"""The one training loop, for every family: an iterator of updates. The caller logs, draws, saves or stops.

Everything random is a function of (seed, update, phase, chunk), and the data of a position: nothing is carried from
one update to the next but weights, optimizer, average and a few counters, so a run resumes bit for bit anywhere.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from mezzotint.contracts import Batch, Family, Loss, Phase
from mezzotint.errors import BadInput, RunFailed, nearest
from mezzotint.machine import Machine
from mezzotint.memory import memory_told, out_of_memory, release
from mezzotint.options import Count, Options
from mezzotint.pixels import to_images
from mezzotint.seeds import seed_generators
from mezzotint.training.ema import Ema
from mezzotint.training.optimizers import OptimizerOptions, build, load_state_tensors, set_rate, state_tensors
from mezzotint.training.scaling import rescaled
from mezzotint.training.slices import LESS_MEMORY, more_slices, slices

Feed = Callable[[int, int], tuple[Tensor, Tensor | None]]
"""(position, length) -> pixels uint8 [length, C, H, W] and labels int64 [length] or None."""

Augment = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""Images [N, C, H, W] -> changed images, and what the network is told was done [N, P] or None."""


class PhaseOptions(Options):
    """What one phase does differently, e.g. `training.phases.discriminator.learning_rate`."""

    learning_rate: float | None = Field(default=None, gt=0, le=1, description="this phase's peak learning rate")
    beta1: float | None = Field(default=None, ge=0, lt=1, description="this phase's beta1")


class LearningOptions(OptimizerOptions):
    """How long and in which portions a family learns, and what keeps it stable."""

    images: Count = Field(default=2_000_000, ge=1, description="training length in images seen")
    batch_size: int = Field(default=128, ge=1, description="images per update")
    chunk_size: int | None = Field(
        default=None, ge=1, description="images per forward pass; null = as many of the batch as fit into memory"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="whether blocks are computed again for their gradient: less memory, more time"
    )
    gradient_clip: float | None = Field(default=1.0, gt=0, description="largest gradient norm; null = no clipping")
    max_skipped: int = Field(
        default=10, ge=1, description="updates in a row with a non-finite gradient that stop the run"
    )
    ema_halflife_images: Count = Field(
        default=500_000, ge=0, description="half-life of the averaged weights, in images"
    )
    ema_warmup: float = Field(
        default=0.05, ge=0, le=1, description="half-life's bound as a part of the images seen; 0 = none"
    )
    phases: Mapping[str, PhaseOptions] = Field(default={}, description="what differs for one phase, by its name")

    def check_phases(self, family: Family) -> None:
        """Raise `BadInput` where options name a phase that the family doesn't have."""
        known = [phase.name for phase in family.phases()]
        for name in self.phases.keys() - set(known):
            raise BadInput(f"training.phases: unknown phase {name!r}: {nearest(name, known)}")

    def check_processes(self, count: int) -> None:
        """Raise `BadInput` where a batch has too few chunks to give each of `count` processes one."""
        size = self.chunk_size or self.batch_size
        chunks = -(-self.batch_size // size)
        if chunks < count:
            most = self.batch_size // count
            right = f"set it to {most} or less" if most else "start fewer processes"
            raise BadInput(
                f"training.chunk_size={size}: a batch of {self.batch_size} in chunks of {size} makes {chunks}, "
                f"too few for {count} processes; {right}"
            )

    def for_phase(self, name: str) -> OptimizerOptions:
        """Return the optimizer's options with one phase's own rates put in."""
        own = self.phases.get(name)
        shared = {key: getattr(self, key) for key in OptimizerOptions.model_fields}
        return OptimizerOptions(**{**shared, **(own.model_dump(exclude_none=True) if own else {})})


_COUNTERS = ("update", "images_seen", "skipped", "skipped_in_a_row", "loss_scale", "steady")


@dataclass
class Learner:
    """All that changes while a family learns; a checkpoint is exactly this.

    Except `slices`, into how many a chunk is cut because it didn't fit into memory: each session finds that anew.
    """

    family: Family
    options: LearningOptions
    ema: Ema
    optimizers: dict[str, Optimizer]
    update: int = 0
    images_seen: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    loss_scale: float = 1.0
    steady: int = 0
    slices: int = 1

    @classmethod
    def start(cls, family: Family, options: LearningOptions, loss_scale: float = 1.0) -> "Learner":
        """Return a learner before its first update; a loss scale other than 1 adapts itself while it learns."""
        options.check_phases(family)
        optimizers = {p.name: build(options.for_phase(p.name), p.module) for p in family.phases()}
        ema = Ema(family, options.ema_halflife_images, options.ema_warmup)
        return cls(family, options, ema, optimizers, loss_scale=loss_scale)

    def counters(self) -> dict[str, int | float]:
        """Return the counters, for the checkpoint's `state.json`."""
        return {name: getattr(self, name) for name in _COUNTERS}

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """Return every optimizer's state as `<phase>/<parameter>/<slot>`."""
        states = {p.name: state_tensors(self.optimizers[p.name], p.module) for p in self.family.phases()}
        return {f"{phase}/{key}": value for phase, state in states.items() for key, value in state.items()}

    def load_optimizer_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `optimizer_tensors` gave."""
        for phase in self.family.phases():
            mine = {k.partition("/")[2]: v for k, v in tensors.items() if k.partition("/")[0] == phase.name}
            load_state_tensors(self.optimizers[phase.name], phase.module, mine)


@dataclass(frozen=True, slots=True)
class Update:
    """What one update did. `parts` stay tensors until someone reads them, so that a GPU need not wait."""

    update: int
    images_seen: int
    learning_rate: float
    skipped: bool
    gradient_norm: float
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    slices: int = 1


@dataclass(frozen=True)
class Trainer:
    """The fixed surroundings of a training: where data come from, on which machine, under which seed."""

    feed: Feed
    augment: Augment
    machine: Machine
    seed: int

    def train(self, learner: Learner) -> Iterator[Update]:
        """Train until `options.images` are seen, yielding after every update; stop iterating to stop training."""
        learner.options.check_processes(self.machine.world)
        learner.family.train()
        while learner.images_seen < learner.options.images:
            with memory_told(f"update {learner.update + 1}", LESS_MEMORY):
                update = self._update(learner)
            yield update

    def _update(self, learner: Learner) -> Update:
        parts: dict[str, Tensor] = {}
        sums: dict[str, Tensor] = {}
        norms: list[float] = []
        chunks = self._chunks(learner)
        for phase in learner.family.phases():
            if learner.update % phase.every == 0:
                freeze_all_but(phase.module, learner.family)
                totals = self._gradients(phase, chunks, learner)
                parts |= totals.parts
                sums |= totals.sums
                norm = _clip(phase.module, learner.options.gradient_clip)
                norms.append(norm if parts[f"{phase.name}/loss"].isfinite() else math.inf)
                if len(learner.optimizers) > 1:
                    parts[f"{phase.name}/gradient_norm"] = torch.tensor(norm)
                if not math.isfinite(norms[-1]):
                    break
                rate = learner.options.for_phase(phase.name).rate(learner.images_seen, learner.options.images)
                set_rate(learner.optimizers[phase.name], rate)
                learner.optimizers[phase.name].step()
        seed_generators(self.seed, learner.update, "finish")
        return _finish(learner, _largest(norms), parts, sums)

    def _chunks(self, learner: Learner) -> list[Batch]:
        """Load this process's chunks of the batch; what is in a chunk depends on its place alone."""
        size, whole = learner.options.chunk_size or learner.options.batch_size, learner.options.batch_size
        starts = range(0, whole, size)[self.machine.rank :: self.machine.world]
        return [self._chunk(learner, start, min(size, whole - start)) for start in starts]

    def _chunk(self, learner: Learner, start: int, length: int) -> Batch:
        pixels, labels = self.feed(learner.images_seen + start, length)
        device = self.machine.device
        seed_generators(self.seed, learner.update, "data", start)
        images, told = self.augment(to_images(pixels.to(device, non_blocking=True)))
        images = images.contiguous(memory_format=self.machine.memory_format)
        labels = None if labels is None else labels.to(device, non_blocking=True)
        return Batch(images, labels, told, learner.update, learner.images_seen, start)

    def _gradients(self, phase: Phase, chunks: list[Batch], learner: Learner) -> "_Totals":
        """Sum the chunks' gradients, in order and over processes; return what the losses came to."""
        while (totals := self._try_gradients(phase, chunks, learner)) is None:
            release(self.machine.device)
            rows = max(len(chunk.images) for chunk in chunks)
            learner.slices = more_slices(phase, learner.family, rows, learner.slices)
        gradients = [p.grad for p in phase.module.parameters() if p.grad is not None]
        self.machine.reduce([*gradients, *totals.parts.values(), *totals.sums.values()])
        if learner.loss_scale != 1:
            torch._foreach_mul_(gradients, 1 / learner.loss_scale)  # pyright: ignore[reportPrivateImportUsage]
        return totals

    def _try_gradients(self, phase: Phase, chunks: list[Batch], learner: Learner) -> "_Totals | None":
        """Do this process's chunks from the first one on; None if memory runs out, all of the attempt let go."""
        learner.optimizers[phase.name].zero_grad(set_to_none=True)
        totals = _Totals()
        try:
            for chunk in chunks:
                for loss, share in self._chunk_gradients(phase, chunk, learner):
                    totals.add(phase, loss, share)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            return None
        return totals

    def _chunk_gradients(self, phase: Phase, chunk: Batch, learner: Learner) -> Iterator[tuple[Loss, float]]:
        """Add a chunk's gradients, slice by slice; yield each slice's loss and its share of the batch."""
        begin = partial(seed_generators, self.seed, learner.update, phase.name, chunk.start)
        for rows, whole_dropout in slices(phase, chunk, learner.slices, begin, self.machine.autocast):
            share = len(rows.images) / learner.options.batch_size
            with whole_dropout:
                with self.machine.autocast():
                    loss = phase.loss(rows)
                (loss.value * (share * learner.loss_scale)).backward()
            yield loss, share


@dataclass(frozen=True)
class _Totals:
    """What one phase's losses came to: named parts averaged over the batch, and sums; `<phase>/<name>` each."""

    parts: dict[str, Tensor] = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, phase: Phase, loss: Loss, share: float) -> None:
        for name, value in {"loss": loss.value, **loss.parts}.items():
            _add(self.parts, f"{phase.name}/{name}", value.detach().float() * share)
        for name, value in loss.sums.items():
            _add(self.sums, f"{phase.name}/{name}", value.detach())


def _add(totals: dict[str, Tensor], name: str, value: Tensor) -> None:
    totals[name] = totals[name] + value if name in totals else value.clone()


def freeze_all_but(module: nn.Module, family: Family) -> None:
    """Let gradients reach one phase's module alone."""
    family.requires_grad_(False)
    module.requires_grad_(True)


def _clip(module: nn.Module, largest: float | None) -> float:
    """Scale the gradient down to the largest norm allowed; return its norm before."""
    return nn.utils.clip_grad_norm_(module.parameters(), largest or math.inf, foreach=True).item()


def _largest(norms: list[float]) -> float:
    """Return the largest norm, one that isn't finite above all; 0 for an update in which no phase was due."""
    return max(norms, key=lambda norm: (not math.isfinite(norm), norm), default=0.0)


def _finish(learner: Learner, norm: float, parts: dict[str, Tensor], sums: dict[str, Tensor]) -> Update:
    """Move the counters and, unless the update was skipped, the average and the family's own buffers."""
    finite, options = math.isfinite(norm), learner.options
    rate = options.rate(learner.images_seen, options.images)
    learner.update += 1
    learner.images_seen += options.batch_size
    if finite:
        learner.family.finish(learner.update, sums)
        learner.ema.follow(learner.family, options.batch_size, learner.images_seen)
    learner.skipped += not finite
    learner.skipped_in_a_row = 0 if finite else learner.skipped_in_a_row + 1
    learner.loss_scale, learner.steady = rescaled(learner.loss_scale, learner.steady, finite)
    if learner.skipped_in_a_row >= options.max_skipped:
        raise RunFailed(
            f"update {learner.update}: loss or gradient was not finite {learner.skipped_in_a_row} times in a row; "
            f"lower training.learning_rate (now {options.learning_rate:g}) or set training.precision=float32"
        )
    return Update(learner.update, learner.images_seen, rate, not finite, norm, parts, learner.slices)
