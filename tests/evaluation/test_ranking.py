"""Ranking inside a group only, probabilities from errors, repeats, and scores that survive JSON."""

import json
from dataclasses import replace

import pytest

from mezzotint.errors import BadInput
from mezzotint.evaluation.literature import Published, beside, published
from mezzotint.evaluation.metrics import Value
from mezzotint.evaluation.protocols import Protocol
from mezzotint.evaluation.ranking import better, probability, ranked, repeated
from mezzotint.evaluation.score import Floor, Provenance, Score

REAL = Provenance("cifar10_png", "train", "png", "32 px, crop center, resize lanczos", whole=True)
SCORE = Score(
    protocol="fid-50k",
    values={"frechet": Value(10.0, 0.3), "precision": Value(0.5, 0.04)},
    larger_is_better=("precision",),
    unranked=(),
    warning=None,
    count=50_000,
    reference_count=50_000,
    reference_fingerprint="ab",
    reference=REAL,
    reference_is_training=False,
    held_out_fingerprint="ef",
    generated_format="png",
    code="gh",
    extractor="inception",
    extractor_hash="cd",
    published_weights=True,
    resize="bilinear to 299",
    floor=Floor({"frechet": Value(1.0, 0.1)}, 10_000, 50_000, "held-out"),
    image_size=(32, 32),
    seconds=1.5,
)


def of(value, error=0.3, **changes):
    return replace(SCORE, values={"frechet": Value(value, error), "precision": Value(1 / value, 0.04)}, **changes)


def test_a_score_is_read_back_as_it_was_written():
    for score in (SCORE, replace(SCORE, floor=None, reference=None, reference_count=None)):
        line = json.loads(json.dumps(score.to_json()))
        assert Score.from_json(line | {"checkpoint": 3}) == score
    del line["extractor_hash"]
    with pytest.raises(BadInput, match="without 'extractor_hash'"):
        Score.from_json(line)


def test_the_description_tells_all_that_must_be_the_same():
    assert SCORE.description == (
        "fid-50k of png images against cifar10_png train (png; 32 px, crop center, resize lanczos), 32x32 px, "
        "inception: bilinear to 299"
    )


def test_the_description_tells_what_the_reference_is_taken_for():
    assert " as the training images, 32x32 px" in replace(SCORE, reference_is_training=True).description


def test_probability_of_being_better():
    one, other = Value(10.0, 3.0), Value(15.0, 4.0)  # a difference of one standard deviation
    assert probability(one, other) == pytest.approx(0.841345, abs=1e-6)
    assert probability(other, one) == pytest.approx(1 - 0.841345, abs=1e-6)
    assert probability(one, other, larger_is_better=True) == pytest.approx(1 - 0.841345, abs=1e-6)
    assert probability(one, one) == 0.5
    assert probability(Value(1, 0), Value(2, 0)) == 1
    assert probability(Value(1, 0), Value(1, 0)) == 0.5
    assert probability(Value(1), other) is None
    assert probability(Value(float("nan"), 1.0), other) is None


def test_better_asks_each_value_its_own_way():
    assert better(of(10), of(11)) == pytest.approx(0.9908, abs=1e-3)
    assert better(of(2), of(1), "precision") == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"protocol": "fid-10k"}, "protocols"),
        ({"extractor_hash": "x"}, "extractors"),
        ({"reference_fingerprint": "x"}, "references"),
    ],
)
def test_other_protocols_extractors_and_references_are_never_ranked(change, what):
    with pytest.raises(BadInput, match=f"can't be ranked: their {what}.* differ"):
        better(of(10), of(11, **change))
    with pytest.raises(BadInput, match=f"repeats: can't be averaged, their {what}"):
        repeated([of(10), of(11, **change)])
    groups = ranked([("a", of(12)), ("b", of(11, **change)), ("c", of(10))])
    assert [[name for name, _ in group.entries] for group in groups] == [["c", "a"], ["b"]]
    assert groups[1].surely_best is None
    assert groups[0].surely_best == better(of(10), of(12))


def test_ranked_by_a_value_of_which_more_is_better():
    (group,) = ranked([("a", of(12)), ("nan", of(float("nan"))), ("c", of(10))], "precision")
    assert [name for name, _ in group.entries] == ["c", "a", "nan"]


def test_what_is_best_neither_small_nor_large_has_no_rank():
    scores = [replace(of(value), unranked=("frechet",)) for value in (12, 10)]
    (group,) = ranked([("a", scores[0]), ("b", scores[1])])
    assert (group.by, group.surely_best) == (None, None)
    assert [name for name, _ in group.entries] == ["a", "b"]
    with pytest.raises(BadInput, match="frechet is best neither small nor large"):
        better(scores[0], scores[1])
    assert better(scores[0], scores[1], by="precision") is not None


def test_repeats():
    found = repeated([of(9), of(10), of(14)])
    assert found["frechet"].value == pytest.approx(11)
    assert found["frechet"].error == pytest.approx((7 / 3) ** 0.5)
    with pytest.raises(BadInput, match="two or more"):
        repeated([of(9)])


# --- Literature ------------------------------------------------------------------------------------------------


def test_literature_is_comparable_at_the_same_protocol_only():
    names = {entry.name: entry for entry in beside(SCORE)}
    assert names["DDPM"].line(SCORE) == "DDPM (Ho et al. 2020) 3.17, fid-50k against train"
    assert {entry.protocol for entry in names.values()} == {"fid-50k"}
    ddpm = names["DDPM"]
    for change, reason in [
        ({"protocol": "fd-squeezenet-5k"}, "not comparable: that is fid-50k, this fd-squeezenet-5k"),
        ({"reference": replace(REAL, split="test")}, "not comparable: that is against the train split"),
        (
            {"reference": replace(REAL, format="jpeg")},
            "not comparable: that is against lossless files, this against jpeg",
        ),
        ({"image_size": (64, 64)}, "not comparable: that is at 32 px, this at 64 px"),
        ({"published_weights": False}, "not comparable: that is by the extractor's published weights"),
        ({"reference": replace(REAL, whole=False)}, "not comparable: that is against all images of train"),
    ]:
        assert reason in ddpm.line(replace(SCORE, **change))
    test = replace(SCORE, reference=replace(REAL, split="test"))
    assert [entry.value for entry in beside(test)] == [5.24]
    other = replace(SCORE, protocol="kid-1k")
    assert [entry.difference(other) is None for entry in beside(other)] == [False]
    assert list(beside(replace(SCORE, reference=replace(REAL, source="my pictures")))) == []


def test_what_nobody_stated_compares_to_nothing():
    known = [entry for entry in published() if not entry.protocol.startswith(("fid-", "is-"))]
    assert len(known) > 10
    for entry in known:
        with pytest.raises(BadInput):
            Protocol.parse(entry.protocol)
    assert all(isinstance(entry, Published) for entry in known)
