"""Records: one image with its captions and annotations, independent of the data set's layout. No torch, no pixels.

A reader is a generator ``(root, split, *, annotations) -> Record | Problem`` over the entries of a data set. It yields
a bad entry as a ``Problem`` with its place and the reason, so the caller can stop (training) or count it and continue
(preparing). It raises an error only if the whole set is unreadable. Every file and line of the split is either read or
named by a problem (tests/data/readers/test_accounting.py).
"""

import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from xmcgan.data.remote import SourcePath

Value = TypeVar("Value")


class Slice(NamedTuple):
    """The bytes of an image inside a larger file, such as an uncompressed tar."""

    file: SourcePath
    offset: int  # bytes
    length: int  # bytes


class Crop(NamedTuple):
    """A rectangle of an image file, in pixels of the upright image; the right and bottom edges are outside."""

    file: SourcePath
    left: int
    top: int
    right: int
    bottom: int


class Box(NamedTuple):
    """The bounding box of an object, in [0, 1] relative to the image's width and height."""

    category: str
    left: float
    top: float
    width: float
    height: float


class Utterance(NamedTuple):
    """A spoken phrase with its start and end in seconds."""

    words: str
    start: float
    end: float


class TracePoint(NamedTuple):
    """Position of the mouse relative to the image (may be slightly outside [0, 1]), and time in seconds."""

    x: float
    y: float
    t: float


class Narrative(NamedTuple):
    """A spoken description: caption, timed utterances, and mouse strokes on the same clock.

    The caption is the utterances' words, joined with single spaces.
    """

    caption: str
    utterances: tuple[Utterance, ...]
    strokes: tuple[tuple[TracePoint, ...], ...]


class StoredImage(bytes):
    """An encoded image that was read from a shard; messages name the shard.

    Attributes:
        shard: its path or URL.
    """

    shard: str

    @classmethod
    def of(cls, content: bytes, shard: str) -> "StoredImage":
        """An image, with the shard that it is from."""
        image = cls(content)
        image.shard = shard
        return image


ImageSource = SourcePath | Slice | Crop | bytes
"""Where an image is: a file, part of a file, or a rectangle of one; or the encoded image itself."""


class Record(NamedTuple):
    """An image with its captions; ``boxes`` and ``narrative`` are filled only if annotations are requested."""

    image: ImageSource
    captions: tuple[str, ...]  # none empty; words separated by single spaces
    id: str  # unique within its split
    boxes: tuple[Box, ...] = ()
    narrative: Narrative | None = None


class Problem(NamedTuple):
    """An entry that cannot be used, or a detail of one, such as a caption or a box; or a file that is not read."""

    where: str  # the file, and the line, entry or member
    reason: str
    detail: bool = False  # no record is lost: the entry is still yielded, without the detail
    unused: bool = False  # a detail that is not a fault: a file or member that belongs to no record, such as a README

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def image_place(record: Record) -> str:
    """Where a record's image is, for messages."""
    match record.image:
        case StoredImage(shard=shard):
            return f"{shard}: the image of record {record.id}"
        case bytes():
            return f"the image of record {record.id}"
        case Slice(file, offset, length):
            return f"{file} (bytes {offset} to {offset + length})"
        case Crop(file):
            return str(file)
        case path:
            return str(path)


def details(reading: Generator[Problem, None, Value]) -> Generator[Problem, None, Value]:
    """Wraps a reading generator and marks its problems as details."""
    while True:
        try:
            problem = next(reading)
        except StopIteration as end:
            return end.value
        yield problem._replace(detail=True)


def strict(entries: Iterable[Record | Problem]) -> Iterator[Record]:
    """The records, refusing problems except unused files.

    Raises:
        ValueError: with the first problem and the number of further ones.
    """
    entries = (entry for entry in entries if isinstance(entry, Record) or not entry.unused)
    for entry in entries:
        if isinstance(entry, Problem):
            more = sum(isinstance(other, Problem) for other in entries)
            raise ValueError(f"{entry}{f' ({more} more entries have a problem)' if more else ''}")
        yield entry


def with_first_problem(entries: Iterable[Record | Problem]) -> Iterator[Record | Problem]:
    """The same entries; an error that ends them, such as that none is usable, also names the first problem."""
    first = None
    try:
        for entry in entries:
            if first is None and isinstance(entry, Problem) and not entry.unused:
                first = entry
            yield entry
    except ValueError as error:
        if first is None:
            raise
        raise ValueError(f"{error}; the first problem is {first}") from error


def without_duplicates(entries: Iterable[Record | Problem]) -> Iterator[Record | Problem]:
    """The same entries, except that a record with an id seen before becomes a problem."""
    seen: set[str] = set()
    for entry in entries:
        if isinstance(entry, Record):
            if entry.id in seen:
                reason = f"its id occurs twice in the set, again with {image_place(entry)}; the first one is kept"
                yield Problem(f"record {entry.id}", reason)
                continue
            seen.add(entry.id)
        yield entry


def one_line(text: str) -> str:
    """A caption with single spaces between its words and none around it."""
    return " ".join(text.split())


def text_digest(texts: Iterable[tuple[str, Sequence[str]]]) -> str:
    """The SHA-256 of ids and captions, each on a line; it identifies the data of a run."""
    digest, separator = hashlib.sha256(), b""
    for record_id, captions in texts:
        for line in (record_id, *captions):
            digest.update(separator)
            digest.update(line.encode())
            separator = b"\n"
    return digest.hexdigest()
