"""Prepared data: resized images, captions and annotations in memory-mapped Arrow files.

    OUTPUT/manifest.json             written last: a folder that has one is complete
    OUTPUT/problems.jsonl            {split, where, reason} of every entry that was left out
    OUTPUT/train2014/00000.arrow     the Arrow IPC stream format, in batches of `BATCH` rows of `SCHEMA`
    OUTPUT/train2014/00001.arrow     ...

``pyarrow.ipc.open_stream`` and Hugging Face's ``datasets`` open the same files. (``Dataset.from_file`` reads only
streams; ``load_dataset("arrow", ...)`` also reads Arrow's file format.)

When a process first uses a shard, it checks the structure: the size must match the manifest, and every offset, length
and string must be valid, so that a damaged file raises an error instead of crashing the process. This reads everything
except the images and takes 4 ms for a shard of 62 MB. The checksum, which takes 40 ms, is verified once when a shard is
fetched from a URL, and by `ShardedRecords.verify`.
"""

import bisect
import hashlib
import itertools
import mmap
import operator
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
from filelock import FileLock

from xmcgan.data.prepared.manifest import _is_url, _remote, read_manifest
from xmcgan.data.records import Box, Crop, Narrative, Record, Slice, TracePoint, Utterance

BATCH = 64  # rows; 2 MB of images at 256 pixels

# Pages of a mapped file count as the process's memory, so a worker that has read a whole set would seem to hold all of
# it. After this many records, the pages are released; they stay in the page cache.
_RECORDS_HELD = 512


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


def open_shards(root: str | Path, split: str, *, layout: str, cache: Path | None = None) -> "ShardedRecords":
    """The records of one split of prepared data, read on access.

    Args:
        root: a folder, or a URL that fsspec can open.
        layout: the layout it must have been prepared from.
        cache: folder for shards fetched from a URL, each on first use; by default ``~/.cache/xmcgan``.

    Raises:
        FileNotFoundError: if the manifest or a shard is missing.
        ConnectionError: if a URL cannot be reached or access is denied.
        ValueError: if the manifest is damaged, has another layout or no such split, or a shard has the wrong size.
    """
    manifest = read_manifest(root)
    if manifest["layout"] != layout:
        raise ValueError(f"{root} was prepared from the layout {manifest['layout']!r}, not from {layout!r}")
    if split not in manifest["splits"]:
        raise ValueError(f"{root} has no split {split!r}; there is {', '.join(manifest['splits']) or 'none'}")
    records = ShardedRecords(root, split, manifest, cache or default_cache())
    if not _is_url(root):
        for shard in manifest["splits"][split]["shards"]:
            _check_size(Path(root, split, shard["file"]), shard)
    return records


