"""compile: auto: decided once from rules and bench's table; compiled updates learn the same, under the same names."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import tiny
from mezzotint.disk import home, write_text
from mezzotint.errors import BadInput
from mezzotint.machine import Compilation, Machine
from mezzotint.options import read_yaml
from mezzotint.runs import recipe
from mezzotint.runs.compilation import decide, operations_per_image
from mezzotint.runs.measured import Compiled, Measured, recall, remember
from mezzotint.runs.run import enter

CPU = Machine(torch.device("cpu"), "float32", 1)
CUDA = Machine(torch.device("cuda"), "bfloat16", 1)
NUMBERS = Measured(
    batch_size=16,
    convolution_gflops={"float32": 300, "bfloat16": 500},
    update_images_per_second=60,
    update_gflops=500,
    roofline_fraction=0.6,
    evaluations_per_second=200,
)


@pytest.fixture(autouse=True)
def _nothing_measured():
    (home() / "machines.json").unlink(missing_ok=True)


def _recipe(*overrides: str) -> recipe.Recipe:
    return recipe.read("digits-edm", ["data.channels=1", *overrides])[1]


# --- The rule ----------------------------------------------------------------------------------------------------


def test_yaml_reads_on_and_off_as_booleans_and_they_mean_what_they_say():
    assert [_recipe(f"training.compile={word}").training.compile for word in ("on", "off", "auto")] == [
        "on",
        "off",
        "auto",
    ]


def test_a_processor_does_not_compile_unless_bench_found_it_faster():
    assert decide(_recipe(), CPU, 10) == Compilation(
        False, "off: no faster on cpu as a rule (`mezzotint bench --compile` would tell)"
    )
    remember(CPU, NUMBERS.but(compiled=Compiled(seconds=60, gain=0.9)))
    assert not decide(_recipe(), CPU, 10, seconds=1e6).on
    remember(CPU, NUMBERS.but(compiled=Compiled(seconds=60, gain=1.5)))
    chosen = decide(_recipe(), CPU, 10, seconds=3600)
    assert chosen.on
    assert "60 s and makes updates 1.50 times as fast (measured by bench), which saves 1,200 s" in chosen.because


def test_a_short_run_does_not_compile_where_a_long_one_does(monkeypatch):
    monkeypatch.setattr(Machine, "compiler_lacks", lambda self: None)
    facts = {**CPU.environment(), "device": "cuda"}
    monkeypatch.setattr(Machine, "environment", lambda self: facts)
    assert not decide(_recipe(), CUDA, 10, seconds=600).on
    assert decide(_recipe(), CUDA, 10, seconds=6000).on
    assert decide(_recipe("training.images=4000M"), CUDA, 10).on
    assert not decide(_recipe("training.images=1M"), CUDA, 10).on


def test_processes_share_the_work_so_each_has_less_to_save(monkeypatch):
    monkeypatch.setattr(Machine, "compiler_lacks", lambda self: None)
    brought = NUMBERS.but(compiled=Compiled(seconds=60, gain=1.5))
    remember(CPU, brought)
    enough = 6 * 60 * NUMBERS.update_gflops * 1e9 / operations_per_image(_recipe(), 10).update
    chosen = _recipe(f"training.images={int(2.5 * enough)}")
    assert decide(chosen, CPU, 10).on
    assert decide(chosen, replace(CPU, world=2), 10).on
    assert not decide(chosen, replace(CPU, world=4), 10).on


def test_a_wish_is_followed_and_a_missing_compiler_told(monkeypatch):
    assert decide(_recipe("training.compile=off"), CPU, 10) == Compilation(False, "off by training.compile")
    monkeypatch.setattr(Machine, "compiler_lacks", lambda self: "a C++ compiler (g++)")
    with pytest.raises(BadInput, match=r"training.compile=on needs a C\+\+ compiler"):
        decide(_recipe("training.compile=on"), CPU, 10)
    assert decide(_recipe(), CPU, 10) == Compilation(False, "off: this machine lacks a C++ compiler (g++)")


def test_operations_grow_with_the_square_of_width():
    narrow, wide = (operations_per_image(_recipe(f"network.channels={n}", "family.class_conditional=false"), 0).update
                    for n in (32, 64))  # fmt: skip
    assert 3.5 < wide / narrow < 4.0


# --- The table ---------------------------------------------------------------------------------------------------


def test_the_table_is_kept_per_machine_and_choice():
    assert recall(CPU) is None
    remember(CPU, NUMBERS)
    remember(replace(CPU, threads=2), NUMBERS.but(update_images_per_second=100))
    assert recall(CPU) == NUMBERS
    assert recall(replace(CPU, precision="bfloat16")) is None


def test_what_compiling_brought_is_not_forgotten_by_a_bench_without_it():
    brought = Compiled(seconds=60, gain=1.5)
    remember(CPU, NUMBERS.but(compiled=brought))
    remember(CPU, NUMBERS.but(update_gflops=600))
    assert recall(CPU) == NUMBERS.but(update_gflops=600, compiled=brought)


@pytest.mark.parametrize("text", ["{", "[1]", "\x00"])
def test_a_damaged_table_counts_as_none_and_is_measured_anew(text):
    write_text(home() / "machines.json", text)
    assert recall(CPU) is None
    assert not decide(_recipe(), CPU, 10).on
    remember(CPU, NUMBERS)
    assert recall(CPU) == NUMBERS


@pytest.mark.parametrize("entry", [NUMBERS.tree() | {"tokens": 1}, {"batch_size": 16}, 3, None])
def test_an_entry_of_another_version_counts_as_none_and_others_stay(entry):
    remember(CPU, NUMBERS)
    remember(replace(CPU, threads=2), NUMBERS)
    table = json.loads((home() / "machines.json").read_text())
    mine = next(key for key in table if "threads 1" in key)
    write_text(home() / "machines.json", json.dumps(table | {mine: entry}))
    assert recall(CPU) is None
    remember(CPU, NUMBERS.but(update_gflops=7))
    assert recall(CPU) == NUMBERS.but(update_gflops=7)
    assert recall(replace(CPU, threads=2)) == NUMBERS


# --- The compiled path -------------------------------------------------------------------------------------------


class Small(nn.Module):
    """Convolution, group norm, SiLU, convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Conv2d(2, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 1, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.nn.functional.silu(self.norm(self.first(x))))


