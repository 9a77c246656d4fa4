import json

import numpy as np
import pytest
import torch

from mezzotint.errors import BadInput
from mezzotint.evaluation.evaluate import evaluate
from mezzotint.evaluation.extractors import Extractor, Features
from mezzotint.evaluation.extractors.squeezenet import SqueezeNet
from mezzotint.evaluation.identity import ImageSet, Keys, digests, fingerprint
from mezzotint.evaluation.images import DrawnPictures
from mezzotint.evaluation.metrics.frechet import frechet_distance
from mezzotint.evaluation.passes import Progress, accumulate, reference_features
from mezzotint.evaluation.score import Floor, Score
from mezzotint.evaluation.statistics import Moments
from mezzotint.machine import Machine

CPU = torch.device("cpu")


def images(seed, count, channels=3, size=8, brightness=200):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, brightness, (count, channels, size, size), dtype=torch.uint8, generator=generator)


def batches(pixels, size=10, labels=None):
    rows = range(0, len(pixels), size)
    return [(pixels[i : i + size], None if labels is None else labels[i : i + size]) for i in rows]


class Means(torch.nn.Module):
    """Mean colour and contrast: six features, enough to test the bookkeeping."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, pixels):
        self.calls += len(pixels)
        flat = pixels.float().flatten(2)
        return Features(torch.cat([flat.mean(2), flat.std(2)], 1), None)


@pytest.fixture
def means(monkeypatch, tmp_path):
    """The SqueezeNet options, made to load six cheap features."""
    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path / "home"))
    network = Means()
    monkeypatch.setattr(SqueezeNet, "load", lambda *_: Extractor("squeezenet", 6, network, "means", CPU))
    return network


def scores(*args, **options):
    return [record for record in evaluate(*args, **options) if isinstance(record, Score)]


def floor(score) -> Floor:
    assert score.floor is not None
    return score.floor


def value(score):
    return score.values["frechet"].value


def test_progress_then_a_score_that_says_what_it_was_measured_on(means):
    generated, reference = images(1, 40), images(2, 100)
    *progress, score = evaluate(batches(generated), batches(reference), ["fd-squeezenet-30"])
    passes = [p for p in progress if isinstance(p, Progress)]
    assert len(passes) == len(progress)
    assert [p.done for p in passes if p.what == "generated"] == [10, 20, 30]
    assert isinstance(score, Score)
    assert (score.protocol, score.count, score.reference_count) == ("fd-squeezenet-30", 30, 100)
    assert score.reference_fingerprint == fingerprint(Keys().told_apart(digests(reference)))
    assert score.image_size == (8, 8)
    known, real = (Moments.of(means(p).features) for p in (generated[:30], reference))
    expected = frechet_distance(known, real)[0]
    assert value(score) == pytest.approx(expected, rel=1e-6)
    tree = json.loads(json.dumps(score.to_json()))
    assert tree["values"]["frechet"].keys() == {"value", "error"}
    assert tree["floor"]["values"]["frechet"]["value"] == floor(score).values["frechet"].value


def test_floor_is_held_out_images_at_the_same_n(means):
    generated, reference, held_out = images(1, 40), images(2, 100), images(3, 60)
    (score,) = scores(batches(generated), batches(reference), ["fd-squeezenet-40"], held_out=batches(held_out))
    assert (floor(score).source, floor(score).count, floor(score).reference_count) == ("held-out", 40, 100)
    assert score.warning is None
    # The floor is what those images score as if they had been generated.
    chosen = ImageSet.of(batches(held_out), "held-out").first(40)
    (again,) = scores(chosen, batches(reference), ["fd-squeezenet-40"])
    assert value(again) == pytest.approx(floor(score).values["frechet"].value, rel=1e-9)


def test_held_out_images_of_the_reference_are_not_in_the_floor(means):
    reference, held_out = images(2, 100), images(3, 60)
    known, overlapping = images(1, 40), torch.cat([reference[:50], held_out, reference[:20]])  # some even twice
    apart, mixed, inside = (
        floor(scores(batches(known), batches(reference), ["fd-squeezenet-40"], held_out=batches(others))[0])
        for others in (held_out, overlapping, reference[:50])
    )
    assert mixed == apart
    assert inside.source == "halves"


def test_floor_of_few_held_out_images_says_so(means):
    (score,) = scores(
        batches(images(1, 40)), batches(images(2, 100)), ["fd-squeezenet-40"], held_out=batches(images(3, 15))
    )
    assert floor(score).count == 15
    assert "floor is of 15 real images" in str(score.warning)


def test_floor_without_held_out_images_is_of_disjoint_halves(means):
    (score,) = scores(batches(images(1, 80)), batches(images(2, 100)), ["fd-squeezenet-80"])
    assert (floor(score).source, floor(score).count, floor(score).reference_count) == ("halves", 50, 50)
    (score,) = scores(batches(images(1, 80)), batches(images(2, 100)), ["fd-squeezenet-30"])
    assert (floor(score).count, floor(score).reference_count) == (30, 70)
    assert "the floor is against 70 reference images, the score against 100" in str(score.warning)


def test_scores_depend_neither_on_batch_size_nor_on_order(means, monkeypatch, tmp_path):
    generated, reference = images(1, 60), images(2, 100)
    generated[:20] = generated[0]  # copies are told apart, and kept
    protocols = ["fd-squeezenet-60", "kid-squeezenet-60"]
    first = scores(batches(generated), batches(reference), protocols)
    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path / "elsewhere"))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    second = scores(batches(generated[order], 7), batches(reference.flip(0), 33), protocols)
    for one, other in zip(first, second, strict=True):
        assert one.reference_fingerprint == other.reference_fingerprint
        assert list(one.values.values()) == [pytest.approx(v, rel=1e-6) for v in other.values.values()]


def test_protocols_share_one_pass_and_the_reference_is_remembered(means):
    protocols = ["fd-squeezenet-20", "fd-squeezenet-40", "kid-squeezenet-40"]
    first = scores(iter(batches(images(1, 40))), iter(batches(images(2, 100))), protocols)
    assert [s.count for s in first] == [20, 40, 40]
    assert means.calls == 140
    second = scores(batches(images(1, 40)), batches(images(2, 100)), protocols)
    assert means.calls == 180
    assert [s.values for s in second] == [s.values for s in first]


def test_damaged_cache_is_computed_again(means, tmp_path):
    reference = ImageSet.of(batches(images(2, 100)), "reference")
    extractor = SqueezeNet().load(None, CPU)
    first = drain(reference_features(reference, extractor))
    (file,) = (tmp_path / "home" / "features").iterdir()
    for damage in (lambda data: data[:50], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: b""):
        file.write_bytes(damage(file.read_bytes()))
        calls = means.calls
        again = drain(reference_features(reference, extractor))
        assert means.calls == calls + 100
        assert torch.equal(again.features, first.features)


def drain(generator):
    try:
        while True:
            next(generator)
    except StopIteration as stop:
        return stop.value


def test_gray_equals_gray_repeated_to_three_channels(means):
    generated, reference = images(1, 40, channels=1), images(2, 60, channels=1)
    (one,) = scores(batches(generated), batches(reference), ["fd-squeezenet-40"])
    (three,) = scores(batches(generated.repeat(1, 3, 1, 1)), batches(reference), ["fd-squeezenet-40"])
    assert value(one) == value(three)


def test_copies_of_an_image_keep_their_keys_in_a_chosen_part(means):
    pixels = images(2, 100)
    pixels[50:] = pixels[:50]
    every = ImageSet.of(batches(pixels), "reference")
    assert len(np.unique(every.keys)) == 100
    part = every.first(40)
    (found,) = drain(accumulate(part, [SqueezeNet().load(None, CPU)], "part"))
    assert np.array_equal(found.keys, np.sort(every.keys)[:40])


def test_classifier_learns_from_a_part_that_is_not_reference():
    labels = torch.arange(120) % 2
    reference = images(2, 120) // 2 + (labels * 100).to(torch.uint8).view(-1, 1, 1, 1)
    given = {"generated": batches(images(1, 30)), "reference": batches(reference, 10, labels)}
    (score,) = scores(**given, protocols=["fd-classifier-30"])
    keys = Keys().told_apart(digests(reference))
    assert score.reference_fingerprint == fingerprint(keys[keys % 3 != 0])
    lessons = batches(reference[:60], 10, labels[:60])
    (score,) = scores(given["generated"], batches(reference[60:]), ["fd-classifier-30"], labelled=lessons)
    assert score.reference_count == 60
    with pytest.raises(BadInput, match="no labels"):
        scores(given["generated"], batches(reference), ["fd-classifier-30"])


@pytest.mark.parametrize(
    ("generated", "reference", "message"),
    [
        (images(1, 20), images(2, 50), "needs 30 generated images, there are 20"),
        (images(1, 30, size=9), images(2, 50), "generated: all images must have one size, found 8x8 px and 9x9 px"),
        (images(1, 30) / 255, images(2, 50), "generated: pixels must be uint8 0..255, these are float32"),
        (images(1, 30, channels=4), images(2, 50), r"must be \[N, 1 or 3, H, W\]"),
        (images(1, 30), images(2, 50)[:0], "reference: there are no images"),
        (images(1, 30)[:0], images(2, 50), "generated: there are no images"),
        (images(1, 30), images(2, 2), "reference: needs at least 4 images, there are 2"),
    ],
)
def test_bad_images_are_told(means, generated, reference, message):
    with pytest.raises(BadInput, match=message):
        scores(batches(generated), batches(reference), ["fd-squeezenet-30"])


@pytest.mark.parametrize("bare", [images(1, 30), [images(1, 30)], list(images(1, 30, size=2)[:, 0])])
def test_pixels_without_their_labels_are_told(means, bare):
    with pytest.raises(BadInput, match=r"generated: each batch must be a pair \(pixels, labels or None\), got Tensor"):
        scores(bare, batches(images(2, 50)), ["fd-squeezenet-30"])


def test_bad_requests_are_told(means):
    with pytest.raises(BadInput, match="no protocol"):
        scores(batches(images(1, 30)), batches(images(2, 50)), [])
    with pytest.raises(BadInput, match="at least 4 images"):
        scores(batches(images(1, 30)), batches(images(2, 50)), ["kid-squeezenet-3"])


# --- A copy of the data, and sets too small -----------------------------------------------------------------


def test_a_copy_of_the_data_scores_the_floor_or_below_and_is_flagged(means):
    real, held_out = batches(images(2, 100)), batches(images(3, 100))
    protocols = ["fd-squeezenet-100", "kid-squeezenet-100", "memorisation-squeezenet-100", "prdc-squeezenet-100"]
    distance, kernel, copies, balls = scores(batches(images(2, 100)), real, protocols, held_out=held_out)
    assert value(distance) <= floor(distance).values["frechet"].value
    assert kernel.values["kid"].value <= floor(kernel).values["kid"].value
    assert balls.values["precision"].value == balls.values["recall"].value == 1
    assert copies.values["copies"].value == 1
    assert str(copies.warning).startswith("memorised: 100% of the images are copies")
    (fresh,) = scores(batches(images(4, 100)), real, protocols[2:3], held_out=held_out)
    assert "memorised" not in str(fresh.warning)


@pytest.mark.parametrize("protocol", ["prdc-squeezenet-30", "fd-infinity-squeezenet-30"])
def test_too_few_real_images_give_a_score_without_a_floor(means, protocol):
    (score,) = scores(batches(images(1, 40)), batches(images(2, 100)), [protocol], held_out=batches(images(3, 5)))
    assert score.floor is None
    assert "no floor of these real images: 5 images are too few" in str(score.warning)


@pytest.mark.parametrize(("real", "told"), [(14, True), (15, False)])
def test_a_reference_of_far_fewer_images_than_are_judged_is_told(means, real, told):
    (score,) = scores(batches(images(1, 30)), batches(images(2, real)), ["fd-squeezenet-30"])
    assert (f"the reference is {real} images only" in str(score.warning)) == told


def test_other_protocols_are_offered_for_distances_only(means):
    protocols = ["fd-squeezenet-5", "prdc-squeezenet-10", "memorisation-squeezenet-10"]
    distance, *others = scores(batches(images(1, 40)), batches(images(2, 100)), protocols)
    assert "would be unbiased" in str(distance.warning)
    assert not any("would be unbiased" in str(other.warning) for other in others)


def test_a_reference_that_breaks_off_is_refused_and_not_remembered(means, tmp_path):
    reference = [*batches(images(2, 50)), (images(3, 10, size=9), None)]
    with pytest.raises(BadInput, match="reference: all images must have one size"):
        scores(batches(images(1, 30)), reference, ["fd-squeezenet-30"])
    assert not (tmp_path / "home" / "features").exists()


class Seeded:
    """A generator that is only its latents."""

    latent_shape: tuple[int, ...] = (3, 8, 8)
    num_classes: int = 0

    def decode(self, latent, labels, noise):
        return latent.clamp(-1, 1)


def test_a_generator_in_memory_is_scored_without_files_of_its_pictures(means, tmp_path):
    machine = Machine(CPU, "float32", 1)
    drawn = DrawnPictures(Seeded(), machine, 30, 7)
    (score,) = scores(drawn, batches(images(2, 50)), ["fd-squeezenet-30"])
    pixels = torch.cat([part for part, _ in drawn])
    (again,) = scores(batches(pixels), batches(images(2, 50)), ["fd-squeezenet-30"])
    assert value(score) == pytest.approx(value(again), rel=1e-9)
    assert (score.generated_format, score.count) == ("drawn", 30)
    kept = [file.name for file in (tmp_path / "home").rglob("*") if file.is_file() and not file.name.startswith(".")]
    assert all(name.startswith(("squeezenet-", "moments-", "floor-")) for name in kept), kept


def test_features_that_are_not_finite_are_refused_and_not_remembered(means, monkeypatch, tmp_path):
    monkeypatch.setattr(means, "forward", lambda pixels: Features(torch.full((len(pixels), 6), torch.nan), None))
    with pytest.raises(BadInput, match="reference: features that are not finite"):
        scores(batches(images(1, 30)), batches(images(2, 50)), ["fd-squeezenet-30"])
    assert not (tmp_path / "home" / "features").exists()
