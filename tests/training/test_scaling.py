"""Loss scaling: it changes no weight in float32, and gives way where gradients overflow."""

import math

import pytest
import torch
from torch import Tensor, nn

from mezzotint.contracts import Batch, Family, Loss, Phase
from mezzotint.machine import Machine
from mezzotint.training.loop import Learner, LearningOptions, Trainer
from mezzotint.training.scaling import FIRST, PATIENCE, rescaled


class Line(Family):
    """One linear network whose gradient overflows while the loss is scaled by more than `most`."""

    def __init__(self, most: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line, self.most = nn.Linear(4, 1), most

    def phases(self) -> list[Phase]:
        return [Phase("line", self.line, self._loss)]

    def _loss(self, batch: Batch) -> Loss:
        out = self.line(batch.images.flatten(1))
        out.register_hook(lambda gradient: gradient * (math.inf if gradient.abs().max() > self.most else 1.0))
        return Loss((out - 1).square().mean())


def _feed(position: int, length: int) -> tuple[Tensor, None]:
    pixels = (torch.arange(position, position + length) * 37 % 256).to(torch.uint8)
    return pixels.reshape(-1, 1, 1, 1).expand(-1, 1, 1, 4).contiguous(), None


def _trained(loss_scale: float, most: float = math.inf) -> tuple[Learner, Tensor, int]:
    family = Line(most)
    options = LearningOptions(images=160, batch_size=8, chunk_size=3, learning_rate=0.01, warmup_images=0)
    learner = Learner.start(family, options, loss_scale)
    trainer = Trainer(_feed, lambda images: (images, None), Machine(torch.device("cpu"), "float32", 1), 0)
    skipped = sum(update.skipped for update in trainer.train(learner))
    return learner, torch.cat([p.detach().flatten() for p in family.parameters()]), skipped


def test_a_power_of_two_changes_no_bit_of_the_weights() -> None:
    assert torch.equal(_trained(1.0)[1], _trained(FIRST)[1])


def test_an_overflow_halves_the_scale_until_updates_go_through() -> None:
    learner, _, skipped = _trained(FIRST, most=FIRST / 8)
    assert 0 < skipped < 10
    assert learner.loss_scale == FIRST / 2**skipped
    assert learner.counters()["steady"] == 20 - skipped


@pytest.mark.parametrize(
    ("scale", "steady", "finite", "expected"),
    [
        (1.0, 0, False, (1.0, 0)),  # no scaling, whatever happens
        (1024.0, 5, False, (512.0, 0)),
        (2.0, 0, False, (2.0, 0)),
        (1024.0, 5, True, (1024.0, 6)),
        (1024.0, PATIENCE - 1, True, (2048.0, 0)),
    ],
)
def test_the_next_scale(scale: float, steady: int, finite: bool, expected: tuple[float, int]) -> None:
    assert rescaled(scale, steady, finite) == expected
