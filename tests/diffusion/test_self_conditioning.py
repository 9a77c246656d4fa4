"""Self-conditioning: what the network reads in training and in sampling, and what it doesn't learn from."""

import pytest
import torch
from torch import Tensor, nn

from mezzotint.contracts import Batch, Condition
from mezzotint.diffusion.denoiser import per_row
from mezzotint.diffusion.family import Diffusion, DiffusionOptions
from mezzotint.diffusion.generator import DiffusionSampling
from mezzotint.options import parse
from mezzotint.runs.codecs import Identity
from mezzotint.samplers.heun import Heun
from mezzotint.seeds import SeededNoise

SHAPE = (2, 2, 2)


class Reads(nn.Module):
    """A network of 2C channels in and C out that remembers what it read."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2 * SHAPE[0], SHAPE[0], 1)
        self.dropout = nn.Dropout(0.3)
        self.read: list[Tensor] = []
        self.previous: list[Tensor | None] = []

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        self.read.append(x)
        self.previous.append(condition.previous)
        return self.mix(self.dropout(x))


def family(network: nn.Module) -> Diffusion:
    return Diffusion(network, parse(DiffusionOptions, {"self_conditioning": True}), Identity(), SHAPE, 0)


def batch(count: int = 64) -> Batch:
    return Batch(torch.rand(count, *SHAPE), None, None, 0, 0)


def test_in_training_half_of_the_rows_see_a_first_estimate() -> None:
    torch.manual_seed(0)
    network = Reads().eval()
    chosen = family(network)
    drawn = chosen.draw(batch(400))
    chosen.loss(drawn)
    first, second = network.read
    assert not bool(first[:, 2:].any())
    seen = drawn.drawn["tried"]
    assert float(seen.float().mean()) == pytest.approx(0.5, abs=0.1)
    x = drawn.drawn["x0"] + per_row(drawn.drawn["sigma"], first) * drawn.drawn["n"]
    with torch.no_grad():
        estimate = chosen.denoiser(Condition())(x, drawn.drawn["sigma"])
    torch.testing.assert_close(second[:, 2:], per_row(seen, estimate) * estimate)
    assert torch.equal(second[:, :2], first[:, :2])
    assert network.previous == [None] * 3
    assert not second.requires_grad  # the estimate carries no gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_weight_learns_in_mixed_precision_too(dtype: torch.dtype) -> None:
    """Weights cast for the first estimate, without gradient, must not be used again for the loss."""
    torch.manual_seed(0)
    network = Reads()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        value = family(network).loss(batch()).value
    value.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


def test_the_loss_is_a_function_of_what_was_drawn() -> None:
    network = Reads().eval()
    chosen = family(network)
    drawn = chosen.draw(batch(8))
    halves = [chosen.loss(drawn.rows(*part)).value for part in ((0, 4), (4, 8))]
    torch.testing.assert_close(torch.stack(halves).mean(), chosen.loss(drawn).value)


def test_a_path_remembers_the_last_output_and_the_next_path_begins_anew() -> None:
    torch.manual_seed(0)
    network = Reads()
    generator = family(network).generator(DiffusionSampling(sampler=Heun(), steps=3))
    latent = SeededNoise([0, 1]).normal((2, *SHAPE))
    images = generator.decode(latent, None, SeededNoise([0, 1]))
    read = network.read[:]
    assert len(read) == 5  # Heun's calls, between the moves too
    assert not bool(read[0][:, 2:].any())
    assert all(bool(x[:, 2:].any()) for x in read[1:])
    torch.testing.assert_close(read[4][:, 2:], _estimate(generator.family, read[3], float(generator.sigmas[2])))
    assert torch.equal(generator.decode(latent, None, SeededNoise([0, 1])), images)
    alone = generator.decode(latent[1:], None, SeededNoise([1]))
    torch.testing.assert_close(alone, images[1:], atol=1e-5, rtol=0)


class Bends(nn.Module):
    """A network without parameters whose numbers are each their own affair, so that rows agree bit for bit."""

    def forward(self, x: Tensor, level: Tensor, condition: Condition) -> Tensor:
        codes, previous = x.chunk(2, 1)
        return torch.tanh(3 * codes * (1 + previous)) * torch.cos(per_row(level, codes) * 20 + previous)


def test_what_an_image_is_told_does_not_depend_on_how_long_others_take() -> None:
    """With adaptive steps an image that has arrived at a level of the grid is asked for on and on until all have."""
    sampling = {"sampler": {"kind": "adaptive", "relative": 1e-3, "absolute": 1e-3}, "steps": 5}
    generator = family(Bends()).generator(parse(DiffusionSampling, sampling))

    def drawn(*seeds: int) -> tuple[Tensor, Tensor]:
        noise = SeededNoise(seeds)
        *_, last = generator.moves(noise.normal((len(seeds), *SHAPE)), None, noise)
        assert last.calls is not None
        return last.x, last.calls

    together, calls = drawn(0, 1, 2, 3)
    assert len(set(calls.tolist())) > 1
    for seed in range(4):
        assert torch.equal(drawn(seed)[0][0], together[seed])


def _estimate(chosen: Diffusion, read: Tensor, sigma: float) -> Tensor:
    """What D was, from what the network read."""
    level = torch.full((len(read),), sigma, dtype=torch.float32)
    x = read[:, :2] / per_row(chosen.options.prediction.c_in(level), read)
    with torch.no_grad():
        raw = chosen.network.eval()(read, level, Condition())
    return chosen.denoiser(Condition()).denoised(raw, x, level)


def test_the_shape_of_the_network_follows() -> None:
    told = parse(DiffusionOptions, {"self_conditioning": True, "variance": "learned"})
    assert (told.channels_in(3), told.channels_out(3)) == (6, 6)
    assert (DiffusionOptions().channels_in(3), DiffusionOptions().channels_out(3)) == (3, 3)
