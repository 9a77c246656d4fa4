"""A recipe: every room's options nested in one tree, read from YAML, overridden, checked, written back."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator

from mezzotint.augment import AUGMENTATIONS, Augmentation
from mezzotint.contracts import Family, FamilyOptions
from mezzotint.data.prepare import DataOptions
from mezzotint.diffusion.family import Diffusion, DiffusionOptions
from mezzotint.errors import BadInput, nearest
from mezzotint.evaluation.extractors import EXTRACTORS, ExtractorOptions
from mezzotint.evaluation.protocols import Protocol
from mezzotint.gan.family import Gan
from mezzotint.networks import NETWORKS
from mezzotint.options import Choice, Count, Options, Tree, override, parse, parse_inner, read_yaml
from mezzotint.registry import Table
from mezzotint.runs.codecs import CODECS, CodecOptions, Identity, Moments
from mezzotint.training.loop import LearningOptions
from mezzotint.vae.family import VAE
from mezzotint.vae.vq_family import VQVAE

FAMILIES = Table("family", {"diffusion": Diffusion, "gan": Gan, "vae": VAE, "vq-vae": VQVAE})


Cadence = Literal["log", "validation", "sheet", "checkpoint"]
CADENCES: tuple[Cadence, ...] = get_args(Cadence)


class TrainingOptions(LearningOptions):
    """How a family learns, and when a run writes what."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="number type of the networks"
    )
    compile: Literal["auto", "on", "off"] = Field(
        default="auto", description="whether the network is compiled; auto: where that pays within the run"
    )
    log_images: Count | None = Field(
        default=None, ge=1, description="images between log records; null = 1/200 of the run"
    )
    checkpoint_images: Count | None = Field(
        default=None, ge=1, description="images between checkpoints; null = 1/10 of the run"
    )
    sheet_images: Count | None = Field(
        default=None, ge=1, description="images between sample sheets; null = 1/10 of the run"
    )
    validation_images: Count | None = Field(
        default=None, ge=1, description="images between validations; null = 1/10 of the run"
    )
    sheet_size: int = Field(default=64, ge=1, le=1024, description="pictures on a sample sheet")
    validation_size: int = Field(
        default=512, ge=1, description="most held-out images a validation loss is averaged over"
    )
    keep_checkpoints: int = Field(default=2, ge=1, description="latest checkpoints kept")

    @field_validator("compile", mode="before")
    @classmethod
    def _as_written(cls, value: object) -> object:
        """YAML reads a bare `on` and `off` as true and false."""
        return ("on" if value else "off") if isinstance(value, bool) else value

    def every(self, what: Cadence) -> int:
        """Return the cadence of one kind of record, in images."""
        parts = 200 if what == "log" else 10
        return getattr(self, f"{what}_images") or max(self.images // parts, self.batch_size)


MONITOR_SECONDS = 20.0
"""Of a training's time a share that is less than this isn't worth a monitor: it has to be made ready, too."""


class EvaluationOptions(Options):
    """The protocol a run is judged by when none is named, and how it is monitored while it trains."""

    protocol: str = Field(default="fd-classifier-1k", description="metric, extractor and number of images")
    extractors: tuple[Annotated[ExtractorOptions, Choice(EXTRACTORS)], ...] = Field(
        default=(), description="extractors with options of their own, e.g. {kind: squeezenet, weights: FILE}"
    )
    monitor: str = Field(
        default="auto",
        description="protocol scored on held-out images while training, to keep the best checkpoint; auto: a cheap "
        "one, where enough images are held out and the training is long enough (for a GAN always); off: none",
    )
    every_images: Count | None = Field(
        default=None, ge=1, description="images between monitored scores; null: as often as the share allows"
    )
    share: float = Field(
        default=0.05,
        gt=0,
        le=0.5,
        description="most of the training time that monitoring may take; by auto, a GAN is scored four times at least",
    )

    @field_validator("protocol")
    @classmethod
    def _known(cls, value: str) -> str:
        Protocol.parse(value)
        return value

    @field_validator("monitor", mode="before")
    @classmethod
    def _as_written(cls, value: object) -> object:
        """YAML reads a bare `off` as false."""
        if value in ("auto", "off", False):
            return value or "off"
        Protocol.parse(str(value))
        return value

    def reserved(self, seconds: float, can_worsen: bool) -> float:
        """Return how many of a training's seconds monitoring may take; a family that can worsen always has it."""
        long_enough = can_worsen or self.share * seconds >= MONITOR_SECONDS
        wanted = self.monitor != "off" and (self.monitor != "auto" or long_enough)
        return self.share * seconds if wanted else 0.0


class Recipe(Options):
    """A whole run: what it learns from, what learns, how, and how it draws and is judged."""

    seed: int = Field(default=0, ge=0, description="seed of everything random in training")
    data: DataOptions = Field(description="images to learn from")
    augment: tuple[Annotated[Augmentation, Choice(AUGMENTATIONS)], ...] = Field(
        default=(), description="changes at random, in turn"
    )
    codec: Annotated[CodecOptions, Choice(CODECS)] = Field(default=Identity(), description="what the network sees")
    family: Annotated[FamilyOptions, Choice(FAMILIES)] = Field(description="kind of model and its choices")
    network: Annotated[Options, Choice(NETWORKS)] = Field(description="architecture and its sizes")
    training: TrainingOptions = Field(default=TrainingOptions(), description="length, portions, rates, cadences")
    sampling: SerializeAsAny[Options] = Field(default=Options(), description="the family's ways of drawing")
    evaluation: EvaluationOptions = Field(default=EvaluationOptions(), description="how the run is judged")

    @field_validator("sampling", mode="plain")
    @classmethod
    def _by_family(cls, value: object, info: ValidationInfo) -> Options:
        if "family" not in info.data:
            return Options()  # the family's own problem is reported
        tree = value.tree() if isinstance(value, Options) else value
        return parse_inner(family_class(info.data["family"]).Sampling, tree, info)

    def told(self) -> int:
        """Return how many numbers tell the network what augmentation did to an image, 0 if it isn't told."""
        if not (isinstance(self.family, DiffusionOptions) and self.family.augmentation_conditional):
            return 0
        if not self.augment:
            raise BadInput("family.augmentation_conditional: augment is empty, nothing can be told; set it to false")
        return sum(step.width() for step in self.augment)

    def cautions(self) -> list[str]:
        """Name what is allowed but hardly meant: a line each, for whoever starts to train or to draw."""
        return self.family.cautions(self.sampling)

    def measured(self, images: Moments) -> Self:
        """Return this recipe with what codec and family leave to the images filled in."""
        codec = self.codec.measured(images)
        return self.but(codec=codec, family=self.family.measured(codec.deviation(images)))


def family_class(options: Options) -> type[Family]:
    """Return the family that these options configure."""
    return next(family for family in FAMILIES.values() if family.Options is type(options))


def shipped() -> dict[str, Path]:
    """Return the recipes that come with the package, by name."""
    folder = Path(str(files("mezzotint") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find(name: str) -> Path:
    """Return the file of a recipe given by shipped name or by path."""
    if name in shipped():
        return shipped()[name]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    raise BadInput(f"recipe {name!r}: no such recipe or .yaml file; {nearest(name, shipped())}")


def read(name: str, overrides: Sequence[str] = ()) -> tuple[Tree, Recipe]:
    """Return a recipe's tree with overrides put in, and the same tree checked."""
    path = find(name)
    tree = override(read_yaml(path), overrides)
    return tree, parse(Recipe, tree, where=f"recipe {path.stem}:")
