"""Importance sampling of noise levels: unbiased, in proportion to the loss, a function of the buffers alone."""

import pytest
import torch
from torch import Tensor, nn

from mezzotint.contracts import Batch, Condition
from mezzotint.diffusion.family import Diffusion, DiffusionOptions
from mezzotint.diffusion.importance import ByLoss, LossSecondMoment
from mezzotint.diffusion.schedules.log_normal import LogNormal
from mezzotint.errors import BadInput
from mezzotint.options import parse
from mezzotint.runs.codecs import Identity

CPU = torch.device("cpu")
SHAPE = (1, 2, 2)


def steep(u: Tensor) -> Tensor:
    """A loss that is a thousand times larger at one end of u than at the other."""
    return 1000**u


def taught(bins: int = 8, history: int = 2, uniform: float = 0.001) -> ByLoss:
    drawing = LossSecondMoment(bins=bins, history=history, uniform=uniform).drawing()
    for _ in range(history):
        drawn = drawing.draw(4 * bins, LogNormal(), CPU)
        drawing.finish(drawing.sums(steep(LogNormal().u(drawn["sigma"])), drawn))
    return drawing


def test_levels_are_drawn_in_proportion_to_the_root_of_the_second_moment() -> None:
    torch.manual_seed(0)
    drawing = taught()
    edges = torch.linspace(0, 1, 9, dtype=torch.float64)
    second = (steep(2 * edges[1:]) - steep(2 * edges[:-1])).sqrt()  # of each bin, up to a common factor
    torch.testing.assert_close(drawing.shares(), second / second.sum(), atol=0, rtol=0.2)
    u = LogNormal().u(drawing.draw(8000, LogNormal(), CPU)["sigma"].double())
    counts = torch.histc(u, 8, 0, 1) / 8000
    torch.testing.assert_close(counts, drawing.shares(), atol=1e-3, rtol=1e-3)


def test_the_mean_is_that_of_the_schedule_with_less_spread() -> None:
    torch.manual_seed(0)
    drawing, exact = taught(), 999 / torch.tensor(1000.0).log()
    means = []
    for _ in range(300):
        drawn = drawing.draw(16, LogNormal(), CPU)
        means.append(drawing.mean(steep(LogNormal().u(drawn["sigma"])), drawn))
    found = torch.stack(means)
    assert abs(float(found.mean() / exact) - 1) < 3 * float(found.std() / exact) / 300**0.5
    plain = [steep(LogNormal().u(LogNormal().draw(16))).mean() for _ in range(300)]
    assert found.std() < torch.stack(plain).std()


def test_until_every_bin_is_known_levels_are_the_schedules_own() -> None:
    drawing = LossSecondMoment(bins=8, history=3).drawing()
    for _ in range(5):  # half of the bins: never all
        drawing.finish({"squares": torch.arange(8.0), "rows": torch.tensor([1.0, 0.0] * 4)})
    torch.manual_seed(4)
    drawn = drawing.draw(64, LogNormal(), CPU)
    torch.manual_seed(4)
    torch.testing.assert_close(drawn["sigma"], LogNormal().draw(64))
    assert drawn["importance"].unique().tolist() == [1]


def test_the_history_is_short_and_of_the_bins_that_were_drawn() -> None:
    drawing = LossSecondMoment(bins=2, history=2).drawing()
    for square in (8.0, 2.0, 18.0):
        drawing.finish({"squares": torch.tensor([square, 0.0]), "rows": torch.tensor([2.0, 0.0])})
    assert drawing.moments.tolist() == [[1, 9], [0, 0]]
    assert drawing.updates.tolist() == [3, 0]
    drawing.finish({"squares": torch.tensor([0.0, 4.0]), "rows": torch.tensor([0.0, 1.0])})
    drawing.finish({"squares": torch.tensor([0.0, 4.0]), "rows": torch.tensor([0.0, 1.0])})
    torch.testing.assert_close(
        drawing.shares()[0] / drawing.shares()[1], torch.tensor(5**0.5 / 2).double(), rtol=1e-2, atol=0
    )


def test_a_loss_of_zeros_leaves_levels_even() -> None:
    drawing = LossSecondMoment(bins=4, history=1).drawing()
    drawing.finish({"squares": torch.zeros(4), "rows": torch.ones(4)})
    assert drawing.shares().tolist() == pytest.approx([0.25] * 4)


def test_sums_add_over_chunks() -> None:
    drawing, rows = taught(), torch.rand(32)
    drawn = drawing.draw(32, LogNormal(), CPU)
    parts = [drawing.sums(rows[part], {k: v[part] for k, v in drawn.items()}) for part in (slice(20), slice(20, 32))]
    for name, whole in drawing.sums(rows, drawn).items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], whole)
    assert float(drawing.sums(rows, drawn)["rows"].sum()) == 32


class Gain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        return self.gain * x


def test_a_family_learns_its_history_from_its_own_sums_and_keeps_it_as_buffers() -> None:
    torch.manual_seed(0)
    options = parse(DiffusionOptions, {"importance": {"kind": "loss-second-moment", "bins": 4, "history": 2}})
    family = Diffusion(Gain(), options, Identity(), SHAPE, 0)
    batch = Batch(torch.rand(32, *SHAPE), None, None, 0, 0)
    for update in range(3):
        sums = family.loss(batch).sums
        family.finish(update, {f"denoiser/{name}": value for name, value in sums.items()})
    state = family.state_dict()
    assert state["importance.updates"].tolist() == [3] * 4
    again = Diffusion(Gain(), options, Identity(), SHAPE, 0)
    again.load_state_dict(state)
    torch.manual_seed(9)
    drawn = family.draw(batch).drawn
    torch.manual_seed(9)
    resumed = again.draw(batch).drawn
    assert drawn.keys() == resumed.keys() == {"x0", "sigma", "bin", "importance", "n"}
    assert all(torch.equal(drawn[name], resumed[name]) for name in drawn)
    assert drawn["importance"].unique().numel() > 1


def test_without_importance_nothing_is_summed_or_kept() -> None:
    family = Diffusion(Gain(), DiffusionOptions(), Identity(), SHAPE, 0)
    batch = Batch(torch.rand(4, *SHAPE), None, None, 0, 0)
    assert family.loss(batch).sums == {}
    assert list(family.state_dict()) == ["network.gain"]


@pytest.mark.parametrize(
    ("tree", "match"), [("loss", "loss-second-moment"), ({"kind": "loss-second-moment", "bins": 1}, "bins")]
)
def test_bad_options_are_refused(tree: object, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        parse(DiffusionOptions, {"importance": tree})
