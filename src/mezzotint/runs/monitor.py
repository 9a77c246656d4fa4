"""Monitoring: a cheap score on held-out images while a run trains, under a share of its time; the best is kept.

How often is decided once, from the measured cost of the first updates and of a few pictures, and then written to
`environment.json`, so that a resumed run goes on as it began. What longer training may make worse is monitored by
thumbnails where nothing better can be had. Nothing here touches the random state of training.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median
from typing import NamedTuple

import numpy as np

from mezzotint.data.loading import Loader
from mezzotint.errors import BadInput
from mezzotint.evaluation.evaluate import Prepared, prepare, scored
from mezzotint.evaluation.images import DrawnPictures
from mezzotint.evaluation.metrics import METRICS
from mezzotint.evaluation.protocols import Protocol
from mezzotint.evaluation.score import Score
from mezzotint.runs import build, checkpoint
from mezzotint.runs.monitored import CHEAPEST, LEAST_TO_WATCH, monitored
from mezzotint.runs.recipe import MONITOR_SECONDS, family_class
from mezzotint.runs.records import Record
from mezzotint.runs.references import BATCH, Packed, provenance
from mezzotint.runs.run import Run
from mezzotint.seeds import forked
from mezzotint.training.loop import Learner

Values = dict[str, float | int | str]

MOST_REAL = 5000
MOST_LESSONS = 20_000
MOST_SCORES = 100
LEAST_SCORES = 4  # of what longer training may make worse, whatever they cost
WARM_UP, TIMED = 2, 6  # updates
_PICTURES = 16  # drawn to see what a score's take


def cadence(images: int, per_image: float, per_score: float, preparing: float, share: float) -> int | None:
    """Return images between scores such that all of them take at most this share of the training time.

    `per_image`, `per_score` and `preparing` are in seconds. None where fewer than two scores fit: one has no rival.
    """
    count = min(MOST_SCORES, int((share * images * per_image - preparing) / per_score))
    return math.ceil(images / count) if count >= 2 else None


def _spread(indices: np.ndarray, most: int) -> np.ndarray:
    """Return every k-th index, so that at most about `most` of all kinds are left."""
    return indices[:: max(1, len(indices) // most)]


class Cost(NamedTuple):
    """Seconds of a score's parts: a few pictures and what must be ready for them, a few more, and the metric."""

    first: float
    more: float
    metric: float

    def seconds(self, rounds: float) -> float:
        """Return the seconds of a score of so many times a few pictures."""
        return self.first + self.more * rounds + self.metric

    def least(self) -> "Cost":
        """Return what the parts would take if whichever of the two drawings took longer had been disturbed."""
        fast = min(self.first, self.more)
        return Cost(fast, fast, 0.0)


