"""Converts words of the command line to Python values, by the types in a verb's signature."""

import difflib
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin


def convert(kind: Any, text: str, name: str) -> Any:
    """Converts a word of the command line to a value of a type.

    Args:
        kind: ``str``, ``int``, ``float``, ``bool``, ``Path``, a ``Literal``, a ``list`` of one of these, or one of them
            ``| None``, for which ``none`` stands.
        name: name of the option or argument, for errors.

    Raises:
        ValueError: with the name, the word, and valid values.
    """
    kind, optional = without_none(kind)
    if optional and text.lower() in ("none", "null"):
        return None
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        return [convert(item, part, name) for part in split_list(text)]
    if get_origin(kind) is Literal:
        choices = {str(choice): choice for choice in get_args(kind)}
        if text not in choices:
            raise ValueError(f"{name} is {text!r}; it should be one of {one_of(text, choices)}")
        return choices[text]
    if kind is Path and "://" in text:
        raise ValueError(f"{name} is {text}, a URL; it should be a path on this machine")
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{name} is {text!r}; it should be true or false")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        expected = {int: "a whole number", float: "a number"}[kind]
        raise ValueError(f"{name} is {text!r}; it should be {expected}") from None


def without_none(kind: Any) -> tuple[Any, bool]:
    """A type without ``| None`` and without annotations, and whether None was among its values."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        (found,) = (each for each in get_args(kind) if each is not types.NoneType)
        return found, True
    return kind, False


def split_list(text: str) -> list[str]:
    """The items of ``a,b``, ``[a, b]`` or ``[[a, b], [c]]``, split only at the outermost list."""
    text = text.strip()
    if text.startswith("[") and text.endswith("]") and closes_at_the_end(text):
        text = text[1:-1]
    parts, depth = [""], 0
    for letter in text:
        depth += {"[": 1, "]": -1, "{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip().strip("'\"") for part in parts] if text.strip() else []


def closes_at_the_end(text: str) -> bool:
    """Whether the bracket that opens a text closes at its end."""
    depth = 0
    for place, letter in enumerate(text):
        depth += {"[": 1, "]": -1, "{": 1, "}": -1}.get(letter, 0)
        if depth == 0:
            return place == len(text) - 1
    return False


def choices_of(kind: Any) -> list[str]:
    """The words that a type accepts, if they are few."""
    kind, _ = without_none(kind)
    if get_origin(kind) is list:
        return choices_of(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    return ["true", "false"] if kind is bool else []


def placeholder(kind: Any) -> str:
    """The placeholder of a value in the help: ``N``, ``PATH``, ``{squash,crop}``."""
    kind, _ = without_none(kind)
    if get_origin(kind) is list:
        item = placeholder(get_args(kind)[0])
        return f"{item},..." if not item.endswith("...") else f"[{item}],..."
    if kind is bool:
        return "[true|false]"
    if choices := choices_of(kind):
        return "{" + ",".join(choices) + "}"
    return {int: "N", float: "NUMBER", Path: "PATH"}.get(kind, "TEXT")


def show(value: Any) -> str:
    """A default value as a user would type it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(show(each) for each in value)
    return str(value)


def one_of(text: str, choices: Iterable[str]) -> str:
    """The choices as text, and the one most similar to the typed word."""
    choices = list(choices)
    close = difflib.get_close_matches(text, choices, n=1)
    return ", ".join(choices) + (f"; did you mean {close[0]!r}?" if close else "")
