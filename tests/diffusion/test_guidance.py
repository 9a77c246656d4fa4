"""Guidance against closed forms, null classes, intervals, thresholds; what can't be guided is refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mezzotint.contracts import Batch, Condition
from mezzotint.diffusion.family import Diffusion, DiffusionOptions
from mezzotint.diffusion.generator import DiffusionSampling
from mezzotint.diffusion.guidance import Guided
from mezzotint.diffusion.schedules.karras import Karras
from mezzotint.diffusion.wrapping import Clipped, Thresholded, wrapped
from mezzotint.errors import BadInput
from mezzotint.options import parse
from mezzotint.runs.codecs import Identity, Standardize
from mezzotint.samplers import integrate
from mezzotint.samplers.heun import Heun
from mezzotint.seeds import SeededNoise
from oracle import Mixture

SIGMA = torch.tensor([0.01, 0.3, 2.0, 50.0], dtype=torch.float64)
SHAPE = (1, 2, 2)


def gaussian(mean: tuple[float, float], std: float) -> Mixture:
    double = torch.float64
    return Mixture(torch.ones(1, dtype=double), torch.tensor([mean], dtype=double), torch.tensor([std], dtype=double))


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_two_gaussians_guide_to_the_gaussian_of_their_powers(scale: float) -> None:
    """p^scale q^(1 - scale) at every level: precisions and precision-weighted means are combined likewise."""
    torch.manual_seed(0)
    better, weaker = gaussian((0.5, -0.4), 0.2), gaussian((-0.1, 0.3), 0.6)
    x = torch.randn(4, 2, dtype=torch.float64)
    shares = scale / (0.2**2 + SIGMA**2), (1 - scale) / (0.6**2 + SIGMA**2)
    precision = (shares[0] + shares[1])[:, None]
    score = shares[0][:, None] * (better.means - x) + shares[1][:, None] * (weaker.means - x)
    mean = x + score / precision
    expected = x + SIGMA[:, None] ** 2 * precision * (mean - x)
    torch.testing.assert_close(wrapped(better, Guided(weaker, scale))(x, SIGMA), expected)


def test_samples_guided_between_equal_widths_are_moved_by_the_scale() -> None:
    """Where only the means differ, guidance moves the whole Gaussian along their difference."""
    torch.manual_seed(0)
    better, weaker = gaussian((0.5, -0.4), 0.2), gaussian((-0.1, 0.3), 0.2)
    start = 40 * torch.randn(4000, 2, dtype=torch.float64)
    denoise = wrapped(better, Guided(weaker, 2.0))
    *_, last = integrate(denoise, start, Karras(sigma_max=40).grid(40), Heun(), SeededNoise([]))
    torch.testing.assert_close(last.x.mean(0), torch.tensor([1.1, -1.1]).double(), atol=0.02, rtol=0)
    torch.testing.assert_close(last.x.std(0), torch.tensor([0.2, 0.2]).double(), atol=0.01, rtol=0)


def test_outside_its_interval_guidance_neither_changes_nor_calls() -> None:
    calls: list[Tensor] = []

    def weaker(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append(sigma)
        return torch.zeros_like(x)

    def better(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.ones_like(x)

    denoise = wrapped(better, Guided(weaker, 3.0, low=0.3, high=2.0))
    x = torch.zeros(4, 2, dtype=torch.float64)
    assert denoise(x, SIGMA).tolist() == [[1, 1], [1, 1], [3, 3], [1, 1]]  # (low, high]
    assert denoise(x[:1], SIGMA[1:2]).tolist() == denoise(x[:1], SIGMA[3:]).tolist() == [[1, 1]]
    assert len(calls) == 1


class Told(nn.Module):
    """A network that says which class it was told, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.asked: list[list[int]] = []

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        labels = condition.labels
        assert labels is not None
        self.asked.append(labels.tolist())
        return self.gain * labels.reshape(-1, 1, 1, 1).to(x) / 10 + torch.zeros_like(x)


def family(network: nn.Module, num_classes: int = 5, **tree: object) -> Diffusion:
    given = {"class_conditional": True, "label_dropout": 0.2, "prediction": "x0", **tree}
    return Diffusion(network, parse(DiffusionOptions, given), Identity(), SHAPE, num_classes)


