"""One shard: records in an Arrow IPC stream, written in batches and read from a memory map.

All that stays in memory of a shard is the positions of its batches: 8 bytes for every 64 records. A data set of 6,000
shards is read in random order, so neither open files nor parsed batches can be kept for all of them.
"""

import bisect
import hashlib
import itertools
import mmap
from array import array
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from xmcgan.data.records import Box, Crop, Narrative, Record, Slice, TracePoint, Utterance
from xmcgan.runtime.files import atomic_stream

BATCH = 64  # rows; 2 MB of images at 256 pixels


def _struct(**fields: pa.DataType) -> pa.DataType:
    return pa.struct([pa.field(name, kind, nullable=False) for name, kind in fields.items()])


def _list(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("item", kind, nullable=False))


_NUMBER = pa.float32()

_BOX = _struct(category=pa.string(), left=_NUMBER, top=_NUMBER, width=_NUMBER, height=_NUMBER)

_UTTERANCE = _struct(words=pa.string(), start=_NUMBER, end=_NUMBER)

_STROKE = _list(_struct(x=_NUMBER, y=_NUMBER, t=_NUMBER))

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),  # a JPEG
        pa.field("captions", _list(pa.string()), nullable=False),
        pa.field("boxes", _list(_BOX), nullable=False),
        pa.field("narrative", _struct(caption=pa.string(), utterances=_list(_UTTERANCE), strokes=_list(_STROKE))),
        pa.field("source", pa.string(), nullable=False),  # name of the image's original file
    ]
)


class Shard:
    """The positions of a shard's batches, after checking its structure.

    Each batch is checked when it is first used: every offset, length and string must be valid, so that a damaged file
    raises an error instead of crashing the process. This reads everything except the images.

    Args:
        path: the file.
        records: how many it should hold.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: naming the file, if it is damaged.
    """

    __slots__ = ("_checked", "_ends", "_starts", "path")

    def __init__(self, path: Path, records: int):
        self.path = path
        with damage_of(path):
            starts, ends = _batches(map_file(path))
            if (found := ends[-1] if ends else 0) != records:
                raise ValueError(f"it holds {found} records; the manifest says {records}")
        self._starts, self._ends = array("Q", starts), array("Q", ends)
        self._checked = bytearray(len(starts))

    def record(self, memory: mmap.mmap, row: int) -> Record:
        """The record in a row of the mapped file."""
        number = bisect.bisect_right(self._ends, row)
        with damage_of(self.path):
            batch = _batch(memory, self._starts[number])
            if not self._checked[number]:
                _check(batch)
                self._checked[number] = True
            identity, image, captions, boxes, narrative = (
                column[row - self._ends[number] + batch.num_rows] for column in batch.columns[:5]
            )
            return Record(
                image.as_py(),
                tuple(captions.as_py()),
                identity.as_py(),
                tuple(map(Box, *_columns(boxes.values))),
                _narrative(narrative) if narrative.is_valid else None,
            )

    def texts(self, memory: mmap.mmap) -> Iterator[tuple[str, list[str]]]:
        """Id and captions of every record."""
        with damage_of(self.path):
            for start in self._starts:
                batch = _batch(memory, start)
                _check(batch)
                yield from zip(batch.column(0).to_pylist(), batch.column(2).to_pylist(), strict=True)


def map_file(path: Path) -> mmap.mmap:
    """The file in memory, read on access. It is released when nothing refers to it."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@contextmanager
def damage_of(path: Path) -> Generator[None]:
    """Names the file in errors of its content."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _batches(memory: mmap.mmap) -> tuple[list[int], list[int]]:
    """Where each batch begins, in bytes, and at which record each ends."""
    reader = pa.BufferReader(pa.py_buffer(memory))
    schema = pa.ipc.read_schema(_message(reader, "schema"))
    if not schema.equals(SCHEMA):
        raise ValueError(f"its columns {schema.names} or their types differ from the schema")
    starts, ends, total = [], [], 0
    while True:
        start = reader.tell()
        try:
            message = _message(reader, "record batch")
        except EOFError:
            return starts, ends
        total += pa.ipc.read_record_batch(message, SCHEMA).num_rows
        starts.append(start)
        ends.append(total)