def default_cache() -> Path:
    """The folder for shards fetched from a URL."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xmcgan"


class ShardedRecords(Sequence[Record]):
    """The records of one split; images are JPEG bytes. Pickling it leaves out the opened shards.

    Attributes:
        manifest: the manifest of the whole data set.
    """

    def __init__(self, root: str | Path, split: str, manifest: dict[str, Any], cache: Path):
        self.root, self.split, self.manifest, self.cache = root, split, manifest, cache
        self._shards = manifest["splits"][split]["shards"]
        self._ends = list(itertools.accumulate(shard["records"] for shard in self._shards))
        self._opened: dict[int, _Shard] = {}
        self._held = 0

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        """The record at an index.

        Raises:
            FileNotFoundError: if its shard is missing.
            ValueError: naming its shard, if the shard is damaged.
        """
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        position = range(len(self))[operator.index(index)]
        number = bisect.bisect_right(self._ends, position)
        if number not in self._opened:
            self._opened[number] = _Shard(self._path(number), self._shards[number])
        record = self._opened[number].record(position - self._ends[number] + self._shards[number]["records"])
        self._held += 1
        if self._held == _RECORDS_HELD:
            self._held = 0
            for shard in self._opened.values():
                shard.give_back_pages()
        return record

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}

    def verify(self) -> None:
        """Verifies the checksum of every shard.

        Raises:
            FileNotFoundError: if a shard is missing.
            ValueError: naming the shards whose checksums differ from the manifest.
        """
        paths = [self._path(number) for number in range(len(self._shards))]
        wrong = [
            str(path) for path, shard in zip(paths, self._shards, strict=True) if checksum(path) != shard["sha256"]
        ]
        if wrong:
            raise ValueError(f"{len(wrong)} of {len(paths)} shards are damaged: {', '.join(wrong)}")

    def _path(self, number: int) -> Path:
        """The path of a shard on disk, fetched if necessary, after checking its size."""
        shard = self._shards[number]
        if _is_url(self.root):
            return _fetched(f"{self.root}/{self.split}/{shard['file']}", shard, self.cache)
        path = Path(self.root, self.split, shard["file"])
        _check_size(path, shard)
        return path


class _Shard:
    """One shard, mapped into memory and checked."""

    def __init__(self, path: Path, expected: dict[str, Any]):
        try:
            with path.open("rb") as file:
                self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            options = pa.ipc.IpcReadOptions(use_threads=False)  # threads do not survive a fork
            table = pa.ipc.open_stream(pa.py_buffer(self._memory), options=options).read_all()
            if not table.schema.equals(SCHEMA):
                raise ValueError(f"its columns {table.schema.names} or their types differ from the schema")
            if table.num_rows != expected["records"]:
                raise ValueError(f"it holds {table.num_rows} records; the manifest says {expected['records']}")
            table.validate(full=True)
            for field, column in zip(SCHEMA, table.columns, strict=True):
                for chunk in column.chunks:
                    _check_nulls(field, chunk)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        self._columns = table.columns[:5]

    def record(self, row: int) -> Record:
        identity, image, captions, boxes, narrative = (column[row] for column in self._columns)
        return Record(
            image.as_py(),
            tuple(captions.as_py()),
            identity.as_py(),
            tuple(map(Box, *_columns(boxes.values))),
            _narrative(narrative) if narrative.is_valid else None,
        )

    def give_back_pages(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED)


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


def _fetched(url: str, expected: dict[str, Any], cache: Path) -> Path:
    """The cached copy of a shard; the first process fetches it while others wait.

    It is named by its checksum, so it cannot be confused with a shard of another data set or version.
    """
    path = cache / f"{expected['sha256']}.arrow"
    if path.exists():
        _check_size(path, expected)
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            partial = path.with_suffix(".partial")
            with _remote(url) as (filesystem, remote):
                filesystem.get_file(remote, str(partial))
            _check_size(partial, expected, url)
            if checksum(partial) != expected["sha256"]:
                raise ValueError(f"{url} is damaged: its SHA-256 differs from the manifest's")
            partial.replace(path)
    return path


def _check_size(path: Path, expected: dict[str, Any], name: str | None = None) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: the manifest lists it as a shard of {expected['records']} records")
    if path.stat().st_size != expected["bytes"]:
        raise ValueError(
            f"{name or path} is damaged: it has {path.stat().st_size} bytes; the manifest says {expected['bytes']}"
        )


# ---------------------------------------------------------------------------------------------------- writing


def write_shard(path: Path, rows: Iterable[tuple[Record, bytes]]) -> tuple[int, int]:
    """Writes records with their JPEGs to a shard, in batches, and flushes it to disk.

    Returns:
        the number of records, and the number of their captions.
    """
    records = captions = 0
    rows = iter(rows)
    with path.open("wb") as file:
        with pa.ipc.new_stream(file, SCHEMA) as writer:
            while batch := [_row(record, image) for record, image in itertools.islice(rows, BATCH)]:
                records += len(batch)
                captions += sum(len(row["captions"]) for row in batch)
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=SCHEMA))
        file.flush()
        os.fsync(file.fileno())
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
