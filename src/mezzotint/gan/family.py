"""The GAN family: a critic's phase, then a generator's; what both adapt to; and what draws."""

import math
from collections.abc import Mapping
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from mezzotint.contracts import Batch, Codec, Family, FamilyOptions, Loss, Phase
from mezzotint.errors import BadInput
from mezzotint.gan.drawing import GanGenerator, GanSampling, normalising
from mezzotint.gan.health import near_duplicates, thumbnails, variance_ratio
from mezzotint.gan.losses import LOSSES, AdversarialLoss, NonSaturating
from mezzotint.gan.regularizers import REGULARIZERS, CriticPenalty, PathLength, Regularizer, Seen, exactly
from mezzotint.gan.showing import SHOWINGS, Bare, Showing
from mezzotint.networks import NETWORKS, AdversarialPair
from mezzotint.options import Choice
from mezzotint.options import Options as OptionGroup
from mezzotint.seeds import AmbientNoise

_MEAN_W = 0.995  # what one update leaves of the mean w (Karras et al. 2020)


class GanOptions(FamilyOptions):
    """The game: its loss, what keeps it stable, what the critic is shown, and how often each side moves."""

    loss: Annotated[AdversarialLoss, Choice(LOSSES)] = Field(
        default=NonSaturating(), description="what critic and generator minimise"
    )
    regularizers: tuple[Annotated[Regularizer, Choice(REGULARIZERS)], ...] = Field(
        default=(), description="penalties on the slopes of critic and generator; [r1, r2] for both"
    )
    augmentation: Annotated[Showing, Choice(SHOWINGS)] = Field(
        default=Bare(), description="how images are changed before the critic sees them, real and drawn alike"
    )
    critic_updates: int = Field(default=1, ge=1, le=100, description="updates of the critic to one of the generator")

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        names = [_name(regularizer) for regularizer in self.regularizers]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise BadInput(f"regularizers: {twice} is given twice; say it once")
        if len({penalty.target for penalty in self.penalties()}) > 1:
            raise BadInput(
                f"regularizers={names}: gradient-penalty pulls the critic's slope to 1, r1 and r2 to 0; keep one kind"
            )
        if self.loss.border is None and SHOWINGS["ada"] is type(self.augmentation):
            name = Choice(LOSSES).name_of(self.loss)
            raise BadInput(
                f"augmentation=ada with loss={name}: ada follows the sign of the critic on real images, which means "
                "nothing there; set augmentation=always, or loss=non-saturating"
            )
        return self

    def penalties(self) -> tuple[CriticPenalty, ...]:
        """Return the regularisers of the critic."""
        return tuple(part for part in self.regularizers if isinstance(part, CriticPenalty))

    def path_length(self) -> PathLength | None:
        """Return the regulariser of the generator, if there is one."""
        return next((part for part in self.regularizers if isinstance(part, PathLength)), None)

    def check(self, network: AdversarialPair) -> None:
        """Raise `BadInput` where a network can't play this game, naming both options."""
        penalties = [_name(penalty) for penalty in self.penalties()]
        if penalties and normalising(network.critic):
            raise BadInput(
                f"family.regularizers={penalties} with network.critic_norm=batch: an image's slope means nothing where "
                "the critic sees the batch; set network.critic_norm=layer or none"
            )
        name = Choice(LOSSES).name_of(self.loss)
        if not (self.loss.bounded or penalties) and network.critic.is_spectral and network.critic.normalises:
            raise BadInput(
                f"family.loss={name} with network.spectral_norm=true and network.critic_norm not none: normalisation "
                "undoes what spectral norm bounds, the critic would grow for ever; set network.critic_norm=none"
            )
        if not (self.loss.bounded or penalties or network.critic.is_spectral):
            raise BadInput(
                f"family.loss={name} with family.regularizers=[] and no spectral norm (network.kind={_kind(network)}): "
                "the critic's values would grow for ever; set family.regularizers=[gradient-penalty]"
            )
        if self.path_length() and not network.generator_network.maps:
            raise BadInput(
                f"family.regularizers=[path-length] with network.kind={_kind(network)}: it needs a mapping of "
                "latents to w; set network.kind=stylegan2, or leave it out"
            )


