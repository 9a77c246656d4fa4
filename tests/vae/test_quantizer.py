"""The codebook: nearest vectors, running means as computed by hand, restarts that repeat."""

import pytest
import torch

from mezzotint.vae.quantizer import Codebook, perplexity


def _codebook(vectors: list[list[float]], decay: float = 0.9, restart_below: float = 0.0) -> Codebook:
    book = Codebook(len(vectors), len(vectors[0]), decay, restart_below)
    book.vectors.copy_(torch.tensor(vectors))
    book.usage.fill_(2.0)
    book.totals.copy_(book.vectors * 2)
    return book


def test_the_nearest_vector_is_found_and_the_first_of_equals() -> None:
    book = _codebook([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [-3.0, 0.0]])
    encoded = torch.tensor([[0.1, -0.1], [0.9, 1.2], [-2.0, 0.5]])
    assert book.nearest(encoded).tolist() == [0, 1, 3]
    many = torch.randn(9000, 2)
    expected = torch.cdist(many.double(), book.vectors.double()).argmin(1)
    assert book.nearest(many).equal(expected)


def test_an_update_is_the_one_computed_by_hand() -> None:
    book = _codebook([[0.0, 0.0], [1.0, 2.0]])
    encoded = torch.tensor([[0.2, 0.0], [0.0, 0.4], [1.0, 1.0]])
    sums = book.sums(encoded, book.nearest(encoded))
    book.follow(sums)
    # N = 0.9 * 2 + 0.1 * n, m = 0.9 * 2 e + 0.1 * (sum of what chose the code)
    assert book.usage.tolist() == pytest.approx([0.9 * 2 + 0.1 * 2, 0.9 * 2 + 0.1 * 1])
    expected = torch.tensor([[0.1 * 0.2 / 2.0, 0.1 * 0.4 / 2.0], [(1.8 + 0.1) / 1.9, (3.6 + 0.1) / 1.9]])
    torch.testing.assert_close(book.vectors, expected)


def test_sums_of_parts_are_the_sums_of_the_whole() -> None:
    torch.manual_seed(0)
    book, encoded = _codebook([[0.0, 0.0], [1.0, 2.0]]), torch.randn(10, 2)
    parts = [book.sums(part, book.nearest(part)) for part in encoded.split(3)]
    for name, whole in book.sums(encoded, book.nearest(encoded)).items():
        torch.testing.assert_close(sum(part[name] for part in parts), whole)


def test_the_first_update_spreads_the_vectors_as_the_data_are_spread() -> None:
    torch.manual_seed(0)
    book = Codebook(400, 2, 0.9, 0.0)
    encoded = torch.randn(1000, 2) * torch.tensor([0.1, 5.0]) + torch.tensor([3.0, -1.0])
    book.follow(book.sums(encoded, book.nearest(encoded)))
    torch.testing.assert_close(book.vectors.mean(0), torch.tensor([3.0, -1.0]), rtol=0, atol=0.6)
    torch.testing.assert_close(book.vectors.std(0), torch.tensor([0.1, 5.0]), rtol=0.1, atol=0)
    assert book.usage.tolist() == pytest.approx([2.5] * 400)


def test_a_dead_code_restarts_beside_the_most_used_one_and_each_time_alike() -> None:
    books = [_codebook([[0.0, 0.0], [1.0, 0.0], [50.0, 50.0]], restart_below=0.2) for _ in range(2)]
    encoded = torch.tensor([[0.0, 0.1]] * 6 + [[1.0, 0.1]] * 4)
    for book in books:
        before = book.vectors.clone()
        book.usage[2] = 0.3
        book.totals[2] = book.vectors[2] * 0.3
        torch.manual_seed(9)
        book.follow(book.sums(encoded, book.nearest(encoded)))
        assert (book.vectors[2] - book.vectors[0]).norm() < 1, "it lies beside the most used code"
        assert not book.vectors[2].equal(book.vectors[0])
        assert book.usage[2] > 1, "it has time to be found"
        assert book.vectors[1, 0] == before[1, 0]
    assert books[0].vectors.equal(books[1].vectors)


def test_without_restarts_an_unused_code_keeps_its_place_for_good() -> None:
    book = _codebook([[0.0, 0.0], [50.0, 50.0]], decay=0.5)
    encoded = torch.tensor([[0.1, 0.1]])
    for _ in range(200):
        book.follow(book.sums(encoded, book.nearest(encoded)))
    assert book.vectors[1].tolist() == pytest.approx([50.0, 50.0])
    assert book.vectors.isfinite().all()


def test_statistics_tell_a_collapse() -> None:
    book = _codebook([[float(i), 0.0] for i in range(8)])
    assert book.statistics()["perplexity"].item() == pytest.approx(8)
    assert book.statistics()["used_codes"].item() == 1
    book.usage.copy_(torch.tensor([5.0] + [0.0] * 7))
    assert book.statistics()["perplexity"].item() == pytest.approx(1)
    assert book.statistics()["used_codes"].item() == pytest.approx(1 / 8)
    assert perplexity(torch.tensor([0.5, 0.5, 0.0])).item() == pytest.approx(2)


def test_half_precision_around_it_changes_no_choice() -> None:
    torch.manual_seed(0)
    book = Codebook(64, 8, 0.9, 0.0)
    encoded = torch.randn(500, 8)
    plain = book.nearest(encoded)
    with torch.autocast("cpu", torch.bfloat16):
        assert book.nearest(encoded).equal(plain)
