"""Checks the values of annotation files.

Each function returns a checked value or raises a ValueError whose message continues the name of the place:
``field(entry, "caption", words)`` raises "caption is 5; it should be a text".
"""

import json
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from xmcgan.data.records import Box, Narrative, Problem, TracePoint, Utterance, one_line

Value = TypeVar("Value")


def parse_json(content: bytes | str, object_hook: Callable[[dict], Any] | None = None) -> Any:
    """Parses a JSON text."""
    try:
        return json.loads(content, object_hook=object_hook)
    except (ValueError, RecursionError) as error:  # includes invalid UTF-8, and too deeply nested brackets
        raise ValueError(f"is not JSON: {error}") from error


def field(entry: Any, key: str, check: Callable[[Any], Value]) -> Value:
    """The checked value of a key of a JSON object."""
    if not isinstance(entry, dict) or key not in entry:
        raise ValueError(f"has no {key!r}")
    try:
        return check(entry[key])
    except ValueError as error:
        raise ValueError(f"{key} {error}") from error


def elements(entry: Any, key: str, check: Callable[[Any], Value]) -> tuple[Value, ...]:
    """The checked values of a list in a JSON object."""
    checked = []
    for position, value in enumerate(field(entry, key, array)):
        try:
            checked.append(check(value))
        except ValueError as error:
            raise ValueError(f"{key}[{position}] {error}") from error
    return tuple(checked)


def good_ones(
    where: str, name: str, values: list[Any], check: Callable[[Any], Value]
) -> Generator[Problem, None, tuple[Value, ...]]:
    """The checked values of a list; yields a problem for each bad one."""
    good = []
    for position, value in enumerate(values):
        try:
            good.append(check(value))
        except ValueError as error:
            yield Problem(where, f"{name}[{position}] {error}")
    return tuple(good)


def array(value: Any) -> list[Any]:
    """A JSON list."""
    if not isinstance(value, list):
        raise ValueError(f"is {shown(value)}; it should be a list")
    return value


def text(value: Any) -> str:
    """A text that can be encoded as UTF-8: without undecodable bytes and lone surrogates."""
    if not isinstance(value, str):
        raise ValueError(f"is {shown(value)}; it should be a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"is {shown(value)}, which is not UTF-8") from None
    return value


def words(value: Any) -> str:
    """A caption that is not empty, with single spaces between its words."""
    caption = one_line(text(value))
    if not caption:
        raise ValueError(f"is {shown(value)}; it should contain words")
    return caption


def lines(content: bytes) -> tuple[str, ...]:
    """The captions of a text file, one a line; blank lines are skipped."""
    try:
        captions = tuple(filter(None, map(one_line, content.decode("utf-8-sig").split("\n"))))
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8: {error}") from error
    if not captions:
        raise ValueError("has no words")
    return captions


def whole_number(value: Any) -> int:
    """An integer; true and false are refused."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"is {shown(value)}; it should be a whole number")
    return value


def number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
        return float(value)
    raise ValueError(f"is {shown(value)}; it should be a finite number")


def box(category: str, left: float, top: float, width: float, height: float) -> Box:
    """A box relative to the image's width and height, clipped to it. Boxes of zero area (COCO has some) are kept."""
    right, bottom = left + width, top + height
    if width < 0 or height < 0:
        raise ValueError(f"is not a box: its relative width and height are {width:g} and {height:g}")
    if left > 1 or top > 1 or right < 0 or bottom < 0:
        raise ValueError(f"lies outside the image: from {left:g}, {top:g} to {right:g}, {bottom:g}, relative to it")
    if min(left, top) >= 0 and max(right, bottom) <= 1:
        return Box(category, left, top, width, height)
    left, top, right, bottom = (min(max(corner, 0.0), 1.0) for corner in (left, top, right, bottom))
    return Box(category, left, top, right - left, bottom - top)


def utterance(transcript: Any, start: Any, end: Any) -> Utterance:
    """A spoken phrase from its words, start and end."""
    spoken = Utterance(words(transcript), number(start), number(end))
    if spoken.end < spoken.start:
        raise ValueError(f"ends at {spoken.end:g}, before its start at {spoken.start:g}")
    return spoken


def stroke(points: Any) -> tuple[TracePoint, ...]:
    """A mouse stroke from its points x, y, t."""
    try:
        return tuple(TracePoint(number(x), number(y), number(t)) for x, y, t in points)
    except (TypeError, ValueError) as error:
        raise ValueError(f"is not a list of points x, y, t: {error}") from error


def narrative(
    caption: str, utterances: tuple[Utterance, ...], strokes: tuple[tuple[TracePoint, ...], ...]
) -> Narrative:
    """A narrative; its utterances must spell its caption, except for spaces. Empty strokes are left out."""
    transcript = " ".join(each.words for each in utterances)
    if transcript.replace(" ", "") != caption.replace(" ", ""):
        raise ValueError(f"says {shown(transcript)}; its caption is {shown(caption)}")
    return Narrative(transcript, utterances, tuple(filter(None, strokes)))


def shown(value: Any) -> str:
    """A value as error messages show it, shortened to 80 characters."""
    content = repr(value)
    return content if len(content) <= 80 else f"{content[:77]}..."


def printable(place: object) -> str:
    """A path or name for a message; bytes that are not UTF-8 are escaped."""
    return str(place).encode(errors="backslashreplace").decode()
