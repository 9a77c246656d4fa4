"""The parts of the diffusion design space in whole runs: trained, resumed, sliced, drawn from, and refused in time."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from mezzotint.cli.main import app
from mezzotint.contracts import Batch
from mezzotint.diffusion.family import Diffusion
from mezzotint.errors import BadInput
from mezzotint.machine import Machine
from mezzotint.pixels import read_png
from mezzotint.runs import build, recipe
from mezzotint.runs.estimate import evaluations
from mezzotint.runs.fitting import training_memory
from mezzotint.runs.folder import RunFolder
from mezzotint.runs.recipe import Recipe
from mezzotint.runs.run import Run, enter, open_run
from mezzotint.seeds import SeededNoise, seed_generators
from mezzotint.training.slices import slices
from tiny import OVERRIDES, after, same, tensors, train

EVERYTHING = (
    "family.label_dropout=0.3",
    "family.self_conditioning=true",
    "family.variance=learned",
    "family.weighting=learned",
    "family.importance={kind: loss-second-moment, bins: 4, history: 2}",
    "family.norm=huber",
    "family.augmentation_conditional=true",
    "sampling.guidance={kind: classifier-free, scale: 1.5}",
    "sampling.sampler={kind: ddpm, variances: learned}",
    "sampling.dynamic_threshold=0.99",
    "evaluation.monitor=off",
)
PLAIN = ("evaluation.monitor=off",)
CPU = Machine.detect("cpu", "float32", 1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `whole`, of everything, and `plain` were trained; to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        folder = tmp_path_factory.mktemp("runs")
        train(folder, "whole", EVERYTHING)
        train(folder, "plain", PLAIN)
    return folder


def opened(runs: Path, name: str) -> Run:
    return open_run(_folder(runs, name))


def _folder(runs: Path, name: str) -> RunFolder:
    return RunFolder.open(runs / name)


def _recipe(*changes: str) -> Recipe:
    return recipe.read("digits-edm", [*OVERRIDES, "data.channels=1", *changes])[1]


def draw(run: Run, *changes: str, seeds: int = 4, labels: bool = True) -> torch.Tensor:
    noise = SeededNoise(range(seeds))
    generator = run.generator("last", "ema", changes)
    latent = noise.normal((seeds, *generator.latent_shape))
    return generator.decode(latent, torch.arange(seeds) if labels else None, noise)


def test_everything_at_once_resumes_bit_for_bit(tmp_path: Path, runs: Path) -> None:
    for updates in (3, 4):
        train(tmp_path, "stopped", EVERYTHING, should_stop=after(updates))
    stopped, _ = train(tmp_path, "stopped", EVERYTHING)
    ours, theirs = tensors(stopped), tensors(opened(runs, "whole"))
    assert same(ours, theirs)
    assert ours["weights/importance.updates"].min() > 2
    assert ours["optimizer/denoiser/uncertainty.weight/exp_avg"].any()


def test_what_each_part_costs_is_logged(runs: Path) -> None:
    names = {name for line in opened(runs, "whole").folder.read_log() if line["kind"] == "update" for name in line}
    assert {"denoiser/loss", "denoiser/mse", "denoiser/raw_huber", "denoiser/vlb"} <= names


def test_a_chunk_in_slices_has_the_same_gradients(runs: Path) -> None:
    run = opened(runs, "whole")
    family = run.family().train()
    assert isinstance(family, Diffusion)
    for module in family.modules():  # a network fresh from its making says 0 and learns little
        if isinstance(module, torch.nn.Conv2d) and not module.weight.any():
            torch.nn.init.normal_(module.weight, std=0.1)
    (phase,) = family.phases()
    told = torch.zeros(8, run.recipe.told())
    chunk = Batch(torch.rand(8, 1, 8, 8) * 2 - 1, torch.arange(8), told, 5, 0)
    gradients, sums = [], []
    for count in (1, 3):
        family.zero_grad()
        total = 0.0
        for rows, whole_dropout in slices(phase, chunk, count, lambda: seed_generators("slices"), CPU.autocast):
            with whole_dropout:
                loss = phase.loss(rows)
                (loss.value * len(rows.images) / 8).backward()
            total = total + loss.sums["squares"]
        gradients.append([p.grad.clone() for p in phase.module.parameters() if p.grad is not None])
        sums.append(total)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(sums[0], sums[1])


def test_the_command_line_draws_with_guidance(runs: Path, tmp_path: Path) -> None:
    sheets = []
    for scale in (1, 6):
        out = tmp_path / f"{scale}.png"
        words = ["sample", runs / "whole", f"sampling.guidance.scale={scale}", "-n", 10, "-o", out]
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        sheets.append(read_png(out).float())
    assert sheets[0].shape == sheets[1].shape
    assert float((sheets[0] - sheets[1]).abs().max()) > 2


def test_without_guidance_the_same_run_draws_its_classes(runs: Path) -> None:
    run = opened(runs, "whole")
    plain = draw(run, "sampling.guidance=none")
    torch.testing.assert_close(draw(run, "sampling.guidance.scale=1"), plain, atol=1e-5, rtol=0)
    never = "sampling.guidance.interval=[79, 79.9]"  # between two levels
    torch.testing.assert_close(draw(run, never), plain, atol=1e-6, rtol=0)
    learned = draw(run, "sampling.guidance=none", "sampling.sampler={kind: ddpm, variances: learned}")
    assert bool(learned.isfinite().all())


def test_autoguidance_by_another_run_and_by_an_earlier_checkpoint(runs: Path) -> None:
    run = opened(runs, "plain")
    alone = draw(run)
    asked = f"sampling.guidance={{kind: autoguidance, run: {runs / 'whole'}, scale: 3}}"
    assert not torch.equal(draw(run, asked), alone)
    itself = f"sampling.guidance={{kind: autoguidance, run: {runs / 'plain'}, scale: 3}}"
    torch.testing.assert_close(draw(run, itself), alone, atol=1e-5, rtol=0)
    (earlier, _) = sorted(int(p.name) for p in run.folder.checkpoints.iterdir() if p.name.isdecimal())
    assert not torch.equal(draw(run, itself, f"sampling.guidance.checkpoint={earlier}"), alone)


def test_sheets_of_a_training_are_guided_by_another_run(runs: Path, tmp_path: Path) -> None:
    how = (f"sampling.guidance={{kind: autoguidance, run: {runs / 'plain'}, scale: 2}}", *PLAIN)
    run, _ = train(tmp_path, "guided", how)
    (name,) = {line["ema"] for line in run.folder.read_log() if line["kind"] == "sheet" and line["images_seen"] == 320}
    theirs = runs / "plain" / "samples" / Path(str(name)).name
    assert not torch.equal(read_png(Path(str(name))), read_png(theirs))
    assert same(tensors(run), tensors(opened(runs, "plain")))  # how it draws doesn't change what it learns


@pytest.mark.parametrize(
    ("changes", "nfe"),
    [
        (EVERYTHING, 6),
        (("family.label_dropout=0.1", "sampling.guidance=classifier-free", "sampling.sampler=euler"), 6),
        (("sampling.guidance={kind: autoguidance, run: elsewhere}", "sampling.sampler=euler"), 6),
        (("family.variance=learned", "sampling.sampler={kind: ddpm, variances: learned}"), 3),
    ],
)
def test_network_calls_of_a_picture_count_guidance(changes: tuple[str, ...], nfe: int) -> None:
    assert evaluations(_recipe(*changes), 10) == nfe


def test_the_memory_of_everything_is_counted() -> None:
    """Two channels more out, two more in, a head and a row of classes: and a first estimate keeps nothing."""
    plain, all_of_it = (training_memory(_recipe(*changes), 10, CPU) for changes in (PLAIN, EVERYTHING))
    assert 0 < all_of_it.parameters - plain.parameters < 2000
    assert all_of_it.image < 1.5 * plain.image


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (["sampling.guidance=classifier-free"], r"sampling: guidance: classifier-free .*family.label_dropout=0"),
        (
            ["family.class_conditional=false", "sampling.guidance=classifier-free"],
            r"sampling: guidance: classifier-free .*family.class_conditional=false",
        ),
        (["family.class_conditional=false", "family.label_dropout=0.1"], "label_dropout=0.1 .*class_conditional=false"),
        (["sampling.sampler={kind: ddpm, variances: learned}"], r"variances: learned .*variance: learned"),
        (
            ["sampling.guidance={kind: autoguidance, run: nowhere}"],
            r"autoguidance: .*nowhere: no such run.*guidance=none",
        ),
    ],
)
def test_parts_that_clash_are_refused_before_anything_is_on_disk(
    tmp_path: Path, changes: list[str], match: str
) -> None:
    with pytest.raises(BadInput, match=match), enter(tmp_path, "clash", "digits-edm", [*OVERRIDES, *changes]):
        pass
    assert not list(tmp_path.iterdir())


def test_a_weaker_model_of_other_images_is_refused_before_training(runs: Path, tmp_path: Path) -> None:
    asked = f"sampling.guidance={{kind: autoguidance, run: {runs / 'plain'}}}"
    with pytest.raises(BadInput, match="guidance.run: its model's codes"):
        build.check(_recipe("data.image_size=16", "network.attention=[8]", asked), 10)
    with pytest.raises(BadInput, match="guidance.run: its model's codes .*Identity.*Standardize"):
        train(tmp_path, "clash", ["codec=standardize", asked])
    assert not list(tmp_path.iterdir())
    build.check(_recipe(asked), 10)


def test_what_is_hardly_meant_is_noted_before_drawing(runs: Path, tmp_path: Path) -> None:
    words = ["sample", runs / "plain", "-n", 2, "-o", tmp_path / "x.png", "sampling.schedule.sigma_max=400"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    (note,) = (line for line in result.stderr.splitlines() if line.startswith("note: "))
    assert "sampling.schedule" in note
    assert "family.schedule" in note
    assert "400" in note


def test_a_clash_names_the_whole_path_when_drawing_too(runs: Path) -> None:
    asked = "sampling.sampler={kind: ddpm, variances: learned}"
    with pytest.raises(BadInput, match=r"^sampling: sampler\.variances: learned .*family\.variance: learned"):
        opened(runs, "plain").generator("last", "ema", [asked])


def test_a_checkpoint_that_is_not_there_is_refused_before_sampling(runs: Path) -> None:
    itself = f"sampling.guidance={{kind: autoguidance, run: {runs / 'plain'}, checkpoint: 7}}"
    with pytest.raises(BadInput, match=r"autoguidance: .*no 7 checkpoint: there are .*guidance=none"):
        opened(runs, "plain").generator("last", "ema", [itself])


def test_classes_asked_of_an_unconditional_run_are_refused(tmp_path: Path) -> None:
    train(tmp_path, "unconditional", ["family.class_conditional=false", *PLAIN])
    words = ["sample", str(tmp_path / "unconditional"), "--label", "3", "-o", str(tmp_path / "x.png")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "--label" in result.stderr
    assert "family.class_conditional=false" in " ".join(result.output.split())
    assert not (tmp_path / "x.png").exists()
    recorded = json.dumps(open_run(_folder(tmp_path, "unconditional")).recipe.tree())
    assert '"label_dropout": 0.0' in recorded