@pytest.mark.slow
@pytest.mark.skipif(CPU.compiler_lacks() is not None, reason="no C++ compiler")
def test_a_compiled_network_is_the_same_network(monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config, "compile_threads", 1)  # helper processes take longer to start than this to compile
    compiled, plain, x = Small(), Small(), torch.randn(3, 2, 8, 8)
    machine = replace(CPU, compilation=Compilation(True, "asked for"))
    machine.compile(compiled)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    losses = [network(x).square().mean() for network in (compiled, plain)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(compiled.first.weight.grad, plain.first.weight.grad)

    frames = torch._dynamo.utils.counters["frames"]["total"]
    assert frames > 0
    with machine.plainly():
        torch.testing.assert_close(compiled(x[:2]), plain(x[:2]))  # another size: would be compiled anew
    copy.deepcopy(compiled)(x[:1])
    assert torch._dynamo.utils.counters["frames"]["total"] == frames
    assert (home() / "compiled").is_dir()


def test_a_run_decides_once_and_a_resume_keeps_it(tmp_path, monkeypatch):
    compiled: list[bool] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, dynamic: compiled.append(True))
    monkeypatch.setattr(Machine, "plainly", Machine.autocast)
    run, _ = tiny.train(tmp_path, "one", ["training.compile=on", "training.images=64"], tiny.after(1))
    assert run.folder.read_environment()["compiled_because"] == "on by training.compile"
    assert read_yaml(run.folder.recipe)["training"]["compile"] == "on"
    assert compiled == [True]
    resumed, _ = tiny.train(tmp_path, "one", ["training.compile=on", "training.images=64"])
    assert resumed.machine.compilation == run.machine.compilation == Compilation(True, "on by training.compile")
    assert compiled == [True, True]

    plain, _ = tiny.train(tmp_path, "two", ["training.compile=off", "training.images=64"])
    assert compiled == [True, True]
    assert tiny.same(tiny.tensors(resumed), tiny.tensors(plain))
    with (
        pytest.raises(BadInput, match="training.compile=on, not off"),
        enter(tmp_path, "one", tiny.RECIPE, [*tiny.OVERRIDES, "training.images=64", "training.compile=off"]),
    ):
        pass