def draw(chosen: Diffusion, labels: list[int], **tree: object) -> Tensor:
    generator = chosen.generator(parse(DiffusionSampling, tree))
    noise = SeededNoise(range(len(labels)))
    return generator.decode(noise.normal((len(labels), *SHAPE)), torch.tensor(labels), noise)


def test_classifier_free_guidance_moves_away_from_the_null_class() -> None:
    """Ho & Salimans 2022, eq. 6 with scale = 1 + w; D is class / 10, and 5 is the null class."""
    network = Told()
    guided = {"guidance": {"kind": "classifier-free", "scale": 3}, "sampler": "heun", "steps": 3}
    images = draw(family(network), [1, 4], **guided)
    assert images[:, 0, 0, 0].tolist() == pytest.approx([0.5 + 3 * (0.1 - 0.5), 0.5 + 3 * (0.4 - 0.5)])
    assert network.asked == [[1, 4], [5, 5]] * 5  # Heun: two calls a move, one to 0


def test_nfe_counts_two_within_the_interval_alone() -> None:
    network = Told()
    how = {"sampler": "euler", "steps": 4, "schedule": {"kind": "karras", "rho": 1, "sigma_min": 1, "sigma_max": 4}}
    draw(family(network), [2], guidance={"kind": "classifier-free", "interval": [1.5, 3]}, **how)
    assert network.asked == [[2], [2], [5], [2], [5], [2]]  # at 4, 3, 2 and 1


def test_at_scale_1_nothing_weaker_is_called() -> None:
    network = Told()
    draw(family(network), [2], guidance={"kind": "classifier-free", "scale": 1}, sampler="euler", steps=2)
    assert network.asked == [[2], [2]]


@pytest.mark.parametrize("interval", [[80, 200], [0.0001, 0.001]])
def test_an_interval_beyond_all_sampled_levels_is_refused(interval: list[float]) -> None:
    guidance = {"kind": "classifier-free", "interval": interval}
    with pytest.raises(BadInput, match=r"guidance.interval: nothing is sampled .* are 0.002 to 80"):
        family(Told()).generator(parse(DiffusionSampling, {"guidance": guidance}))


def test_labels_are_dropped_as_often_as_asked_and_drawn_before_the_loss() -> None:
    torch.manual_seed(0)
    network, labels = Told(), torch.arange(2000) % 5
    chosen = family(network, label_dropout=0.3)
    batch = chosen.draw(Batch(torch.zeros(2000, *SHAPE), labels, None, 0, 0))
    chosen.loss(batch)
    (told,) = map(torch.tensor, network.asked)
    dropped = told == 5
    assert float(dropped.float().mean()) == pytest.approx(0.3, abs=0.03)
    assert torch.equal(told[~dropped], labels[~dropped])
    assert torch.equal(batch.drawn["unlabelled"], dropped)
    part = batch.rows(100, 200)
    chosen.loss(part)
    assert network.asked[1] == told[100:200].tolist()


def test_what_the_network_must_tell_apart_counts_the_null_class() -> None:
    def classes(**tree: object) -> int:
        return parse(DiffusionOptions, tree).classes(10)

    assert (classes(), classes(class_conditional=True)) == (0, 10)
    assert classes(class_conditional=True, label_dropout=0.1) == 11
    assert family(Told()).generator(DiffusionSampling()).num_classes == 5


def test_autoguidance_moves_away_from_the_model_beside_it() -> None:
    better, weaker = Told(), Told()
    with torch.no_grad():
        weaker.gain.fill_(0.5)
    chosen = family(better, label_dropout=0)
    tree = {"guidance": {"kind": "autoguidance", "run": "elsewhere", "scale": 2}, "sampler": "heun", "steps": 2}
    generator = chosen.generator(parse(DiffusionSampling, tree))
    noise, labels = SeededNoise([0]), torch.tensor([4])
    guided = generator.beside(family(weaker, label_dropout=0))
    assert guided.decode(noise.normal((1, *SHAPE)), labels, noise).flatten()[0] == pytest.approx(0.2 + 2 * (0.4 - 0.2))
    assert len(better.asked) == len(weaker.asked) == 3
    with pytest.raises(BadInput, match="draw through a run"):
        generator.decode(noise.normal((1, *SHAPE)), labels, noise)


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (lambda: replace_shape(family(Told())), "codes are"),
        (lambda: family(Told(), num_classes=7), "one of 7 classes.*class_conditional"),
    ],
)
def test_a_weaker_model_of_other_images_is_refused(other: Callable[[], Diffusion], match: str) -> None:
    generator = family(Told()).generator(parse(DiffusionSampling, {"guidance": {"kind": "autoguidance", "run": "x"}}))
    with pytest.raises(BadInput, match=f"guidance.run: .*{match}.*guidance=none"):
        generator.beside(other())


