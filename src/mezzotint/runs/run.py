"""A run: created once from a recipe, opened again to resume, sample or evaluate."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from mezzotint.contracts import Family, Generator
from mezzotint.data.building import Progress as PrepareProgress
from mezzotint.data.loading import Loader
from mezzotint.data.prepare import DataOptions
from mezzotint.data.streaming import open_loader
from mezzotint.errors import BadInput
from mezzotint.machine import Compilation, Machine
from mezzotint.options import Options, Tree, override, parse, read_yaml, write_yaml
from mezzotint.runs import build, checkpoint, recipe
from mezzotint.runs.budget import plan
from mezzotint.runs.codecs import Moments
from mezzotint.runs.compilation import decide
from mezzotint.runs.draw import MixedPrecision
from mezzotint.runs.fitting import choose_chunk, training_memory
from mezzotint.runs.folder import RunFolder, check_name
from mezzotint.runs.recipe import Recipe, family_class
from mezzotint.seeds import mix

OnProgress = Callable[[PrepareProgress], None]

_CHANGEABLE = ("sampling", "evaluation")


class Environment(Options):
    """What a run was created on and from: `environment.json`, as far as resuming needs it."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # it also says which hardware and versions, for people

    recipe: str = Field(description="name of the recipe it was made from")
    device: str = Field(description="where it computes")
    precision: Literal["float32", "bfloat16", "float16"] = Field(description="number type of its networks")
    threads: int = Field(ge=1, description="processor threads")
    num_classes: int = Field(ge=0, description="classes of its images, 0 without labels")
    train_images: int = Field(ge=0, description="images it learns from, the held-out ones aside; 0: unknown, a stream")
    content_hash: str = Field(description="digest of its images")
    moments: Moments | None = Field(default=None, description="mean and standard deviation of its images")
    compiled: bool = Field(default=False, description="whether training compiles its network")
    compiled_because: str = Field(default="", description="why")


@dataclass(frozen=True)
class Run:
    """A run on disk with its resolved recipe, the machine it keeps to, and what its data were."""

    folder: RunFolder
    recipe: Recipe
    machine: Machine
    num_classes: int
    content_hash: str

    def loader(self, on_progress: OnProgress | None = None) -> Loader:
        """Open the run's pack, preparing it again if it was removed, or its stream; refuse data that have changed."""
        loader = open_loader(self.recipe.data, self.recipe.seed, on_progress)
        if loader.pack.content_hash != self.content_hash:
            now, then = loader.pack.content_hash[:12], self.content_hash[:12]
            raise BadInput(
                f"run {self.folder.path}: its images have changed since it began (content {now}, was {then}); "
                f"restore {self.recipe.data.path or 'them'}, or start a new run with --name"
            )
        return loader

    def images_seen(self) -> int:
        """Return how far the run's last checkpoint is, in images."""
        return (checkpoint.available(self.folder.checkpoints) or [0])[-1]

    def family(self) -> Family:
        """Return the run's family with fresh weights."""
        return build.family(self.recipe, self.num_classes, self.machine)

    def chosen(self, which: str) -> Path:
        """Return the checkpoint called `auto`, `last`, `best` or by the images seen.

        `auto` is the best by the monitored score where longer training may make this kind of model worse and the run
        was monitored, else the last.
        """
        folder = self.folder.checkpoints
        if which == "auto":
            worsens = family_class(self.recipe.family).can_worsen
            which = "best" if worsens and checkpoint.best(folder) is not None else "last"
        return checkpoint.find(folder, which)

    def told(self, which: str) -> str:
        """Say which checkpoint `which` chooses, and how it stands to the others."""
        number, last = int(self.chosen(which).name), self.images_seen()
        best = ", the best by its monitored score" if number == checkpoint.best(self.folder.checkpoints) else ""
        return f"checkpoint {number:,}{best}" + (", the last" if number == last else f" (--checkpoint last: {last:,})")

    def trained(self, which: str, weights: Literal["ema", "raw"]) -> Family:
        """Return the family as it was trained, in float32, to look at: `which` checkpoint (auto, last, best, ...)."""
        path = self.chosen(which)
        trained = self.family().eval().requires_grad_(False)
        build.load_weights(trained, checkpoint.load_weights(path, weights))
        return trained

    def generator(self, which: str, weights: Literal["ema", "raw"], assignments: Sequence[str] = ()) -> Generator:
        """Return what draws: `which` checkpoint (auto, last, best, or images seen), `weights` ema or raw."""
        drawn = self.trained(which, weights)
        self.machine.lighten(drawn)
        return MixedPrecision(build.generator(drawn, self.changed(assignments), self.machine), self.machine)

    def drawn_folder(self, which: str, weights: str, assignments: Sequence[str], label: int | None) -> Path:
        """Return where pictures go that were drawn this way: another checkpoint or option, another folder."""
        images_seen = self.chosen(which).name
        ways = [*assignments, *([] if label is None else [f"label {label}"])]
        digest = f"-{mix(*ways):016x}"[:9] if ways else ""
        return self.folder.samples / f"drawn-{weights}-{images_seen}{digest}"

    def changed(self, assignments: Sequence[str]) -> Recipe:
        """Return this run's recipe drawn or judged in another way; nothing on disk changes.

        What the weights were trained with can't be changed any more: `BadInput`.
        """
        for assignment in assignments:
            if assignment.partition("=")[0].partition(".")[0] not in _CHANGEABLE:
                raise BadInput(f"override {assignment!r}: a trained run takes sampling.* and evaluation.* only")
        return parse(Recipe, override(self.recipe.tree(), assignments))


