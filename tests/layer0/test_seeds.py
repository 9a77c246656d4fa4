"""Randomness as a function of where you are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mezzotint.seeds import AmbientNoise, SeededNoise, forked, mix, seed_generators, shuffled


@pytest.mark.parametrize(
    ("words", "seed"),
    [((0,), 3581690635855307741), ((1, "order", 2), 3964660357497683162), (("image", 2**40), 5617770481476276616)],
)
def test_mix_never_changes(words: tuple[int | str, ...], seed: int) -> None:
    assert mix(*words) == seed  # a change would change every run and every picture ever drawn


@given(st.lists(st.integers() | st.text(), max_size=4), st.lists(st.integers() | st.text(), max_size=4))
def test_mix_tells_paths_apart(a: list[int | str], b: list[int | str]) -> None:
    assert 0 <= mix(*a) < 2**63
    if "\x1f" not in "".join(map(str, a + b)):
        assert (mix(*a) == mix(*b)) == (a == b)


def test_mix_takes_words_not_their_spelling() -> None:
    assert mix(1) != mix("1")
    assert mix(1, 23) != mix(12, 3)
    assert mix(np.int64(7)) == mix(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 8, 8)])
def test_a_row_depends_on_its_seed_alone(shape: tuple[int, ...]) -> None:
    together, alone = SeededNoise([4, 9, 2]), SeededNoise([9])
    for _ in range(3):
        assert torch.equal(together.normal((3, *shape))[1], alone.normal((1, *shape))[0])


def test_streams_go_on_and_differ() -> None:
    noise = SeededNoise([0, 1])
    first, second = noise.normal((2, 1000)), noise.normal((2, 1000))
    for a, b in [(first[0], first[1]), (first[0], second[0])]:
        assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.15
    assert first.dtype == torch.float32
    assert abs(float(first.mean())) < 0.1
    assert abs(float(first.std()) - 1) < 0.1


def test_seeded_noise_leaves_the_default_generator_alone() -> None:
    before = torch.get_rng_state()
    SeededNoise([1]).normal((1, 4))
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="2 streams"):
        SeededNoise([0, 1]).normal((3, 4))


def test_ambient_noise_follows_the_seeded_generators() -> None:
    seed_generators(0, 1, "phase", 2)
    first = AmbientNoise().normal((2, 3))
    seed_generators(0, 1, "phase", 2)
    assert torch.equal(AmbientNoise().normal((2, 3)), first)
    seed_generators(0, 1, "phase", 3)
    assert not torch.equal(AmbientNoise().normal((2, 3)), first)


def test_forked_is_repeatable_and_puts_the_outer_stream_back() -> None:
    torch.manual_seed(5)
    expected = torch.randn(4)
    torch.manual_seed(5)
    inner = []
    for _ in range(2):
        with forked("validation", 7):
            inner.append(torch.randn(3))
    assert torch.equal(inner[0], inner[1])
    assert torch.equal(torch.randn(4), expected)


def test_forked_puts_the_stream_back_after_an_error() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with pytest.raises(KeyError), forked(1):
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)


@given(st.integers(1, 50), st.integers(0, 5), st.integers(0, 200), st.integers(1, 120))
def test_shuffled_is_computed_from_any_position(count: int, seed: int, start: int, length: int) -> None:
    whole = shuffled(count, seed, 0, start + length)
    assert np.array_equal(shuffled(count, seed, start, length), whole[start:])


@given(st.integers(1, 50), st.integers(0, 5), st.integers(0, 9))
def test_each_epoch_holds_every_item_once(count: int, seed: int, epoch: int) -> None:
    assert sorted(shuffled(count, seed, epoch * count, count)) == list(range(count))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    first, second = shuffled(100, 0, 0, 100), shuffled(100, 0, 100, 100)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, shuffled(100, 1, 0, 100))
    assert not np.array_equal(first, np.arange(100))


def test_changing_the_result_does_not_change_the_order() -> None:
    shuffled(10, 3, 0, 10)[:] = 0
    assert sorted(shuffled(10, 3, 0, 10)) == list(range(10))
