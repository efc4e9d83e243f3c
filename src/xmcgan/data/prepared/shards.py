"""Prepared data: resized images, captions and annotations in memory-mapped Arrow files.

    OUTPUT/manifest.json             written last: a folder that has one is complete
    OUTPUT/problems.jsonl            {split, where, reason} of every entry that was left out
    OUTPUT/train2014/00000.arrow     the Arrow IPC stream format, in batches of `BATCH` rows of `SCHEMA`
    OUTPUT/train2014/00001.arrow     ...

``pyarrow.ipc.open_stream`` and Hugging Face's ``datasets`` open the same files. (``Dataset.from_file`` reads only
streams; ``load_dataset("arrow", ...)`` also reads Arrow's file format.)

When a process first uses a shard, it checks its size and structure, and each batch of records when it first uses that
(`shard_file`). The checksum is verified once when a shard is fetched from a URL, and by ``xmcgan data verify``.
"""

import bisect
import errno
import itertools
import mmap
import operator
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, overload

from filelock import FileLock

from xmcgan.data.prepared.manifest import read_manifest
from xmcgan.data.prepared.shard_file import Shard, checksum, damage_of, map_file
from xmcgan.data.records import Record, StoredImage, text_digest
from xmcgan.data.remote import is_url, remote
from xmcgan.runtime.files import make_folder, named_when_whole, write_errors, write_failed

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
"""Errors of the disk that a shard is fetched to, never of the storage that it is fetched from."""

_MAPPED = 128  # shards whose files are mapped at a time; each takes a file descriptor

# Pages of a mapped file count as the process's memory, so a worker that has read a whole set would seem to hold all of
# it. After this many records, the pages are released; they stay in the page cache.
_RECORDS_HELD = 512


def open_shards(
    root: str | Path, split: str, *, layout: str, cache: Path | None = None, check_sizes: bool = True
) -> "ShardedRecords":
    """The records of one split of prepared data, read on access.

    Args:
        root: a folder, or a URL that fsspec can open.
        layout: the layout it must have been prepared from.
        cache: folder for shards fetched from a URL, each on first use; by default ``~/.cache/xmcgan``.
        check_sizes: check the sizes of all shards now, not only when each is first used.

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
    if check_sizes and not is_url(root):
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
        self._opened: dict[int, Shard] = {}
        self._mapped: OrderedDict[int, mmap.mmap] = OrderedDict()
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
            self._opened[number] = Shard(self.path(number), self._shards[number]["records"])
        shard, memory = self._opened[number], self._memory(number)
        record = shard.record(memory, position - self._ends[number] + self._shards[number]["records"])
        self._held += 1
        if self._held == _RECORDS_HELD and hasattr(mmap, "MADV_DONTNEED"):
            self._held = 0
            for memory in self._mapped.values():
                memory.madvise(mmap.MADV_DONTNEED)
        assert isinstance(record.image, bytes)
        return record._replace(image=StoredImage.of(record.image, self.place(position)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}, "_mapped": OrderedDict()}

    def _memory(self, number: int) -> mmap.mmap:
        """The mapped file of an opened shard; the least recently used one is closed for it."""
        if number not in self._mapped:
            with damage_of(path := self._opened[number].path):
                self._mapped[number] = map_file(path)
            if len(self._mapped) > _MAPPED:
                self._mapped.popitem(last=False)
        self._mapped.move_to_end(number)
        return self._mapped[number]

    def place(self, index: int) -> str:
        """The shard that holds a record, for messages."""
        return f"{self.root}/{self.split}/{self._shards[bisect.bisect_right(self._ends, index)]['file']}"

    def texts(self) -> Iterator[tuple[str, list[str]]]:
        """Id and captions of every record, in order, without touching the images."""
        for number, shard in enumerate(self._shards):
            path = self.path(number)
            with damage_of(path):
                memory = map_file(path)
            yield from Shard(path, shard["records"]).texts(memory)

    def digest(self) -> str:
        """The SHA-256 of all ids and captions (`records.text_digest`): from the manifest, if it was stored there."""
        return self.manifest["splits"][self.split].get("texts_sha256") or text_digest(self.texts())

    def path(self, number: int) -> Path:
        """The path of a shard on disk, fetched if necessary.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if its size, or the checksum of a fetched one, is not as in the manifest.
        """
        shard = self._shards[number]
        if is_url(self.root):
            return _fetched(f"{self.root}/{self.split}/{shard['file']}", shard, self.cache)
        path = Path(self.root, self.split, shard["file"])
        _check_size(path, shard)
        return path


def _fetched(url: str, expected: dict[str, Any], cache: Path) -> Path:
    """The cached copy of a shard; the first process fetches it while others wait.

    It is named by its checksum, so it cannot be confused with a shard of another data set or version.
    """
    path = cache / f"{expected['sha256']}.arrow"
    if path.exists():
        _check_size(path, expected)
        return path
    make_folder(cache)
    with ExitStack() as waiting:
        with write_errors(path):
            waiting.enter_context(FileLock(path.with_suffix(".lock")))
        if not path.exists():
            _fetch(url, expected, path)
    return path


def _fetch(url: str, expected: dict[str, Any], path: Path) -> None:
    """Fetches a shard, which gets its name when it is whole."""
    with named_when_whole(path, partial=path.with_suffix(".partial"), flush=True) as partial:
        with remote(url) as (filesystem, place):
            try:
                filesystem.get_file(place, str(partial))
            except OSError as error:
                if error.errno in _DISK or error.filename == str(partial):
                    raise write_failed(path, error) from error
                raise  # an error of the storage
        _check_size(partial, expected, url)
        if checksum(partial) != expected["sha256"]:
            raise ValueError(f"{url} is damaged: its SHA-256 differs from the manifest's")


def _check_size(path: Path, expected: dict[str, Any], name: str | None = None) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: the manifest lists it as a shard of {expected['records']} records")
    if path.stat().st_size != expected["bytes"]:
        raise ValueError(
            f"{name or path} is damaged: it has {path.stat().st_size} bytes; the manifest says {expected['bytes']}"
        )
