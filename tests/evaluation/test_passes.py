"""Parts seen by several processes merge to what one sees; moments are remembered; published statistics serve."""

import numpy as np
import pytest
import torch

from mezzotint.errors import BadInput
from mezzotint.evaluation.evaluate import evaluate
from mezzotint.evaluation.extractors import Extractor, Features
from mezzotint.evaluation.extractors.squeezenet import SqueezeNet
from mezzotint.evaluation.given import Statistics, holds_statistics
from mezzotint.evaluation.identity import ImageSet
from mezzotint.evaluation.images import PixelArray
from mezzotint.evaluation.passes import Seen, accumulate, merge, read, reference_features
from mezzotint.evaluation.score import Score
from mezzotint.evaluation.statistics import Moments
from mezzotint.machine import Machine

CPU = torch.device("cpu")


def images(seed, count, size=8):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 200, (count, 3, size, size), dtype=torch.uint8, generator=generator)


class Means(torch.nn.Module):
    """Mean colour and contrast as features, and three shares as probabilities."""

    def forward(self, pixels):
        flat = pixels.double().flatten(2)
        return Features(torch.cat([flat.mean(2), flat.std(2)], 1).float(), flat.mean(2).softmax(1).float())


@pytest.fixture
def extractor(monkeypatch, tmp_path):
    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path / "home"))
    found = Extractor("squeezenet", 6, Means(), "means", CPU)
    monkeypatch.setattr(SqueezeNet, "load", lambda *_: found)
    return found


def drain(generator):
    try:
        while True:
            next(generator)
    except StopIteration as stop:
        return stop.value


def same(one, other):
    return (
        torch.equal(one.features, other.features)
        and torch.equal(one.probabilities, other.probabilities)
        and torch.equal(one.labels, other.labels)
        and np.array_equal(one.keys, other.keys)
    )


def process(rank, world):
    return Machine(CPU, "float32", 1, rank, world)


@pytest.mark.parametrize("world", [2, 3, 20])
@pytest.mark.parametrize("count", [None, 37, 8])
@pytest.mark.parametrize("kind", ["array", "iterator", "set"])
def test_parts_merge_to_what_one_process_sees(extractor, world, count, kind):
    pixels = images(1, 50)
    pixels[20:30] = pixels[:10]  # copies are told apart across processes, too
    labels = np.arange(50) % 7
    array = PixelArray(pixels.numpy(), labels, 8)

    def batches():
        whole = ImageSet.of(array, "x") if kind == "set" else array
        return {"array": array, "iterator": iter(array), "set": whole}[kind]

    (one,) = drain(accumulate(batches(), [extractor], "x", count))
    parts = [drain(read(batches(), [extractor], "x", count, machine=process(rank, world))) for rank in range(world)]
    keys = ImageSet.of(array, "x").keys if kind == "set" else None
    (whole,) = merge(parts[::-1], keys=keys)
    assert len(one) == (50 if count is None else count)
    assert same(whole, one)


