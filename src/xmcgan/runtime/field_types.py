"""Checks the values of a settings class's fields by their annotations."""

import dataclasses
import math
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

LARGEST = 2**63
"""Whole numbers must be below it: random number generators and tensors cannot hold larger ones."""

WORDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text", type(None): "null"}


def check(condition: bool, message: str) -> None:
    """Raises a ValueError with the message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def check_fields(kind: Any, values: dict[str, Any], prefix: str = "") -> None:
    """Refuses a value that is not of its field's type.

    Args:
        kind: a dataclass; ``values`` may hold only its fields.
        prefix: prefix of the fields' names in messages, such as ``training.``.

    Raises:
        ValueError: naming the field, its value and what it should be.
    """
    hints = get_type_hints(kind)
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            continue
        if not fits(value, hints[name]):
            raise ValueError(f"{prefix}{name} is {shortened(value)}; it should be {described(hints[name])}")
        if type(value) is int and abs(value) >= LARGEST:
            raise ValueError(f"{prefix}{name} is {shortened(value)}; it should be below 2**63")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; a whole number is also a float, but true is not a number."""
    if get_origin(hint) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return any(fits(value, each) for each in get_args(hint))
    if get_origin(hint) is dict:
        of_key, of_value = get_args(hint)
        return type(value) is dict and all(fits(key, of_key) and fits(each, of_value) for key, each in value.items())
    if get_origin(hint) in (list, tuple):
        return type(value) in (list, tuple) and all(fits(each, get_args(hint)[0]) for each in value)
    if hint is float:
        return type(value) is int or (type(value) is float and math.isfinite(value))
    return type(value) is hint


def described(hint: Any) -> str:
    """A type in words."""
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(described(each) for each in get_args(hint))
    if get_origin(hint) is dict:
        return f"{described(get_args(hint)[1])} by name"
    if get_origin(hint) in (list, tuple):
        return f"a list, each {described(get_args(hint)[0])}"
    return WORDS.get(hint, str(hint))


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind if it has no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def shortened(value: Any, most: int = 60) -> str:
    """A value as text, shortened if it is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a whole number of thousands of digits"
    return text if len(text) <= most else f"{text[:most]}..."