def replace_shape(chosen: Diffusion) -> Diffusion:
    chosen.shape = (3, 2, 2)
    return chosen


@pytest.mark.parametrize(
    ("family_tree", "match"),
    [
        ({"class_conditional": False, "label_dropout": 0}, "classifier-free .*family.class_conditional=false"),
        ({"label_dropout": 0}, "classifier-free .*family.label_dropout=0"),
    ],
)
def test_a_model_that_never_learnt_without_classes_is_refused(family_tree: dict[str, Any], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        family(Told(), **family_tree).generator(parse(DiffusionSampling, {"guidance": "classifier-free"}))


@pytest.mark.parametrize(
    ("part", "tree", "match"),
    [
        (DiffusionOptions, {"label_dropout": 0.1}, "label_dropout=0.1 .*class_conditional=false"),
        (DiffusionOptions, {"label_dropout": 1, "class_conditional": True}, "label_dropout"),
        (DiffusionSampling, {"guidance": "cfg"}, "unknown guidance 'cfg'"),
        (DiffusionSampling, {"guidance": {"kind": "classifier-free", "interval": [2, 1]}}, r"low below high"),
        (DiffusionSampling, {"guidance": {"kind": "classifier-free", "scale": -1}}, "guidance.scale"),
        (DiffusionSampling, {"guidance": "autoguidance"}, "guidance.run"),
        (DiffusionSampling, {"dynamic_threshold": 1.5}, "dynamic_threshold"),
    ],
)
def test_bad_options_are_refused(part: type, tree: dict[str, object], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        parse(part, tree)


def test_options_survive_their_yaml() -> None:
    guidance = {"kind": "autoguidance", "run": "runs/small", "checkpoint": 2000, "interval": [0.2, 3]}
    sampling = parse(DiffusionSampling, {"guidance": guidance, "dynamic_threshold": 0.995})
    assert parse(DiffusionSampling, sampling.tree()) == sampling
    assert sampling.tree()["guidance"]["checkpoint"] == "2000"


# --- Thresholds --------------------------------------------------------------------------------------------------


def test_dynamic_thresholding_is_image_by_image_and_leaves_what_fits() -> None:
    """Saharia et al. 2022, section 2.3."""
    torch.manual_seed(0)
    x = torch.stack([torch.rand(1, 8, 8) * 2 - 1, 3 * torch.randn(1, 8, 8)]).double()
    out = Thresholded(Identity(), 0.9)(x, x, torch.ones(2))
    assert torch.equal(out[0], x[0])
    limit = torch.quantile(x[1].abs(), 0.9)
    torch.testing.assert_close(out[1], x[1].clamp(-limit, limit) / limit)
    assert float(out.abs().max()) == 1


def test_thresholding_is_of_images_whatever_the_codes() -> None:
    torch.manual_seed(0)
    codec, images = Standardize(mean=(0.2,), std=(0.3,)), 2 * torch.randn(2, 1, 4, 4)
    codes = codec.encode(images, SeededNoise([]))
    expected = Thresholded(Identity(), 0.8)(images, images, torch.ones(2))
    found = codec.decode(Thresholded(codec, 0.8)(codes, codes, torch.ones(2)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_thresholds_act_on_what_was_guided() -> None:
    network = Told()
    far = {"guidance": {"kind": "classifier-free", "scale": 30}, "steps": 2}
    assert float(draw(family(network), [0], **far).min()) < -10
    assert float(draw(family(network), [0], clip_x0=True, **far).min()) == -1
    assert float(draw(family(network), [0], dynamic_threshold=0.9, **far).min()) == -1
    generator = family(network).generator(parse(DiffusionSampling, {"clip_x0": True, "dynamic_threshold": 0.9}))
    outer = generator.denoiser(torch.tensor([0]))
    assert isinstance(getattr(outer, "change"), Clipped)  # noqa: B009  (a denoiser by its protocol)
    assert replace(generator, options=DiffusionSampling()).denoiser(torch.tensor([0])) is not outer
