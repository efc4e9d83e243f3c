"""What a data set says of one image, whichever layout it was read from; no torch, no pixels.

A reader is a generator ``(root, split, *, annotations) -> Record | Problem``: one entry of the set after the other, a
bad one as a ``Problem`` that says where it stands and what is wrong, so that whoever reads decides whether to stop
(training) or to count it and go on (preparing). What makes the whole set unreadable is raised.
"""

from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

Value = TypeVar("Value")


class Slice(NamedTuple):
    """An image inside a larger file, such as an uncompressed tar."""

    file: Path
    offset: int  # bytes
    length: int  # bytes


class Box(NamedTuple):
    """An object of an image, relative to its width and height: left, top, width and height in [0, 1]."""

    category: str
    left: float
    top: float
    width: float
    height: float


class Utterance(NamedTuple):
    """Words that were said without a stop, in seconds."""

    words: str
    start: float
    end: float


class TracePoint(NamedTuple):
    """Where the mouse was, relative to the picture (it may lie slightly outside [0, 1]), and when, in seconds."""

    x: float
    y: float
    t: float


class Narrative(NamedTuple):
    """A spoken description: its text, its timed utterances, and the mouse's strokes on the same clock.

    The utterances' words joined with single blanks are the caption.
    """

    caption: str
    utterances: tuple[Utterance, ...]
    strokes: tuple[tuple[TracePoint, ...], ...]


class Record(NamedTuple):
    """An image and what was said of it; ``boxes`` and ``narrative`` only where annotations were asked for."""

    image: Path | Slice | bytes  # a file, a part of one, or its content
    captions: tuple[str, ...]  # each of single-blank-separated words, none empty
    id: str  # unique within its split
    boxes: tuple[Box, ...] = ()
    narrative: Narrative | None = None


class Problem(NamedTuple):
    """What could not be used: an entry; or a detail of one, such as one of its captions or boxes."""

    where: str  # file, and the line, entry or member of it
    reason: str
    detail: bool = False  # the entry comes without it: no record is lost

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def details(reading: Generator[Problem, None, Value]) -> Generator[Problem, None, Value]:
    """The same reading, whose problems lose no record."""
    while True:
        try:
            problem = next(reading)
        except StopIteration as end:
            return end.value
        yield problem._replace(detail=True)


def strict(entries: Iterable[Record | Problem]) -> Iterator[Record]:
    """The records alone.

    Raises:
        ValueError: naming the first problem, and how many more there are.
    """
    entries = iter(entries)
    for entry in entries:
        if isinstance(entry, Problem):
            more = sum(isinstance(other, Problem) for other in entries)
            raise ValueError(f"{entry}{f' ({more} more entries have a problem)' if more else ''}")
        yield entry


def without_duplicates(entries: Iterable[Record | Problem]) -> Iterator[Record | Problem]:
    """The same entries, but a record whose id was seen before is a problem."""
    seen: set[str] = set()
    for entry in entries:
        if isinstance(entry, Record):
            if entry.id in seen:
                yield Problem(f"record {entry.id}", "its id stands twice in the set; the first one is kept")
                continue
            seen.add(entry.id)
        yield entry


def one_line(text: str) -> str:
    """A caption with single blanks between its words, and none around them."""
    return " ".join(text.split())
