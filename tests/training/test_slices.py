"""A chunk in slices: the same randomness, gradients equal up to rounding, and a clear line where it can't be."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mezzotint.contracts import Batch, Condition, Family, Loss, Noise, Phase
from mezzotint.diffusion.family import Diffusion, DiffusionOptions
from mezzotint.errors import RunFailed
from mezzotint.machine import Machine
from mezzotint.options import parse
from mezzotint.training.loop import Learner, LearningOptions, Trainer
from mezzotint.training.slices import WholeDropout

CPU = Machine(torch.device("cpu"), "float32", 1)
SAID = "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"


class Small(nn.Module):
    """A network that can't take more than `most` images at once, and drops features."""

    def __init__(self, most: int, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.most, self.rows = most, list[int]()
        self.first, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)
        self.norm, self.dropout = norm or nn.Identity(), nn.Dropout(0.5)

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        self.rows.append(len(x))
        if len(x) > self.most:
            raise RuntimeError(SAID)
        h = self.dropout(self.norm(self.first(x)) + level.reshape(-1, 1, 1, 1))
        return self.last(self.dropout(h.relu()))


class Identity:
    def encode(self, images: Tensor, noise: Noise) -> Tensor:
        return images + 0.1 * noise.normal(images.shape)

    def decode(self, codes: Tensor) -> Tensor:
        return codes

    def clip(self, codes: Tensor) -> Tensor:
        return codes.clamp(-1, 1)


def _feed(position: int, length: int) -> tuple[Tensor, None]:
    torch.manual_seed(position)
    return torch.randint(0, 256, (length, 1, 6, 6), dtype=torch.uint8), None


def _learner(most: int, norm: nn.Module | None = None, **changes: object) -> Learner:
    torch.manual_seed(0)
    options = parse(DiffusionOptions, {})
    family = Diffusion(Small(most, norm), options, Identity(), (1, 6, 6), 0)
    tree = {"images": 48, "batch_size": 16, "warmup_images": 0, "learning_rate": 0.01, **changes}
    return Learner.start(family, parse(LearningOptions, tree))


def _train(learner: Learner) -> list[int]:
    trainer = Trainer(_feed, lambda images: (images, None), CPU, 0)
    return [update.slices for update in trainer.train(learner)]


def _gradients(learner: Learner) -> list[Tensor]:
    next(Trainer(_feed, lambda images: (images, None), CPU, 0).train(learner))
    return [p.grad for p in learner.family.parameters() if p.grad is not None]