def drawing_overrides(sampler: str | None, steps: int | None) -> list[str]:
    """Return the overrides that the command line's --sampler and --steps stand for."""
    given = {"sampling.sampler": sampler, "sampling.steps": steps}
    return [f"{key}={value}" for key, value in given.items() if value is not None]


def open_run(folder: RunFolder, device: str | None = None) -> Run:
    """Open an existing run on the machine choices it was created with (`device` may move it)."""
    resolved = parse(Recipe, read_yaml(folder.recipe), where=f"{folder.recipe}:")
    if resolved.data.channels is None:
        raise BadInput(f"{folder.recipe}: data.channels is not set; a run's own recipe says 1 or 3")
    environment = _environment(folder)
    machine = Machine.detect(
        device=environment.device if device in (None, "auto") else device,
        precision=environment.precision,
        threads=environment.threads,
    ).prepare()
    machine = replace(machine, compilation=Compilation(environment.compiled, environment.compiled_because))
    return Run(folder, resolved, machine, environment.num_classes, environment.content_hash)


def _environment(folder: RunFolder) -> Environment:
    return parse(Environment, folder.read_environment(), where=f"{folder.environment}:")


@contextmanager
def enter(
    runs: Path,
    name: str | None,
    recipe_name: str,
    assignments: Sequence[str],
    device: str = "auto",
    deadline: float | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[Run]:
    """Hold the run `runs/name` (default: the recipe's name) for training: created now, or opened to be resumed.

    A new run with a `deadline` (on the clock of `time.monotonic`) gets the length that ends there.
    """
    recipe.find(recipe_name)
    if deadline is not None and any(a.partition("=")[0] == "training.images" for a in assignments):
        raise BadInput("--budget plans training.images: give one of the two")
    called, made_from = name or Path(recipe_name).stem, Path(recipe_name).stem
    folder = RunFolder(runs / check_name(called))
    machine = Machine.detect(device)
    if not machine.is_main:
        machine.prepare().wait()
        yield open_run(folder, device)
        machine.part()
        return
    if not folder.exists:
        _, checked = recipe.read(recipe_name, assignments)
        build.check(checked, num_classes=1)  # refuse a wrong recipe before anything is prepared or on disk
        folder = RunFolder.create(runs, called)
    with folder.lock():
        if folder.exists:
            run = open_run(folder, device)
            _check_same(run, made_from, assignments)
        else:
            with _nothing_left_on_failure(folder):
                run = _create(folder, recipe_name, assignments, device, deadline, on_progress)
        run.machine.wait()  # the other processes open what is there now
        yield run
        run.machine.part()


@contextmanager
def _nothing_left_on_failure(folder: RunFolder) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise


def _check_same(run: Run, name: str, assignments: Sequence[str]) -> None:
    """Refuse to resume a run under another recipe or other options than it was created with."""
    environment = _environment(run.folder)
    if environment.recipe != name:
        made_from = environment.recipe
        raise BadInput(f"run {run.folder.path} was made from {made_from}, not {name}; give --name for a new run")
    then = run.recipe.tree()
    asked = _resolve(override(then, assignments), name, run.recipe.data.channels, environment.train_images)
    asked = asked if environment.moments is None else asked.measured(environment.moments)
    if asked.training.chunk_size is None:  # as when the run was created: what was chosen then stays
        asked = asked.but(training=asked.training.but(chunk_size=run.recipe.training.chunk_size))
    difference = _difference(then, asked.tree())
    if difference:
        raise BadInput(f"run {run.folder.path} was made with {difference}; give --name for a new run")


def _difference(then: Tree, now: Tree, path: str = "") -> str | None:
    """Name the first key at which two trees differ, with both values."""
    for key in [*then, *(key for key in now if key not in then)]:
        old, new = then.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            inner = _difference(old, new, f"{path}{key}.")
            if inner:
                return inner
        elif old != new:
            return f"{path}{key}={old}, not {new}"
    return None


def _create(
    folder: RunFolder,
    name: str,
    assignments: Sequence[str],
    device: str,
    deadline: float | None,
    on_progress: OnProgress | None,
) -> Run:
    """Resolve a recipe against its data and this machine, and write it down as a new run."""
    tree, checked = recipe.read(name, assignments)
    machine = Machine.detect(device, checked.training.precision).prepare()
    loader = open_loader(checked.data, checked.seed, on_progress)
    pack = loader.pack
    moments = Moments.of_levels(pack.info.mean, pack.info.std)
    resolved = _resolve(tree, name, pack.channels, len(loader)).measured(moments)
    build.check(resolved, pack.num_classes)  # again: now its channels and classes are known
    needed = training_memory(resolved, pack.num_classes, machine.alone())
    chunk_size = choose_chunk(resolved.training, needed, machine)
    resolved = resolved.but(training=resolved.training.but(chunk_size=chunk_size))
    left = None if deadline is None else deadline - time.monotonic()
    machine = replace(machine, compilation=decide(resolved, machine, pack.num_classes, left))
    if deadline is not None:
        resolved = plan(resolved, loader, machine, pack.num_classes, deadline)
    facts = {"recipe": Path(name).stem, "num_classes": pack.num_classes, "train_images": len(loader)}
    facts |= {"content_hash": pack.content_hash, "moments": moments.tree()}
    facts |= {"fixed_bytes": needed.fixed, "image_bytes": needed.image}
    folder.write_environment(machine.environment() | facts)
    folder.write_recipe(write_yaml(resolved.tree()))  # last: from here on the folder is a run
    return Run(folder, resolved, machine, pack.num_classes, pack.content_hash)


def _resolve(tree: Tree, name: str, channels: int | None, train_images: int) -> Recipe:
    """Give epochs and open channels their number; make paths independent of the folder."""
    checked = parse(Recipe, tree, where=f"recipe {name}:", train_images=train_images)
    data = checked.data.but(channels=checked.data.channels or channels)
    return _absolute(checked.but(data=data))


def _absolute(checked: Recipe) -> Recipe:
    data: DataOptions = checked.data
    places = {key: getattr(data, key) for key in ("path", "pack")}
    return checked.but(
        data=data.but(**{key: Path(p).expanduser().absolute() if p else None for key, p in places.items()})
    )