def _check_reach(network: AdversarialPair, codec: Codec, channels: int) -> None:
    """Raise `BadInput` where a network can't draw some codes of images, which its critic would know it by."""
    if not network.generator_network.ends_in_tanh:
        return
    beyond = torch.tensor([-torch.inf, torch.inf], device="cpu").expand(1, channels, 1, 2)
    low, high = (bound.item() for bound in codec.clip(beyond).aminmax())
    if low < -1 or high > 1:
        raise BadInput(
            f"codec with network.kind={_kind(network)}: codes of images go from {low:.3g} to {high:.3g}, this network "
            "ends in tanh and draws from -1 to 1; set codec=identity, or network.kind=r3gan"
        )


def _variance(drawn: Tensor, real: Tensor) -> dict[str, Tensor]:
    """How varied a chunk's drawn codes are beside its real ones, for every record of the log; nothing of one alone."""
    return {"batch_variance": variance_ratio(thumbnails(drawn), thumbnails(real))} if len(drawn) > 1 else {}


def _kind(network: AdversarialPair) -> str:
    return next(name for name in NETWORKS if NETWORKS[name] is type(network))


def _name(regularizer: Regularizer) -> str:
    return Choice(REGULARIZERS).name_of(regularizer)


class Gan(Family):
    """A generator that learns from a critic what its images lack (Goodfellow et al. 2014)."""

    Options = GanOptions
    Sampling = GanSampling
    architecture = AdversarialPair
    can_worsen = True
    compiles = False
    told_together = 64

    mean_w: Tensor
    mean_length: Tensor

    def __init__(
        self,
        network: AdversarialPair,
        options: GanOptions,
        codec: Codec,
        shape: tuple[int, int, int],
        num_classes: int,
    ) -> None:
        """Compose a pair with codes of `shape` (C, H, W); `num_classes` 0 is unconditional."""
        super().__init__()
        options.check(network)
        _check_reach(network, codec, shape[0])
        self.generator_network, self.critic = network.generator_network, network.critic
        self.options, self.codec, self.num_classes = options, codec, num_classes
        self.shown = options.augmentation.state()
        self.register_buffer("mean_w", torch.zeros(self.generator_network.width))
        if options.path_length():
            self.register_buffer("mean_length", torch.zeros(()))

    def phases(self) -> list[Phase]:
        """The critic at every update, then the generator at every `critic_updates`-th."""
        return [
            Phase("critic", self.critic, self.critic_loss),
            Phase("generator", self.generator_network, self.generator_loss, self.options.critic_updates),
        ]

    def averaged(self) -> nn.Module:
        """Return the generator's network: the critic draws nothing."""
        return self.generator_network

    def rhythm(self) -> int:
        """Return after how many updates the work repeats: regularisers have turns of their own."""
        every = self.options.critic_updates
        path, penalties = self.options.path_length(), self.options.penalties()
        return math.lcm(every, every * (path.every if path else 1), *(penalty.every for penalty in penalties))

    # --- How it learns ---

    def critic_loss(self, batch: Batch) -> Loss:
        """Loss of the critic on a batch and as many drawn images, with the penalties whose turn it is."""
        real = self._real(batch)
        with torch.no_grad():
            drawn, _ = self._drawn(batch)
        due = [penalty for penalty in self.options.penalties() if penalty.due(batch.update)]
        with exactly(real.device, wanted=bool(due)):
            seen = self._seen(self.shown(real), self.shown(drawn), batch.labels, differentiable=bool(due))
            found = {_name(penalty): penalty.penalty(seen) for penalty in due}

        value = self.options.loss.critic(seen.on_real, seen.on_drawn)
        for penalty in due:
            value = value + penalty.every * penalty.weight() * found[_name(penalty)]
        parts = {"on_real": seen.on_real.mean(), "on_drawn": seen.on_drawn.mean(), **self.shown.parts(), **found}
        return Loss(value, parts, self.shown.sums(seen.on_real - (self.options.loss.border or 0.0)))

    def generator_loss(self, batch: Batch) -> Loss:
        """Loss of the generator on as many drawn images as the batch has, with its penalty if it is its turn."""
        path = self.options.path_length()
        path = path if path and path.due(batch.update // self.options.critic_updates) else None
        with exactly(batch.images.device, wanted=path is not None):
            drawn, w = self._drawn(batch)
            lengths = path.lengths(drawn, w) if path else None
        on_drawn = self._judge(self.shown(drawn), batch.labels)
        with torch.no_grad():
            real, compares = self._real(batch), self.options.loss.compares
            on_real = self._judge(self.shown(real), batch.labels) if compares else on_drawn

        value = self.options.loss.generator(on_real, on_drawn)
        parts, sums = {"on_drawn": on_drawn.mean(), **_variance(drawn.detach(), real)}, dict[str, Tensor]()
        if self.generator_network.maps:
            sums["w"] = torch.cat([w[:, 0].detach().float().sum(0), value.new_tensor([float(len(w))])])
        if path and lengths is not None:
            value = value + path.every * path.strength * (lengths - self.mean_length).square().mean()
            parts["path_length"] = lengths.mean()
            sums["lengths"] = torch.stack([lengths.detach().sum(), value.new_tensor(float(len(w)))])
        return Loss(value, parts, sums)

    def _real(self, batch: Batch) -> Tensor:
        return self.codec.encode(batch.images, AmbientNoise(batch.images.device)).float()

    def _drawn(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Draw as many codes as a batch has, of its classes, float32 [N, C, H, W], and the w they are drawn from."""
        network, noise = self.generator_network, AmbientNoise(batch.images.device)
        w = network.mixed(noise.normal((len(batch.images), network.latent)), batch.labels)
        return network.draw(w, batch.labels, noise).float(), w

    def _judge(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        return self.critic(codes, labels).float()

    def _seen(self, real: Tensor, drawn: Tensor, labels: Tensor | None, differentiable: bool) -> Seen:
        real, drawn = (codes.detach().requires_grad_(differentiable) for codes in (real, drawn))
        on_real, on_drawn = self._judge(real, labels), self._judge(drawn, labels)
        return Seen(real, drawn, on_real, on_drawn, lambda codes: self._judge(codes, labels))

    # --- What it adapts, and what it tells ---

    @torch.no_grad()
    def finish(self, update: int, sums: Mapping[str, Tensor]) -> None:
        """Follow the critic's weights, the augmentation's p, the mean w and the mean path length."""
        self.critic.follow_weights()
        self.shown.adapt(update, {name.removeprefix("critic/"): value for name, value in sums.items()})
        if (w := sums.get("generator/w")) is not None:
            self.mean_w.lerp_(w[:-1] / w[-1], 1 - _MEAN_W)
        path, lengths = self.options.path_length(), sums.get("generator/lengths")
        if path and lengths is not None:
            self.mean_length.lerp_(lengths[0] / lengths[1], path.decay)

    @torch.no_grad()
    def held_out(self, batch: Batch) -> Mapping[str, Tensor]:
        """Tell the critic's values of held-out and drawn images, and how varied the drawn ones are beside them."""
        real, (drawn, _) = self._real(batch), self._drawn(batch)
        ours, theirs = thumbnails(drawn), thumbnails(real)
        return {
            "critic/on_held_out": self._judge(real, batch.labels).mean(),
            "critic/on_drawn": self._judge(drawn, batch.labels).mean(),
            "generator/feature_variance": variance_ratio(ours, theirs),
            "generator/near_duplicates": near_duplicates(ours, theirs),
        }

    # --- How it draws ---

    def generator(self, options: OptionGroup) -> GanGenerator:
        """Return what draws from the present weights."""
        if not isinstance(options, GanSampling):
            raise TypeError(f"a GAN draws under GanSampling, not {type(options).__name__}")
        return GanGenerator.of(self.generator_network, self.codec, self.mean_w, options, self.num_classes)
