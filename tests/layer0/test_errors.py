"""Nearest names in error messages."""

from mezzotint.errors import BadInput, nearest


def test_near_names_are_offered_nearest_first() -> None:
    assert nearest("huen", ["heun", "euler", "ddim"]) == "did you mean heun?"
    assert nearest("ddm", ["heun", "ddpm", "ddim"]).startswith("did you mean dd")


def test_everything_is_listed_when_nothing_is_near() -> None:
    assert nearest("zzz", ["b", "a"]) == "there are a, b"
    assert nearest("zzz", iter(["b", "a"])) == "there are a, b"
    assert nearest("zzz", []) == "there are none"


def test_bad_input_is_a_value_error_so_that_validators_may_raise_it() -> None:
    assert issubclass(BadInput, ValueError)