def test_moments_of_parts_add_up_to_those_of_the_whole():
    features = torch.randn(1000, 12, generator=torch.Generator().manual_seed(0)) * 3 + 100
    whole = Moments.of(features)
    parts = sum((Moments.of(part) for part in features.split([1, 600, 399])), start=Moments.none(12))
    expected = np.cov(features.double().numpy().T)
    for found in (whole, parts):
        np.testing.assert_allclose(found.covariance.numpy(), expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose((found.root @ found.root).numpy(), expected, rtol=1e-9, atol=1e-9)
    assert parts.count == whole.count == 1000


def test_sizes_that_differ_between_processes_are_told(extractor):
    parts = [drain(read([(images(1, 5, size), None)], [extractor], "x", machine=process(0, 1))) for size in (8, 9)]
    with pytest.raises(BadInput, match="generated: all images must have one size"):
        merge(parts, "generated")


def test_what_one_process_cannot_use_stops_all_of_them(extractor, monkeypatch):
    whole = PixelArray(images(1, 50).numpy(), None, 8)
    machines = [process(rank, 2) for rank in range(2)]
    seen = [Seen.nothing("x: features that are not finite"), drain(read(whole, [extractor], "x", machine=machines[1]))]
    monkeypatch.setattr(Machine, "gather", lambda *_: seen)
    for machine in machines:
        with pytest.raises(BadInput, match="x: features that are not finite"):
            drain(accumulate(whole, [extractor], "x", machine=machine))


def test_a_process_with_bad_features_still_gathers(extractor, monkeypatch):
    monkeypatch.setattr(Means, "forward", lambda _, pixels: Features(torch.full((len(pixels), 6), torch.nan), None))
    gathered = []
    monkeypatch.setattr(Machine, "gather", lambda _, seen: gathered.append(seen) or [seen])
    with pytest.raises(BadInput, match="not finite"):
        drain(accumulate(PixelArray(images(1, 20).numpy(), None, 8), [extractor], "x"))
    assert ["not finite" in str(seen.problem) for seen in gathered] == [True]


def test_moments_and_their_root_are_computed_once(extractor, monkeypatch):
    real = ImageSet.of(PixelArray(images(2, 60).numpy(), None, 16), "reference")
    first = drain(reference_features(real, extractor)).moments
    monkeypatch.setattr(torch.linalg, "eigh", lambda *_: pytest.fail("the root is known"))
    monkeypatch.setattr(Moments, "of", lambda *_: pytest.fail("the moments are known"))
    again = drain(reference_features(real, extractor)).moments
    assert torch.equal(again.root, first.root)
    assert torch.equal(again.covariance, first.covariance)


def test_labels_are_those_given_now_also_where_features_are_remembered(extractor):
    pixels = images(2, 60).numpy()
    labels = [np.arange(60) % classes for classes in (3, 5)]
    found = []
    for known in (*labels, None):
        real = ImageSet.of(PixelArray(pixels, known, 16), "reference")
        found.append(drain(reference_features(real, extractor)))
        (fresh,) = drain(accumulate(real, [extractor], "x"))
        assert (found[-1].labels is None) == (known is None)
        assert known is None or same(found[-1], fresh)
    assert torch.equal(found[0].features, found[1].features)


def test_a_floor_is_measured_once(extractor, monkeypatch):
    from mezzotint.evaluation.metrics.kid import KID

    real, held_out = (PixelArray(images(seed, 60).numpy(), None, 16) for seed in (2, 3))

    def floor():
        found = evaluate(PixelArray(images(1, 40).numpy(), None, 16), real, ["kid-squeezenet-40"], held_out=held_out)
        *_, score = found
        assert isinstance(score, Score)
        return score.floor

    calls, measure = [], KID.__call__

    def counted(self, *sets):
        calls.append(1)
        return measure(self, *sets)

    monkeypatch.setattr(KID, "__call__", counted)
    first = floor()
    assert len(calls) == 2
    assert floor() == first
    assert len(calls) == 3


# --- Published statistics --------------------------------------------------------------------------------------


def written(path, extractor, pixels):
    features = extractor.network(pixels).features.double().numpy()
    np.savez(path, mu=features.mean(0), sigma=np.cov(features.T))
    return path


def scored(*args, **options):
    *_, score = evaluate(*args, **options)
    assert isinstance(score, Score)
    return score


def test_published_statistics_give_the_distance_that_their_images_give(extractor, tmp_path):
    generated = PixelArray(images(1, 40).numpy(), None, 16)
    real = PixelArray(images(2, 90).numpy(), None, 16)
    statistics = Statistics.open(written(tmp_path / "stats.npz", extractor, images(2, 90)))
    of_images = scored(generated, real, ["fd-squeezenet-40"])
    found = scored(generated, statistics, ["fd-squeezenet-40"])
    assert found.values["frechet"].value == pytest.approx(of_images.values["frechet"].value, rel=1e-6)
    assert found.reference_fingerprint != of_images.reference_fingerprint
    assert (found.floor, found.reference_count) == (None, None)
    assert "say neither N nor extractor" in str(found.warning)
    assert Score.from_json(found.to_json()) == found
    with_floor = scored(
        generated, statistics, ["fd-squeezenet-40"], held_out=PixelArray(images(3, 60).numpy(), None, 16)
    )
    assert with_floor.floor is not None
    assert (with_floor.floor.count, with_floor.floor.source) == (40, "held-out")


def test_statistics_are_no_reference_for_metrics_that_need_images(extractor, tmp_path):
    statistics = Statistics.open(written(tmp_path / "stats.npz", extractor, images(2, 90)))
    generated = PixelArray(images(1, 40).numpy(), None, 16)
    with pytest.raises(BadInput, match=r"kid-squeezenet-40: needs real images, .*stats\.npz holds only their mean"):
        scored(generated, statistics, ["kid-squeezenet-40"])
    with pytest.raises(BadInput, match="not of one that learns"):
        scored(generated, statistics, ["fd-classifier-40"])
    extractor.__dict__["dimension"] = 512
    with pytest.raises(BadInput, match=r"stats\.npz: is of 6 features, squeezenet has 512"):
        scored(generated, statistics, ["fd-squeezenet-40"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3), "n": np.zeros(1)}, "holds `mu`, `n`, must hold `mu` and `sigma`"),
        ({"mu": np.array(["a"]), "sigma": np.eye(1)}, "must be real numbers, are <U1 and float64"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, r"are \[0\] and \[0, 0\]"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"shapes \[D\] and \[D, D\], are \[3\] and \[4, 4\]"),
        ({"mu": np.full(3, np.nan), "sigma": np.eye(3)}, "not finite"),
        ({"mu": np.zeros(2), "sigma": np.array([[1.0, 2], [0, 1]])}, "not symmetric"),
    ],
)
def test_wrong_statistics(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(BadInput, match=message):
        Statistics.open(tmp_path / "x.npz")


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_truncated_statistics(tmp_path, keep):
    path = tmp_path / "x.npz"
    np.savez(path, mu=np.zeros(30), sigma=np.eye(30))
    path.write_bytes(path.read_bytes()[:keep])
    for opened in (Statistics.open, holds_statistics):
        with pytest.raises(BadInput, match=r"x\.npz: not a readable \.npz") as told:
            opened(path)
        assert "\n" not in str(told.value)


def test_too_few_images_are_told_before_the_reference_is_read(extractor):
    def never():
        pytest.fail("the reference is read")
        yield

    few = PixelArray(images(1, 20).numpy(), None, 16)
    with pytest.raises(BadInput, match="fd-squeezenet-30: needs 30 generated images, there are 20"):
        list(evaluate(few, never(), ["fd-squeezenet-30"]))


def test_floats_are_told_with_their_range(extractor):
    for pixels, message in [
        (images(1, 30) / 255, r"float32 \(from 0 to 0\.78: multiply by 255 and round\)"),
        (images(1, 30) / 127.5 - 1, r"float32 \(from -1 to 0\.561: images, which mezzotint\.pixels\.to_pixels"),
    ]:
        with pytest.raises(BadInput, match=message):
            list(evaluate([(pixels, None)], [(images(2, 30), None)], ["fd-squeezenet-30"]))
