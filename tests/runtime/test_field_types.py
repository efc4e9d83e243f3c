"""A value of the wrong type is an error with its name and the right type."""

import re
from dataclasses import dataclass
from typing import Literal

import pytest

from xmcgan.runtime.field_types import check_fields, first_line


@dataclass
class Settings:
    names: list[str]
    sizes: tuple[int, ...] | None
    shares: dict[str, float]
    fit: Literal["squash", "crop"]


GOOD = {"names": ["a", "b"], "sizes": (1, 2), "shares": {"a": 0.5, "b": 1}, "fit": "crop"}


def test_values_of_their_types_pass():
    check_fields(Settings, GOOD)
    check_fields(Settings, {"names": [], "sizes": None, "shares": {}})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("names", "a", "a list, each text"),
        ("names", ["a", 1], "a list, each text"),
        ("sizes", [1, True], "a list, each a whole number or null"),
        ("sizes", {1}, "a list, each a whole number or null"),
        ("shares", {"a": "b"}, "a finite number by name"),
        ("shares", {1: 0.5}, "a finite number by name"),
        ("shares", [0.5], "a finite number by name"),
        ("fit", "stretch", "one of squash, crop"),
    ],
)
def test_a_value_of_another_type_is_named(name, value, expected):
    said = f"study.{name} is {value!r}; it should be {expected}"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        check_fields(Settings, GOOD | {name: value}, "study.")


def test_an_error_without_text_is_named_by_its_kind():
    assert first_line(OSError("\nthe disk is full\nadvice")) == "the disk is full"
    assert first_line(TimeoutError()) == "TimeoutError"
