"""Workers that resize images and encode them as JPEG: processes, or any executor of ``concurrent.futures``.

A worker gets the places of a few images and returns their JPEGs, and this process writes all shards: so a worker's work
can be lost without consequences, and the files do not depend on which worker did it.
"""

import io
import itertools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor

from xmcgan.data.images import ImageTransform, image_bytes, is_upright_jpeg, open_image
from xmcgan.data.records import Crop, Problem, Record, Slice
from xmcgan.data.remote import Part, RemotePath, read_together
from xmcgan.runtime.processes import ignore_signals

_CHUNK = 8  # images sent to a worker process at once

_REMOTE_CHUNK = 32  # images sent to an executor, maybe on other machines: its scheduler should not be the bottleneck

_MOST_DEATHS = 3  # times in a row that a pool of processes is restarted before the preparation gives up

_CHUNKS_WAITING = 3  # chunks in flight for each worker; bounds the memory

_Numbered = tuple[int, Record | Problem]  # shard number, entry

_Encoded = tuple[bytes, int, int] | str  # JPEG, original width and height; or the reason why the image is unreadable

_EncodedEntry = tuple[int, Record | Problem, _Encoded | None]  # shard number, entry, None for a problem


# ------------------------------------------------------------------------------------------------- the workers


class _Pool:
    """A pool of processes, restarted when one of them dies; or a given executor.

    Args:
        count: number of processes, or of tasks the executor runs at once; 1 without an executor uses this process.
    """

    def __init__(self, count: int, executor: Executor | None = None):
        self._count, self._given = count, executor
        self.in_process = count == 1 and executor is None
        self.chunk = _CHUNK if executor is None else _REMOTE_CHUNK
        self.most_waiting = 0 if self.in_process else count * _CHUNKS_WAITING
        self._deaths = 0
        self._executor = None if self.in_process else executor or _processes(count)

    def submit(self, images: list[Record], transform: ImageTransform, quality: int) -> "Future[list[_Encoded]]":
        """Encodes images in the background."""
        if self._executor is None:
            done: Future[list[_Encoded]] = Future()
            done.set_result(_encode_all(images, transform, quality))
            return done
        try:
            return self._executor.submit(_encode_all, images, transform, quality)
        except BrokenExecutor as error:
            self.renew(error)
            return self.submit(images, transform, quality)

    def renew(self, error: BrokenExecutor) -> None:
        """Starts new processes after one has died.

        Raises:
            ChildProcessError: if that happened several times in a row, or the executor is not ours.
        """
        self._deaths += 1
        if self._given is not None or self._deaths > _MOST_DEATHS:
            often = f" {self._deaths} times in a row" if self._deaths > 1 else ""
            raise ChildProcessError(
                f"a worker process died{often}, perhaps because memory ran out; the same command resumes from here, "
                "also with fewer --workers"
            ) from error
        self.close()
        self._executor = _processes(self._count)

    def succeeded(self) -> None:
        """Records that a worker has returned its images."""
        self._deaths = 0

    def close(self) -> None:
        """Ends the processes; a given executor is left running."""
        if self._executor is not None and self._given is None:
            self._executor.shutdown(cancel_futures=True)


def _processes(count: int) -> ProcessPoolExecutor:
    # A fork server imports what the workers need once for all of them.
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload([__name__])
    # Unlike multiprocessing.Pool, an executor raises an error if its processes cannot start.
    return ProcessPoolExecutor(count, mp_context=context, initializer=_initialize_worker)


def _initialize_worker() -> None:
    ignore_signals()
    parent = multiprocessing.parent_process()
    if parent is not None:
        # Workers hold both ends of the pool's queue, so they would wait forever if the parent were killed.
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


class _Encoder:
    """Adds the square JPEG to each entry, in order; enough chunks are in flight to keep every worker busy."""

    def __init__(self, pool: _Pool, transform: ImageTransform, quality: int):
        self._pool, self.transform, self._quality = pool, transform, quality
        self._waiting: deque[tuple[list[_Numbered], Future[list[_Encoded]]]] = deque()

    def __call__(self, entries: Iterable[_Numbered]) -> Iterator[_EncodedEntry]:
        self._waiting.clear()
        entries = iter(entries)
        while chunk := list(itertools.islice(entries, self._pool.chunk)):
            self._waiting.append((chunk, self._submit(chunk)))
            if len(self._waiting) > self._pool.most_waiting:
                yield from self._first()
        while self._waiting:
            yield from self._first()

    def encode(self, record: Record) -> _Encoded:
        """Encodes one record's image in this process."""
        return _encode(record, self.transform, self._quality)

    def _submit(self, chunk: list[_Numbered]) -> "Future[list[_Encoded]]":
        # Send only the image: captions and traces can be large.
        images = [Record(entry.image, (), entry.id) for _, entry in chunk if isinstance(entry, Record)]
        return self._pool.submit(images, self.transform, self._quality)

    def _first(self) -> list[_EncodedEntry]:
        """The entries of the chunk that was sent first. Chunks lost with a worker are sent again."""
        while True:
            chunk, future = self._waiting[0]
            try:
                encoded = iter(future.result())
            except BrokenExecutor as error:
                self._pool.renew(error)
                lost = [_is_lost(each) for _, each in self._waiting]
                for number, (again, _) in enumerate(list(self._waiting)):
                    if lost[number]:
                        self._waiting[number] = again, self._submit(again)
                continue
            self._waiting.popleft()
            self._pool.succeeded()
            return [(number, entry, next(encoded) if isinstance(entry, Record) else None) for number, entry in chunk]


def _is_lost(future: "Future[list[_Encoded]]") -> bool:
    """Whether a future has no result, and never will."""
    return future.cancelled() or not future.done() or isinstance(future.exception(), BrokenExecutor)


def _encode_all(records: list[Record], transform: ImageTransform, quality: int) -> list[_Encoded]:
    """Encodes images; those behind URLs are fetched first, together."""
    parts = {number: part for number, record in enumerate(records) if (part := _remote_part(record)) is not None}
    fetched = dict(zip(parts, read_together(list(parts.values())), strict=True))
    return [_encode(record, transform, quality, fetched.get(number)) for number, record in enumerate(records)]


def _remote_part(record: Record) -> Part | None:
    """The file, or part of one, that holds a record's image, if it is behind a URL."""
    match record.image:
        case Slice(RemotePath() as file, offset, length):
            return file, offset, offset + length
        case Crop(RemotePath() as file):
            return file, None, None
        case RemotePath() as file:
            return file, None, None
    return None


def _encode(
    record: Record, transform: ImageTransform, quality: int, fetched: bytes | FileNotFoundError | None = None
) -> _Encoded:
    try:
        if isinstance(fetched, FileNotFoundError):
            raise fetched
        image = open_image(record, fetched)
        if image.size == (transform.size, transform.size) and not isinstance(record.image, Crop):
            content = image_bytes(record) if fetched is None else fetched
            if is_upright_jpeg(content):
                return content, *image.size
        encoded = io.BytesIO()
        # No chroma subsampling: it would save a fifth of the bytes but blur colours.
        transform.square(image).save(encoded, "JPEG", quality=quality, subsampling="4:4:4")
        return encoded.getvalue(), *image.size
    except ConnectionError:  # not the image's fault: it may be available at the URL later
        raise
    except (ValueError, OSError) as error:
        return str(error)