def _batch(memory: mmap.mmap, start: int) -> pa.RecordBatch:
    reader = pa.BufferReader(pa.py_buffer(memory)[start:])
    return pa.ipc.read_record_batch(_message(reader, "record batch"), SCHEMA)


def _message(reader: pa.BufferReader, kind: str) -> pa.ipc.Message:
    """The next message. Arrow checks only messages of a known type, and crashes if it reads one as another type."""
    start = reader.tell()
    message = pa.ipc.read_message(reader)
    if message.type != kind:
        raise ValueError(f"it holds a {message.type} at byte {start}; it should be a {kind}")
    return message


def _check(batch: pa.RecordBatch) -> None:
    batch.validate(full=True)
    for field, column in zip(SCHEMA, batch.columns, strict=True):
        _check_nulls(field, column)


def _narrative(row: pa.StructScalar) -> Narrative:
    strokes = row["strokes"].values
    points = map(TracePoint, *_columns(strokes.flatten()))
    return Narrative(
        row["caption"].as_py(),
        tuple(map(Utterance, *_columns(row["utterances"].values))),
        tuple(tuple(itertools.islice(points, length)) for length in strokes.value_lengths().to_pylist()),
    )


def _columns(structs: pa.StructArray) -> list[list[Any]]:
    # Through numpy: ten times faster, because Arrow first wraps each number in a Python object.
    return [
        field.to_numpy().tolist() if pa.types.is_floating(field.type) else field.to_pylist()
        for field in structs.flatten()
    ]


def _check_nulls(field: pa.Field, array: pa.Array) -> None:
    """Refuses nulls where the schema forbids them, at any depth; Arrow itself does not check."""
    if array.null_count and not field.nullable:
        raise ValueError(f"{field.name!r} is null where it must not be")
    if pa.types.is_list(field.type):
        _check_nulls(field.type.value_field, array.flatten())
    elif pa.types.is_struct(field.type):
        for inner, child in zip(field.type, array.flatten(), strict=True):
            # The fields of a null narrative are null too.
            _check_nulls(inner, child.filter(array.is_valid()) if array.null_count else child)


# ---------------------------------------------------------------------------------------------------- writing


def write_shard(path: Path, rows: Iterable[tuple[Record, bytes]]) -> tuple[int, int]:
    """Writes records with their JPEGs to a shard, in batches, as ``NAME.partial`` until it is whole and on disk.

    Returns:
        the number of records, and the number of their captions.

    Raises:
        WriteFailed: naming the shard, if the system cannot write it.
    """
    records = captions = 0
    rows = iter(rows)
    partial = path.with_name(f"{path.name}.partial")
    with atomic_stream(path, partial=partial, flush=True) as file, pa.ipc.new_stream(file, SCHEMA) as writer:
        while batch := [_row(record, image) for record, image in itertools.islice(rows, BATCH)]:
            records += len(batch)
            captions += sum(len(row["captions"]) for row in batch)
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=SCHEMA))
    return records, captions


def checksum(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_name(record: Record) -> str:
    """The name of the file that holds a record's image; empty for image bytes."""
    match record.image:
        case bytes():
            return ""
        case Slice(file) | Crop(file):
            return file.name
        case path:
            return path.name


def _row(record: Record, image: bytes) -> dict[str, Any]:
    narrative = record.narrative
    return {
        "id": record.id,
        "image": image,
        "captions": record.captions,
        "boxes": [box._asdict() for box in record.boxes],
        "narrative": narrative
        and {
            "caption": narrative.caption,
            "utterances": [utterance._asdict() for utterance in narrative.utterances],
            "strokes": [[point._asdict() for point in stroke] for stroke in narrative.strokes],
        },
        "source": source_name(record),
    }
