"""Images divided among threads: the same rows in the same order, and torch's number of threads as it was."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mezzotint.evaluation.extractors.threads import by_threads


@pytest.fixture
def count():
    """Let a test set the number of threads."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("images", [1, 2, 13, 24])
def test_rows_stay_in_order_and_parts_small(count, threads, images):
    count(threads)
    pixels, sizes = torch.arange(images * 2).view(images, 2), []

    def work(part):
        sizes.append(len(part))
        assert torch.get_num_threads() == 1
        return part.double() * 2

    with torch.inference_mode():
        assert torch.equal(by_threads(work, pixels, 4), pixels.double() * 2)
    assert max(sizes) <= 4
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == images


def test_what_goes_wrong_in_a_thread_is_told_and_the_threads_are_as_before(count):
    count(3)

    def work(part):
        raise ValueError("in a thread")

    with pytest.raises(ValueError, match="in a thread"):
        by_threads(work, torch.zeros(9, 1), 2)
    assert torch.get_num_threads() == 3
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 3


@pytest.mark.parametrize("threads", [1, 2])
def test_the_callers_gradients_and_autocast_change_nothing(count, threads):
    count(threads)
    linear, x = torch.nn.Linear(8, 8), torch.randn(6, 8)
    with torch.no_grad():
        plain = linear(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = by_threads(linear, x, 3)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert torch.allclose(found, plain, atol=1e-6)
