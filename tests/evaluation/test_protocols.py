import pytest

from mezzotint.errors import BadInput
from mezzotint.evaluation.protocols import Protocol, pairings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fid-50k", Protocol("frechet", "inception", 50_000)),
        ("fd-squeezenet-5k", Protocol("frechet", "squeezenet", 5_000)),
        ("fd-classifier-1k", Protocol("frechet", "classifier", 1_000)),
        ("kid-squeezenet-5k", Protocol("kid", "squeezenet", 5_000)),
        ("kid-50k", Protocol("kid", "inception", 50_000)),
        ("fd-squeezenet-2500", Protocol("frechet", "squeezenet", 2_500)),
    ],
)
def test_reads_and_prints(text, expected):
    assert Protocol.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize("pairing", [name for name in pairings() if "inception" not in name])
def test_every_pairing_round_trips(pairing):
    assert str(Protocol.parse(f"{pairing}-10k")) == f"{pairing}-10k"


def test_fid_is_only_ever_inception():
    assert pairings()["fid"] == ("frechet", "inception")
    assert not [name for name, (_, extractor) in pairings().items() if "fid" in name and extractor != "inception"]


def test_the_long_names_of_inception_are_read_as_the_short_ones():
    assert str(Protocol.parse("kid-inception-10k")) == "kid-10k"
    assert str(Protocol.parse("fd-inception-50k")) == "fid-50k"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fd-squeeznet-5k", "did you mean fd-squeezenet-5k"),
        ("fid-squeezenet-5k", "did you mean .*fd-squeezenet-5k"),
        ("fid", "number of images"),
        ("fd-squeezenet", "e.g. fd-squeezenet-5k"),
        ("fid-0", "number of images"),
        ("fid-5m", "number of images"),
        ("", "number of images"),
    ],
)
def test_unknown_names_are_told(text, message):
    with pytest.raises(BadInput, match=message):
        Protocol.parse(text)
