"""The training loop, on a family small enough to check by hand."""

from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from mezzotint.contracts import Batch, Family, Loss, Phase
from mezzotint.errors import RunFailed
from mezzotint.machine import Machine
from mezzotint.options import parse
from mezzotint.training.loop import Learner, LearningOptions, Trainer

CPU = Machine(torch.device("cpu"), "float32", 1)


class Noisy(Family):
    """Two linear networks; one loss draws noise and uses dropout, the other depends on both."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 1)
        self.poison: set[int] = set()
        self.seen: list[tuple[str, int, Tensor]] = []

    def phases(self) -> list[Phase]:
        return [Phase("one", self.first, self._one), Phase("two", self.second, self._two, every=2)]

    def _one(self, batch: Batch) -> Loss:
        noise = torch.randn_like(batch.images)
        self.seen.append(("one", batch.update, noise))
        hidden = self.second(nn.functional.dropout(self.first(batch.images + noise), 0.5))
        value = hidden.square().mean() * (float("nan") if batch.update in self.poison else 1.0)
        return Loss(value, {"images": torch.tensor(float(len(batch.images)))})

    def _two(self, batch: Batch) -> Loss:
        assert not any(p.requires_grad for p in self.first.parameters())
        return Loss((self.second(self.first(batch.images)) - 1).square().mean())


def _feed(position: int, length: int) -> tuple[Tensor, None]:
    pixels = (torch.arange(position, position + length) * 37 % 256).to(torch.uint8)
    return pixels.reshape(-1, 1, 1, 1).expand(-1, 1, 1, 4).contiguous(), None


def _learner(**changes: object) -> tuple[Noisy, Learner]:
    tree = {"images": 80, "batch_size": 8, "learning_rate": 0.01, "warmup_images": 0, **changes}
    family = Noisy()
    return family, Learner.start(family, parse(LearningOptions, tree))


def _trainer(seed: int = 0) -> Trainer:
    return Trainer(_feed, lambda images: (images, None), CPU, seed)


def _weights(family: Family) -> Tensor:
    return torch.cat([p.detach().flatten() for p in family.parameters()])


def test_it_stops_at_the_planned_images_and_counts() -> None:
    _, learner = _learner()
    updates = list(_trainer().train(learner))
    assert [u.update for u in updates] == list(range(1, 11))
    assert updates[-1].images_seen == learner.images_seen == 80


def test_phases_run_when_due_and_only_their_module_moves() -> None:
    family, learner = _learner()
    updates = _trainer().train(learner)
    next(updates)  # update 0: both are due
    before = family.second.weight.clone(), family.first.weight.clone()
    record = next(updates)  # update 1: only the first
    assert torch.equal(before[0], family.second.weight)
    assert not torch.equal(before[1], family.first.weight)
    assert not any(name.startswith("two/") for name in record.parts)


def test_the_outer_random_state_does_not_matter() -> None:
    results = []
    for outer in (1, 2):
        family, learner = _learner()
        for _ in _trainer().train(learner):
            torch.manual_seed(outer)
        results.append(_weights(family))
    assert torch.equal(*results)
    family, learner = _learner()
    list(_trainer(seed=1).train(learner))
    assert not torch.equal(results[0], _weights(family))


def test_stopping_anywhere_and_going_on_from_saved_tensors_is_bit_identical() -> None:
    whole, learner = _learner()
    list(_trainer().train(learner))
    for stop in (1, 4, 9):
        first, begun = _learner()
        list(islice(_trainer().train(begun), stop))
        second, resumed = _learner()
        second.load_state_dict(first.state_dict())
        resumed.ema.family.load_state_dict(begun.ema.family.state_dict())
        resumed.load_optimizer_tensors({k: v.clone() for k, v in begun.optimizer_tensors().items()})
        for name, value in begun.counters().items():
            setattr(resumed, name, value)
        list(_trainer().train(resumed))
        assert torch.equal(_weights(second), _weights(whole))
        assert torch.equal(_weights(resumed.ema.family), _weights(learner.ema.family))


def test_gradients_of_chunks_sum_to_the_gradient_of_the_batch() -> None:
    """With a loss that draws nothing, any chunk size gives the same weights up to rounding, uneven chunks too."""
    results = []
    for chunk_size in (8, 4, 3, 1):
        family, learner = _learner(chunk_size=chunk_size)
        family.phases = lambda f=family: [Phase("two", f.second, f._two)]  # type: ignore[method-assign]
        learner.optimizers = {"two": learner.optimizers["two"]}
        list(_trainer().train(learner))
        results.append(_weights(family))
    for other in results[1:]:
        torch.testing.assert_close(results[0], other, rtol=1e-4, atol=1e-6)


def test_noise_belongs_to_the_chunks_place_not_to_who_computes_it() -> None:
    """Two processes that share the chunks draw between them exactly what one process draws."""
    family, learner = _learner(chunk_size=2)
    next(_trainer().train(learner))
    alone = [noise for name, _, noise in family.seen if name == "one"]
    shared: dict[int, list[Tensor]] = {}
    for rank in (0, 1):
        family, learner = _learner(chunk_size=2)
        machine = Machine(torch.device("cpu"), "float32", 1, rank=rank, world=2)
        object.__setattr__(machine, "reduce", lambda tensors: None)
        next(Trainer(_feed, lambda images: (images, None), machine, 0).train(learner))
        shared[rank] = [noise for name, _, noise in family.seen if name == "one"]
    together = [shared[0][0], shared[1][0], shared[0][1], shared[1][1]]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_every_chunk_of_an_update_belongs_to_the_same_moment() -> None:
    family, learner = _learner(chunk_size=3)
    moments: list[tuple[int, int, int]] = []
    one = family._one

    def noted(batch: Batch) -> Loss:
        moments.append((batch.update, batch.images_seen, batch.start))
        return one(batch)

    family.phases = lambda: [Phase("one", family.first, noted)]  # type: ignore[method-assign]
    learner.optimizers = {"one": learner.optimizers["one"]}
    list(islice(_trainer().train(learner), 2))
    assert moments == [(0, 0, 0), (0, 0, 3), (0, 0, 6), (1, 8, 0), (1, 8, 3), (1, 8, 6)]


def test_what_a_family_draws_to_adapt_depends_on_seed_and_update_not_on_chunks() -> None:
    def drawn(seed: int, chunk_size: int) -> list[float]:
        family, learner = _learner(chunk_size=chunk_size)
        found: list[float] = []
        family.finish = lambda update, sums: found.append(torch.randn(()).item())  # type: ignore[method-assign]
        list(islice(_trainer(seed).train(learner), 2))
        return found

    assert drawn(0, 8) == drawn(0, 3)
    assert len({*drawn(0, 8), *drawn(1, 8)}) == 4


def test_a_non_finite_update_is_skipped_and_counted() -> None:
    family, learner = _learner()
    family.poison = {3}
    updates = list(_trainer().train(learner))
    assert [u.update for u in updates if u.skipped] == [4]
    assert learner.skipped == 1
    assert learner.skipped_in_a_row == 0
    assert torch.isfinite(_weights(family)).all()
    assert torch.isfinite(_weights(learner.ema.family)).all()


def test_a_loss_that_is_not_finite_is_skipped_even_if_its_gradient_is(monkeypatch: pytest.MonkeyPatch) -> None:
    family, learner = _learner()
    healthy = family._one
    monkeypatch.setattr(family, "_one", lambda batch: Loss(healthy(batch).value + float("inf")))
    before = _weights(family)
    assert next(_trainer().train(learner)).skipped
    assert torch.equal(before, _weights(family))


def test_too_many_in_a_row_stop_the_run_with_the_reason() -> None:
    family, learner = _learner(max_skipped=3)
    family.poison = set(range(4, 100))
    with pytest.raises(RunFailed, match="3 times in a row.*training.learning_rate"):
        list(_trainer().train(learner))
    assert learner.update == 7


def test_clipping_bounds_the_step_and_reports_the_norm_before() -> None:
    _, learner = _learner(gradient_clip=1e-9)
    assert next(_trainer().train(learner)).gradient_norm > 1e-9
    assert sum(float(p.grad.square().sum()) for p in learner.family.parameters() if p.grad is not None) < 1e-16


def test_a_phase_may_have_its_own_rate() -> None:
    options = parse(LearningOptions, {"phases": {"two": {"learning_rate": 0.5}}, "learning_rate": 0.1})
    assert options.for_phase("two").learning_rate == 0.5
    assert options.for_phase("one").learning_rate == 0.1
