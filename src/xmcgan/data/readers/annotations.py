"""Checks the values of annotation files.

Each function returns a checked value or raises a ValueError whose message is meant to follow the place:
``field(entry, "caption", words)`` raises "caption is 5; it should be a text".
"""

import codecs
import itertools
import json
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from xmcgan.data.records import Box, Narrative, Problem, TracePoint, Utterance, one_line

Value = TypeVar("Value")

OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
"""Byte order marks of encodings other than UTF-8. The one of little-endian UTF-32 begins like UTF-16's."""

FARTHEST = 10.0
"""How far outside the image, in its widths, a trace point may lie. Farther out it is not relative to the image."""

LATEST = 1e6
"""Largest time of a narrative in seconds: eleven days. float32, as in shards, resolves 0.06 s there."""

BACKWARDS = 0.1
"""Seconds by which a trace point may come before the one it follows: the clock of a browser is not exact."""


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


def decoded(content: bytes) -> str:
    """A UTF-8 text, without its byte order mark.

    Raises:
        ValueError: naming the first byte that is wrong, or the encoding if a byte order mark shows it.
    """
    if content.startswith(OTHER_ENCODINGS):
        raise ValueError("is UTF-16 or UTF-32; it should be UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, last = content.count(b"\n", 0, error.start) + 1, content.rfind(b"\n", 0, error.start)
        place = f"byte {error.start - last}" + (f" of line {line}" if b"\n" in content.rstrip() else "")
        latin = content[error.start : error.start + 1].decode("latin-1")
        hint = f", as in Latin-1 for {latin!r}" if latin.isprintable() else ""
        raise ValueError(f"is not UTF-8: its {place} is 0x{content[error.start]:02x}{hint}") from error


def lines(content: bytes) -> tuple[str, ...]:
    """The captions of a text file, one per line; blank lines are skipped."""
    captions = tuple(filter(None, map(one_line, decoded(content).split("\n"))))
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


def moment(value: Any) -> float:
    """A time in seconds."""
    if abs(number(value)) > LATEST:
        raise ValueError(f"is {shown(value)}; it should be a time in seconds, at most {LATEST:g}")
    return float(value)


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
    spoken = Utterance(words(transcript), moment(start), moment(end))
    if spoken.end < spoken.start:
        raise ValueError(f"ends at {spoken.end:g}, before its start at {spoken.start:g}")
    return spoken


def stroke(points: Any) -> tuple[TracePoint, ...]:
    """A mouse stroke from its points x, y, t."""
    try:
        found = tuple(TracePoint(number(x), number(y), moment(t)) for x, y, t in points)
    except (TypeError, ValueError) as error:
        raise ValueError(f"is not a list of points x, y, t: {error}") from error
    for position, point in enumerate(found):
        if max(abs(point.x - 0.5), abs(point.y - 0.5)) > FARTHEST:
            raise ValueError(f"has its point {position} at {point.x:g}, {point.y:g}; it should be in or near [0, 1]")
        if position and point.t < found[position - 1].t - BACKWARDS:
            raise ValueError(
                f"runs backwards in time: its point {position} is at {point.t:g} s, after one at "
                f"{found[position - 1].t:g} s"
            )
    return found


def narrative(
    caption: str, utterances: tuple[Utterance, ...], strokes: tuple[tuple[TracePoint, ...], ...]
) -> Narrative:
    """A narrative; its utterances must spell its caption, except for spaces. Empty strokes are left out.

    A narrative without any point is refused: the trace loss would count it as supervised.
    """
    transcript = " ".join(each.words for each in utterances)
    if transcript.replace(" ", "") != caption.replace(" ", ""):
        raise ValueError(f"says {shown(transcript)}; its caption is {shown(caption)}")
    if not any(strokes):
        raise ValueError("has no trace: there is no point in any stroke")
    strokes = tuple(filter(None, strokes))
    for before, after in itertools.pairwise(strokes):
        if after[0].t < before[-1].t - BACKWARDS:
            raise ValueError(
                f"runs backwards in time: a stroke begins at {after[0].t:g} s, after one that ends at "
                f"{before[-1].t:g} s"
            )
    return Narrative(transcript, utterances, strokes)


def shown(value: Any) -> str:
    """A value as error messages show it, shortened to 80 characters."""
    content = repr(value)
    return content if len(content) <= 80 else f"{content[:77]}..."


def printable(place: object) -> str:
    """A path or name for a message; bytes that are not UTF-8 are escaped."""
    return str(place).encode(errors="backslashreplace").decode()
