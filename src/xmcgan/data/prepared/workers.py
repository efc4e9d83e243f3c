"""Worker processes that resize images and encode them as JPEG."""

import contextlib
import io
import itertools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from xmcgan.data.images import ImageTransform, image_bytes, is_upright_jpeg, open_image
from xmcgan.data.records import Problem, Record
from xmcgan.data.stream import ignore_signals

_CHUNK = 8  # images sent to a worker at once

_CHUNKS_WAITING = 3  # chunks in flight for each worker; bounds the memory

_Numbered = tuple[int, Record | Problem]  # shard number, entry

_Encoded = tuple[bytes, int, int] | str  # JPEG, original width and height; or the reason why the image is unreadable

_EncodedEntry = tuple[int, Record | Problem, _Encoded | None]  # shard number, entry, None for a problem


# ------------------------------------------------------------------------------------------------- the workers


@contextlib.contextmanager
def _workers(count: int) -> Generator[Executor | None, None, None]:
    """A process pool; None for a single worker, which runs in this process."""
    if count == 1:
        yield None
        return
    # Importing torch takes seconds and 300 MB in each worker; a fork server does it once for all.
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload([__name__])
    # Unlike multiprocessing.Pool, an executor raises an error if its processes cannot start.
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_initialize_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process died, perhaps because memory ran out; the same command resumes from here"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _initialize_worker() -> None:
    ignore_signals(0)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # Workers hold both ends of the pool's queue, so they would wait forever if the parent were killed.
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


class _Encoder:
    """Adds the square JPEG to each entry, in order; enough chunks are in flight to keep every worker busy."""

    def __init__(self, pool: Executor | None, workers: int, transform: ImageTransform, quality: int):
        self._pool, self._waiting = pool, workers * _CHUNKS_WAITING if pool else 0
        self.transform, self._quality = transform, quality

    def __call__(self, entries: Iterable[_Numbered]) -> Iterator[_EncodedEntry]:
        waiting: deque[tuple[list[_Numbered], Future[list[_Encoded]]]] = deque()
        entries = iter(entries)
        while chunk := list(itertools.islice(entries, _CHUNK)):
            # Send only the image: captions and traces can be large.
            images = [Record(entry.image, (), entry.id) for _, entry in chunk if isinstance(entry, Record)]
            waiting.append((chunk, self._submit(images)))
            if len(waiting) > self._waiting:
                yield from _joined(*waiting.popleft())
        while waiting:
            yield from _joined(*waiting.popleft())

    def encode(self, record: Record) -> _Encoded:
        """Encodes one record's image in this process."""
        return _encode(record, self.transform, self._quality)

    def _submit(self, images: list[Record]) -> Future[list[_Encoded]]:
        if self._pool is not None:
            return self._pool.submit(_encode_all, images, self.transform, self._quality)
        done: Future[list[_Encoded]] = Future()
        done.set_result(_encode_all(images, self.transform, self._quality))
        return done


def _joined(chunk: list[_Numbered], future: Future[list[_Encoded]]) -> Iterator[_EncodedEntry]:
    encoded = iter(future.result())
    for number, entry in chunk:
        yield number, entry, next(encoded) if isinstance(entry, Record) else None


def _encode_all(records: list[Record], transform: ImageTransform, quality: int) -> list[_Encoded]:
    return [_encode(record, transform, quality) for record in records]


def _encode(record: Record, transform: ImageTransform, quality: int) -> _Encoded:
    try:
        image = open_image(record)
        if image.size == (transform.size, transform.size):
            content = image_bytes(record)
            if is_upright_jpeg(content):
                return content, *image.size
        encoded = io.BytesIO()
        # No chroma subsampling: it would save a fifth of the bytes but blur colours.
        transform.square(image).save(encoded, "JPEG", quality=quality, subsampling="4:4:4")
        return encoded.getvalue(), *image.size
    except (ValueError, OSError) as error:
        return str(error)
