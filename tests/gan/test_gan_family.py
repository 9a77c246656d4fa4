"""The GAN family: what goes together, whose turn it is, what it adapts, and how it draws."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint.contracts import Batch
from mezzotint.errors import BadInput
from mezzotint.gan.drawing import GanSampling
from mezzotint.gan.family import Gan, GanOptions
from mezzotint.gan.losses import LOSSES
from mezzotint.gan.regularizers import exactly
from mezzotint.gan.showing import ADA, Adapting, Always
from mezzotint.generation.stream import stream
from mezzotint.machine import Machine
from mezzotint.networks import NetworkShape
from mezzotint.options import parse
from mezzotint.runs.codecs import Identity
from mezzotint.training.loop import Learner, LearningOptions, Trainer
from small_gans import SIZES, pair

CPU = Machine(torch.device("cpu"), "float32", 1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def _gan(
    kind: str = "dcgan", classes: int = 0, network: Mapping[str, object] | None = None, size: int = 8, **options: Any
) -> Gan:
    shape = NetworkShape(1, 1, size, classes)
    chosen = parse(GanOptions, {"class_conditional": classes > 0, **options})
    return Gan(pair(kind, shape, **(network or {})), chosen, Identity(), (1, size, size), classes)


def _batch(count: int = 8, update: int = 0, classes: int = 0) -> Batch:
    labels = torch.arange(count) % classes if classes else None
    return Batch(torch.rand(count, 1, 8, 8) * 2 - 1, labels, None, update, 0)


def _feed(position: int, length: int) -> tuple[Tensor, None]:
    place = torch.arange(position, position + length)[:, None, None, None]
    return ((place * 37 + torch.arange(64).reshape(1, 1, 8, 8) * 3) % 256).to(torch.uint8), None


def _learner(family: Gan, **changes: object) -> Learner:
    tree = {"images": 800, "batch_size": 8, "learning_rate": 0.001, "warmup_images": 0, "gradient_clip": None}
    return Learner.start(family, parse(LearningOptions, {**tree, **changes}))


def _train(learner: Learner, updates: int) -> list[dict[str, float]]:
    found = Trainer(_feed, lambda images: (images, None), CPU, 0).train(learner)
    return [{name: value.item() for name, value in update.parts.items()} for update in islice(found, updates)]


# --- What goes together ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("regularizers", [["gradient-penalty"], ["r1", "r2"], ["r2"]])
@pytest.mark.parametrize("augmentation", ["none", "always", "ada"])
def test_losses_networks_regularisers_and_augmentations_are_free_choices(
    loss: str, kind: str, regularizers: list[str], augmentation: str
) -> None:
    if augmentation == "ada" and LOSSES[loss].border is None:
        return
    network = {"critic_norm": "none"} if kind == "dcgan" else {}
    family = _gan(kind, network=network, loss=loss, regularizers=regularizers, augmentation=augmentation).train()
    for phase in family.phases():
        family.requires_grad_(False)
        phase.module.requires_grad_(True)
        found = phase.loss(_batch(4))
        found.value.backward()
        assert found.value.isfinite()
        assert any(p.grad is not None and bool((p.grad != 0).any()) for p in phase.module.parameters())


@pytest.mark.parametrize(
    ("kind", "network", "options", "message"),
    [
        ("dcgan", {}, {"regularizers": ["r1"]}, r"regularizers=\['r1'\] with network\.critic_norm=batch"),
        ("sngan", {"spectral_norm": False}, {"loss": "wasserstein"}, r"loss=wasserstein with .*regularizers=\[\]"),
        ("dcgan", {}, {"loss": "wasserstein"}, r"loss=wasserstein .*network\.kind=dcgan"),
        ("dcgan", {"spectral_norm": True}, {"loss": "wasserstein"}, r"wasserstein .*network\.critic_norm=none"),
        ("dcgan", {"spectral_norm": True, "critic_norm": "layer"}, {"loss": "wasserstein"}, r"spectral norm bounds"),
        ("r3gan", {}, {"regularizers": ["path-length"]}, r"path-length\] with network\.kind=r3gan"),
        ("sngan", {}, {"regularizers": ["r1", "gradient-penalty"]}, r"gradient-penalty pulls .* to 1, r1 and r2 to 0"),
        ("sngan", {}, {"regularizers": ["r1", "r1"]}, r"regularizers: r1 is given twice"),
        ("r3gan", {}, {"loss": "relativistic", "augmentation": "ada"}, r"augmentation=ada with loss=relativistic"),
        ("r3gan", {}, {"loss": "hinged"}, r"unknown loss 'hinged': did you mean hinge"),
        ("r3gan", {}, {"critic_updates": 0}, r"critic_updates: .*greater than or equal to 1"),
    ],
)
def test_what_does_not_go_together_is_refused_naming_both(
    kind: str, network: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        _gan(kind, network=network, size=16, **options)


def test_wasserstein_goes_with_a_spectral_norm() -> None:
    assert _gan("sngan", loss="wasserstein").critic.is_spectral
    bare = {"spectral_norm": True, "critic_norm": "none"}
    assert _gan("dcgan", network=bare, size=16, loss="wasserstein").critic.is_spectral
    with pytest.raises(BadInput, match="no spectral norm"):
        _gan("dcgan", loss="wasserstein")


# --- Whose turn it is ------------------------------------------------------------------------------------------


def test_the_critic_moves_always_and_the_generator_in_turn_with_rates_of_their_own() -> None:
    family = _gan(critic_updates=3)
    phases = {"critic": {"learning_rate": 0.01, "beta1": 0.2}, "generator": {"learning_rate": 0.002}}
    learner = _learner(family, phases=phases)
    moved = []
    for update in range(4):
        before = [torch.cat([p.detach().flatten() for p in phase.module.parameters()]) for phase in family.phases()]
        (parts,) = _train(learner, 1)
        after = [torch.cat([p.detach().flatten() for p in phase.module.parameters()]) for phase in family.phases()]
        moved.append([not old.equal(new) for old, new in zip(before, after, strict=True)])
        assert ("generator/gradient_norm" in parts) == (update % 3 == 0)
        assert parts["critic/gradient_norm"] > 0
    assert moved == [[True, True], [True, False], [True, False], [True, True]]
    rates = [learner.optimizers[name].param_groups[0] for name in ("critic", "generator")]
    assert [group["lr"] for group in rates] == [0.01, 0.002]
    assert [group["betas"][0] for group in rates] == [0.2, 0.9]


def test_lazy_penalties_come_at_their_turns_as_strong_as_they_are_rare() -> None:
    lazy, eager = ([{"kind": "r1", "gamma": 2.0, "every": every}] for every in (4, 1))
    families = [_gan("r3gan", regularizers=chosen) for chosen in (lazy, eager, [])]
    for family in families[1:]:
        family.load_state_dict(families[0].state_dict())
    values: list[list[float]] = []
    for update in (0, 1):
        batch = _batch(update=update)
        values.append([])
        for family in families:
            torch.manual_seed(1)
            values[-1].append(family.critic_loss(batch).value.item())
    (first, every, none), (off, _, plain) = values
    assert first - none == pytest.approx(4 * (every - none), rel=1e-3)
    assert off == plain
    assert [family.rhythm() for family in families] == [4, 1, 1]


@pytest.mark.parametrize("penalty", ["r1", "r2"])
def test_a_penalty_in_float16_is_that_of_float32(penalty: str) -> None:
    """Slopes of a critic this flat are no numbers of float16, and a loss scale comes too late for them."""
    family, found = _gan("r3gan", regularizers=[penalty]).train(), list[float]()
    torch.nn.init.constant_(family.critic.verdict.linear.weight, 1e-8)  # type: ignore[union-attr,arg-type]
    for half in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.float16, enabled=half):
            loss = family.critic_loss(_batch())
        loss.value.backward()
        found.append(loss.parts[penalty].item())
    assert found[1] == pytest.approx(found[0], rel=0.05)
    assert found[0] > 0


def test_a_path_length_in_float16_is_that_of_float32() -> None:
    family, found = _gan("stylegan2", regularizers=["path-length"]).train(), list[float]()
    with torch.no_grad():
        for layer in family.generator_network.to_image:  # type: ignore[union-attr]
            layer.conv.weight.mul_(1e-7)  # type: ignore[union-attr,operator]
    for half in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.float16, enabled=half):
            found.append(family.generator_loss(_batch()).parts["path_length"].item())
    assert found[1] == pytest.approx(found[0], rel=1e-3)
    assert found[0] > 0


def test_only_float16_gives_way_to_slopes() -> None:
    for dtype, wanted, left in (
        (torch.float16, True, False),
        (torch.float16, False, True),
        (torch.bfloat16, True, True),
    ):
        with torch.autocast("cpu", dtype), exactly(torch.device("cpu"), wanted):
            assert torch.is_autocast_enabled("cpu") == left


def test_updates_repeat_after_all_turns_have_come_round() -> None:
    chosen = [{"kind": "r1", "every": 16}, {"kind": "path-length", "every": 4}]
    assert _gan("stylegan2", regularizers=chosen, critic_updates=3).rhythm() == 48


# --- The average -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SIZES)
def test_the_generator_is_averaged_and_the_critic_shared(kind: str) -> None:
    learner = _learner(_gan(kind))
    _train(learner, 3)
    ours, average = learner.family, learner.ema.family
    assert isinstance(ours, Gan)
    assert isinstance(average, Gan)
    pairs = list(zip(ours.generator_network.parameters(), average.generator_network.parameters(), strict=True))
    assert any(not a.equal(b) for a, b in pairs)
    assert not any(a is b or b.requires_grad for a, b in pairs)
    shared = zip(ours.critic.parameters(), average.critic.parameters(), strict=True)
    assert all(a is b for a, b in shared)
    buffers = zip(ours.buffers(), average.buffers(), strict=True)
    assert all(a.equal(b) and a is not b for a, b in buffers)


# --- What it adapts --------------------------------------------------------------------------------------------


def test_ada_follows_the_sign_of_the_critic_on_real_images() -> None:
    shown = Adapting(ADA(images=100, target=0.5))
    shown.p.fill_(0.5)
    for update, signs in enumerate((8.0, 8.0, 8.0, 2.0), 1):
        shown.adapt(update, {"signs": torch.tensor([signs, 8.0])})
    assert shown.p.item() == pytest.approx(0.5 + 32 / 100)  # mean sign 26/32 > 0.5: up by the share of images seen
    assert shown.gathered.tolist() == [0, 0]
    for update in range(5, 9):
        shown.adapt(update, {"signs": torch.tensor([0.0, 80.0])})
    assert shown.p.item() == 0  # down, and never below
    sums = shown.sums(torch.tensor([0.3, -0.2, 0.0, 4.0]))
    assert sums["signs"].tolist() == [1, 4]


def test_ada_changes_nothing_at_zero_and_all_at_one_and_gradients_pass() -> None:
    shown = Adapting(ADA())
    images = torch.rand(64, 3, 8, 8, requires_grad=True)
    assert shown(images).equal(images)
    shown.p.fill_(1.0)
    changed = shown(images)
    assert (changed != images).flatten(1).any(1).all()
    changed.square().sum().backward()
    assert images.grad is not None
    assert images.grad.flatten(1).any(1).all()


def test_p_adapts_in_training_and_is_in_the_log() -> None:
    family = _gan("r3gan", augmentation={"kind": "ada", "images": 320, "start": 0.5, "steps": ["shift"]})
    parts = _train(_learner(family, chunk_size=4), 5)
    found = [part["critic/augmentation_p"] for part in parts]
    assert found[:4] == [0.5] * 4
    assert abs(found[4] - 0.5) == pytest.approx(32 / 320)


def test_always_changes_every_image() -> None:
    images = torch.rand(16, 3, 16, 16)
    assert (Always().state()(images) != images).flatten(1).any(1).all()


def test_mean_w_and_mean_path_length_follow_sums_over_chunks() -> None:
    family = _gan("stylegan2", regularizers=[{"kind": "path-length", "every": 2, "decay": 0.25}])
    w, n = torch.randn(5) * 16, 16.0
    family.finish(1, {"generator/w": torch.cat([w, torch.tensor([n])]), "generator/lengths": torch.tensor([32.0, n])})
    torch.testing.assert_close(family.mean_w, 0.005 * w / n)
    assert family.mean_length.item() == pytest.approx(0.25 * 2)
    family.finish(2, {})
    assert family.mean_length.item() == pytest.approx(0.25 * 2)


def test_chunks_give_the_same_first_gradient_without_batch_statistics() -> None:
    """Penalties, losses and what is summed up are means and sums over images: only the random draws differ."""
    parts = []
    for size in (8, 4):
        torch.manual_seed(0)
        family = _gan("r3gan", loss="hinge", regularizers=["r1"])
        parts.append(_train(_learner(family, chunk_size=size), 1)[0])
    for name in ("critic/on_real", "critic/r1"):
        assert parts[0][name] == pytest.approx(parts[1][name], rel=1e-4)


# --- How it draws ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("classes", [0, 3])
def test_an_image_depends_on_its_seed_alone(kind: str, classes: int) -> None:
    family = _gan(kind, classes).eval()
    for layer in family.generator_network.modules():
        if (strength := getattr(layer, "strength", None)) is not None:
            torch.nn.init.ones_(strength)

    def draw(seeds: range | list[int], batch_size: int) -> Tensor:
        generator = family.generator(GanSampling())
        assert generator.latent_shape == (6,)
        found = stream(generator, seeds, batch_size=batch_size, device="cpu")
        return torch.cat([batch.pixels for batch in found]).short()

    whole = draw(range(12), 12)
    for seeds, size in ((range(12), 5), ([7, 3], 2), (range(12), 1)):
        assert (draw(seeds, size) - whole[list(seeds)]).abs().max() <= 1
    assert whole.unique(dim=0).shape[0] == 12


def test_batch_norm_draws_with_statistics_of_its_own_weights() -> None:
    family = _gan("dcgan").eval()
    generator = family.generator(GanSampling())
    latent = torch.randn(512, 6)
    drawn = generator.decode(latent, None, _NoNoise())
    with torch.no_grad():
        batch = family.generator_network(latent, None, _NoNoise())  # normalised by its own batch, as in training
    torch.testing.assert_close(drawn, batch, atol=0.1, rtol=0)
    assert not drawn.equal(batch)
    assert not any("running" in name for name in family.state_dict())
    again = family.generator(GanSampling()).decode(latent, None, _NoNoise())
    assert again.equal(drawn)
    with torch.no_grad():
        next(family.generator_network.parameters()).mul_(3)  # the next layer normalises that away
    torch.testing.assert_close(
        family.generator(GanSampling()).decode(latent, None, _NoNoise()), drawn, atol=1e-2, rtol=0
    )


class _NoNoise:
    def normal(self, shape: Sequence[int]) -> Tensor:
        raise AssertionError("these networks draw nothing besides the latent")


@pytest.mark.parametrize("kind", ["r3gan", "stylegan2"])
def test_truncation_goes_towards_the_mean(kind: str) -> None:
    family = _gan(kind).eval()
    if kind == "stylegan2":
        family.mean_w.copy_(torch.randn(5))
    latent, noise = torch.randn(2, 6), _Zeros()
    whole, half, none = (
        family.generator(GanSampling(truncation=psi)).decode(latent, None, noise) for psi in (1.0, 0.5, 0.0)
    )
    torch.testing.assert_close(none[0], none[1])
    network = family.generator_network
    with torch.no_grad():
        w = network.map(latent, None)
        expected = network.draw(family.mean_w + 0.5 * (w - family.mean_w), None, noise)
        torch.testing.assert_close(half, expected)
        torch.testing.assert_close(whole, network.draw(w, None, noise))


class _Zeros:
    def normal(self, shape: Sequence[int]) -> Tensor:
        return torch.zeros(tuple(shape))


def test_held_out_images_tell_of_the_critic_and_of_variety() -> None:
    family = _gan("r3gan", classes=3).eval()
    found = family.held_out(_batch(16, classes=3))
    assert set(found) == {
        "critic/on_held_out",
        "critic/on_drawn",
        "generator/feature_variance",
        "generator/near_duplicates",
    }
    assert all(value.ndim == 0 and value.isfinite() for value in found.values())
    assert family.generator_loss(_batch(16, classes=3)).parts["batch_variance"] > 1e-3
    assert "batch_variance" not in family.generator_loss(_batch(1, classes=3)).parts, "one image isn't varied"
    torch.nn.init.zeros_(family.generator_network.linear.weight)  # type: ignore[union-attr]
    torch.nn.init.ones_(family.generator_network.linear.bias)  # type: ignore[union-attr]
    collapsed = family.held_out(_batch(16, classes=3))
    assert collapsed["generator/feature_variance"] < 1e-6
    assert collapsed["generator/near_duplicates"] == 1
    assert family.generator_loss(_batch(16, classes=3)).parts["batch_variance"] < 1e-6


def test_labels_are_asked_for() -> None:
    family = _gan("dcgan", classes=3)
    with pytest.raises(BadInput, match="needs one for every image"):
        family.critic_loss(replace(_batch(classes=3), labels=None))