@dataclass
class Monitor:
    """Decides when a run is scored, scores it, and knows the best so far."""

    run: Run
    loader: Loader
    clock: Callable[[], float] = time.perf_counter
    protocol: str | None = None  # None: off
    every_images: int | None = None  # None: not decided yet
    best: float | None = None  # the less the better
    seconds: list[float] = field(default_factory=list)  # of the first updates
    prepared: Prepared | None = None
    preparing_seconds: float = 0.0
    blind: bool = False  # whether nothing can be monitored that should be, and nobody has been told

    @classmethod
    def of(cls, run: Run, loader: Loader, clock: Callable[[], float] = time.perf_counter) -> "Monitor":
        """Return a run's monitor as its recipe asks, or as was decided in an earlier session."""
        options, decided = run.recipe.evaluation, run.folder.read_environment()
        if "monitor" in decided:
            return cls(run, loader, clock, decided["monitor"], decided["monitor_every_images"])._knowing_the_best()
        monitor = cls(run, loader, clock, monitored(run.recipe, loader), options.every_images)
        monitor.blind = monitor.protocol is None and monitor._must()
        return monitor._knowing_the_best()

    def __post_init__(self) -> None:
        """Refuse a protocol by which no checkpoint is the best."""
        part = METRICS[Protocol.parse(self.protocol).metric] if self.protocol else None
        if part is not None and (part.unranked or part.reference_is_training):
            raise BadInput(
                f"evaluation.monitor: {self.protocol} tells of copies, not which checkpoint is best; "
                "give it to `mezzotint evaluate` and monitor a distance, e.g. fd-classifier-256"
            )

    def _knowing_the_best(self) -> "Monitor":
        """Read the best score from the log; mark its checkpoint if a crash came between saving and marking."""
        known = self.protocol and self.run.machine.is_main and self.run.folder.log.exists()
        log = self.run.folder.read_log() if known else []
        for line in (line for line in log if line["kind"] == "score" and line.get("protocol") == self.protocol):
            folder, number = self.run.folder.checkpoints, int(line["images_seen"])
            if self.improves(line) and number in checkpoint.available(folder) and checkpoint.best(folder) != number:
                checkpoint.mark_best(folder, number)
        return self

    # --- When ---

    def watch(self, seconds: float, learner: Learner) -> Values | None:
        """Take in how long an update took; return what is decided, once enough of them are known."""
        if self.protocol is None:
            return self._blind() if self.blind else None
        try:
            return self._watch(seconds, learner)
        except BadInput as error:  # a wrong weights file: no reason to end a training that didn't ask for it
            if self.run.recipe.evaluation.monitor != "auto":
                raise
            if not self._must() or self.protocol == CHEAPEST or self.best is not None:  # scores of two don't compare
                return self._off(str(error))
            self._change(CHEAPEST)
            return {"protocol": CHEAPEST, "because": str(error)}

    def _must(self) -> bool:
        """Whether nobody asked for less and longer training may make it worse: else its last weights would draw."""
        return self.run.recipe.evaluation.monitor == "auto" and family_class(self.run.recipe.family).can_worsen

    def _blind(self) -> Values:
        self.blind, held_out = False, len(self.loader.held_out_indices)
        return self._off(
            f"{held_out} held-out images, {LEAST_TO_WATCH} are needed to keep the best; raise data.held_out"
        )

    def _change(self, protocol: str) -> None:
        self.protocol, self.prepared, self.preparing_seconds = protocol, None, 0.0

    def _watch(self, seconds: float, learner: Learner) -> Values | None:
        if self.run.recipe.evaluation.monitor != "auto" or self.every_images is not None:
            self._ready()  # what can't be had is told at once, not at the first score
        if self.every_images is not None:
            return None
        self.seconds.append(seconds)
        return self._decide(learner) if len(self.seconds) >= WARM_UP + TIMED else None

    def _decide(self, learner: Learner) -> Values:
        training, options = self.run.recipe.training, self.run.recipe.evaluation
        per_image = median(self.seconds[WARM_UP:]) / training.batch_size
        whole, most = training.images * per_image, f"{options.share:.0%}"
        if options.monitor == "auto" and options.share * whole < MONITOR_SECONDS:
            if not self._must():
                return self._off(f"{most} of about {whole:.0f} s of training are too little")
            self._change(CHEAPEST)
        per_score = self._affordable(learner, per_image)
        if self.every_images is None and self._must() and self.protocol != CHEAPEST:
            self._change(CHEAPEST)
            per_score = self._affordable(learner, per_image)
        because = f"a score takes about {per_score:.2g} s, at most {most} of the training goes into them"
        if self.every_images is None:
            because = f"a score takes about {per_score:.2g} s of about {whole:.0f} s of training"
            if not self._must():
                return self._off(because)
            self.every_images = math.ceil(training.images / LEAST_SCORES)
        self._write()
        return {"protocol": str(self.protocol), "every_images": self.every_images, "because": because}

    def _affordable(self, learner: Learner, per_image: float) -> float:
        """Set how many images lie between scores, None where these are too dear; return the seconds of one.

        What preparing and measuring took is gone, so it counts for half of their share at most. A cost is measured
        again where but for one slow moment it may be less than half: whatever disturbs only adds.
        """
        images, share = self.run.recipe.training.images, self.run.recipe.evaluation.share
        rounds = max(Protocol.parse(str(self.protocol)).count / _PICTURES, 1)

        def every(cost: Cost, spent: float) -> float:
            gone = min(self.preparing_seconds + spent, share * images * per_image / 2)
            return cadence(images, per_image, cost.seconds(rounds), gone, share) or math.inf

        cost, spent = self._cost(learner)
        if every(cost, spent) > 2 * every(cost.least(), spent):
            again, longer = self._cost(learner)
            cost, spent = Cost(*(min(pair) for pair in zip(cost, again, strict=True))), spent + longer
        found = every(cost, spent)
        self.every_images = None if math.isinf(found) else int(found)
        return cost.seconds(rounds)

    def _off(self, because: str) -> Values:
        self.protocol = None
        self._write()
        return {"protocol": "off", "because": because}

    def _write(self) -> None:
        decided = {"monitor": self.protocol, "monitor_every_images": self.every_images}
        self.run.folder.write_environment(self.run.folder.read_environment() | decided)

    def _cost(self, learner: Learner) -> tuple[Cost, float]:
        """Measure what a score consists of with a few pictures; return the seconds of that, too."""
        protocol = Protocol.parse(str(self.protocol))
        with forked(self.run.recipe.seed, "monitor"), self.run.machine.plainly():
            side = self._ready().sides[protocol.extractor]
            pictures = self._pictures(learner, min(_PICTURES, protocol.count))
            began = self.clock()
            pictures.batch(0)  # what draws may have to be made ready, as often as it is scored
            ready = self.clock()
            pixels, _ = pictures.batch(0)
            side.extractor.features(pixels.expand(-1, 3, -1, -1))
            drawn = self.clock()
            METRICS[protocol.metric]()(side.reference[: protocol.count], side.reference, side.held_out)
            ended = self.clock()
        return Cost(ready - began, drawn - ready, ended - drawn), ended - began

    def due(self, images_seen: int, last: bool) -> bool:
        """Whether the update that ended at `images_seen` is to be scored: at the cadence, and at the end of a run."""
        training, every = self.run.recipe.training, self.every_images
        if self.protocol is None or every is None or every > training.images:
            return False
        return last or images_seen // every > (images_seen - training.batch_size) // every

    # --- How good ---

    def score(self, learner: Learner) -> Values:
        """Score the averaged weights on held-out images."""
        began, count = self.clock(), Protocol.parse(str(self.protocol)).count
        with forked(self.run.recipe.seed, "monitor"), self.run.machine.plainly():
            (score,) = (r for r in scored(self._pictures(learner, count), self._ready()) if isinstance(r, Score))
        values: Values = {"protocol": score.protocol}
        for name, value in score.values.items():
            values |= {name: value.value} | ({} if value.error is None else {f"{name}/error": value.error})
            if score.floor is not None and name in score.floor.values:
                values[f"{name}/floor"] = score.floor.values[name].value
        return values | {"seconds": round(self.clock() - began, 3)}

    def improves(self, record: Record) -> bool:
        """Whether a record of kind `score` is better than all before it; if so, it is the best from now on."""
        name, sign = self._headline(record)
        value = record[name]
        if value is None or not math.isfinite(value) or (self.best is not None and sign * value >= self.best):
            return False
        self.best = sign * value
        return True

    def _headline(self, record: Record) -> tuple[str, int]:
        metric = METRICS[Protocol.parse(str(self.protocol)).metric]
        names = list(record)
        first = names[names.index("protocol") + 1]
        return first, -1 if first in metric.larger_is_better else 1

    def _pictures(self, learner: Learner, count: int) -> DrawnPictures:
        family = learner.ema.family.eval()
        generator = build.generator(family, self.run.recipe, self.run.machine)
        return DrawnPictures(generator, self.run.machine.alone(), count, BATCH)

    def _ready(self) -> Prepared:
        """Load the extractor and look at the held-out images, once."""
        if self.prepared is None:
            began = self.clock()
            with build.naming("evaluation.monitor"), forked(self.run.recipe.seed, "monitor"):
                self.prepared = self._prepare()
            self.preparing_seconds = self.clock() - began
        return self.prepared

    def _prepare(self) -> Prepared:
        pack, train = self.loader.pack, self.loader.train_indices
        lessons, floor = _spread(train[1::2], MOST_LESSONS), _spread(train[::2], MOST_REAL)
        steps = prepare(
            Packed(pack, self.loader.held_out_indices[:MOST_REAL], BATCH),
            [str(self.protocol)],
            held_out=Packed(pack, floor, BATCH),
            labelled=Packed(pack, lessons, BATCH) if pack.num_classes else None,
            extractors=self.run.recipe.evaluation.extractors,
            provenance=replace(provenance(pack), whole=False),  # the held-out ones only
            machine=self.run.machine.alone(),
        )
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return stop.value