@pytest.mark.parametrize(("most", "slices"), [(16, 1), (8, 2), (5, 4), (1, 16)])
def test_slices_give_the_gradient_of_the_whole_chunk_dropout_included(most: int, slices: int) -> None:
    whole, cut = _learner(16), _learner(most)
    for ours, theirs in zip(_gradients(whole), _gradients(cut), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert cut.slices == slices


def test_chunks_that_do_not_divide_evenly_are_sliced_too() -> None:
    whole, cut = _learner(16, chunk_size=7), _learner(3, chunk_size=7)
    for ours, theirs in zip(_gradients(whole), _gradients(cut), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_number_of_slices_is_remembered_and_reported() -> None:
    learner = _learner(4)
    assert _train(learner) == [4, 4, 4]
    network = learner.family.phases()[0].module
    assert isinstance(network, Small)
    assert network.rows == [16, 8] + [4] * 12  # two failures, then never one again


def test_memory_that_runs_out_late_in_a_chunk_adds_no_gradient_twice() -> None:
    whole, cut = _learner(16, chunk_size=4), _learner(16, chunk_size=4)
    network = cut.family.phases()[0].module
    calls: list[int] = []

    def sometimes(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls.append(len(inputs[0]))
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    network.register_forward_pre_hook(sometimes)
    for ours, theirs in zip(_gradients(whole), _gradients(cut), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert calls == [4, 4, 4] + [2] * 8


class Mixed(Family):
    """A family whose draw multiplies matrices, as an encoder does; notes in which type it did so."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.linear, self.most, self.types = nn.Linear(36, 36), most, list[torch.dtype]()

    def phases(self) -> list[Phase]:
        return [Phase("only", self.linear, self._loss, draw=self._draw)]

    def _draw(self, batch: Batch) -> Batch:
        codes = batch.images.flatten(1) @ torch.eye(36)
        self.types.append(codes.dtype)
        return replace(batch, drawn={"codes": codes})

    def _loss(self, batch: Batch) -> Loss:
        if len(batch.images) > self.most:
            raise MemoryError
        codes = (batch.drawn or self._draw(batch).drawn)["codes"]
        return Loss(self.linear(codes).float().square().mean())


@pytest.mark.parametrize("most", [16, 4])
def test_whole_or_sliced_a_chunk_is_drawn_in_mixed_precision(most: int) -> None:
    family = Mixed(most)
    learner = Learner.start(family, parse(LearningOptions, {"images": 16, "batch_size": 16, "warmup_images": 0}))
    next(Trainer(_feed, lambda images: (images, None), replace(CPU, precision="bfloat16"), 0).train(learner))
    assert set(family.types) == {torch.bfloat16}
    assert learner.slices == 16 // most


def test_not_even_one_image() -> None:
    with pytest.raises(RunFailed, match="out of memory: not even one image.*image_size.*gradient_checkpointing=true"):
        _train(_learner(0))


def test_with_batch_norm_it_stops_and_names_the_chunk_size() -> None:
    with pytest.raises(RunFailed, match=r"16 images doesn't fit, and with batch norm .* training.chunk_size=8$"):
        _train(_learner(8, nn.BatchNorm2d(8)))


class Drawing(Family):
    """A family that doesn't say what its loss draws."""

    def __init__(self, failure: Callable[[], None]) -> None:
        super().__init__()
        self.linear, self.failure = nn.Linear(6, 1), failure

    def phases(self) -> list[Phase]:
        return [Phase("only", self.linear, self._loss)]

    def _loss(self, batch: Batch) -> Loss:
        self.failure()
        return Loss(self.linear(batch.images + torch.randn_like(batch.images)).square().mean())


def _fail(error: Exception) -> Callable[[], None]:
    def failure() -> None:
        raise error

    return failure


def test_a_loss_that_cannot_be_sliced_names_the_chunk_size() -> None:
    learner = Learner.start(Drawing(_fail(MemoryError())), parse(LearningOptions, {"images": 8, "batch_size": 8}))
    with pytest.raises(RunFailed, match="loss of phase only draws as it goes.*training.chunk_size=4"):
        _train(learner)


def test_other_errors_are_not_taken_for_memory() -> None:
    learner = Learner.start(Drawing(_fail(RuntimeError("shape"))), parse(LearningOptions, {"images": 8}))
    with pytest.raises(RuntimeError, match="^shape$"):
        _train(learner)


def test_memory_that_runs_out_elsewhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = _learner(16)
    monkeypatch.setattr(learner.optimizers["denoiser"], "step", _fail(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(RunFailed, match=r"^update 1: out of memory; lower data.image_size"):
        _train(learner)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_drop_what_they_would_drop_within_the_whole(layout: torch.memory_format, dtype: torch.dtype) -> None:
    x = torch.randn(6, 4, 5, 5, dtype=dtype).contiguous(memory_format=layout)
    torch.manual_seed(3)
    whole = nn.functional.dropout(x, 0.3)
    torch.manual_seed(3)
    with WholeDropout(2, 5, 6):
        rows = nn.Dropout(0.3)(x[2:5])
    assert torch.equal(rows, whole[2:5])
    with WholeDropout(2, 5, 6):
        assert torch.equal(nn.Dropout(0.3).eval()(x[2:5]), x[2:5])


def test_diffusion_draws_beforehand_what_its_loss_draws() -> None:
    family = _learner(16).family.eval()
    (phase,) = family.phases()
    batch = Batch(torch.randn(4, 1, 6, 6), None, None, 0, 0)
    torch.manual_seed(1)
    directly = phase.loss(batch).value
    torch.manual_seed(1)
    assert phase.draw is not None
    drawn = phase.draw(batch)
    assert torch.equal(phase.loss(drawn).value, directly)
    assert set(drawn.drawn) == {"x0", "sigma", "n"}
    assert all(torch.equal(drawn.rows(1, 3).drawn[name], rows[1:3]) for name, rows in drawn.drawn.items())
