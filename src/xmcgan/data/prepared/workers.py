"""Processes that make every image a square JPEG."""

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

_CHUNK = 8  # images a worker is given at once

_CHUNKS_WAITING = 3  # for each worker: what bounds the memory

_Numbered = tuple[int, Record | Problem]  # number of its shard

_Answer = tuple[bytes, int, int] | str  # a worker's for one image: its JPEG, what size it had, or what is wrong with it

_Answered = tuple[int, Record | Problem, _Answer | None]


# ------------------------------------------------------------------------------------------------- the workers


@contextlib.contextmanager
def _workers(count: int) -> Generator[Executor | None, None, None]:
    """A pool of processes; none where one is enough."""
    if count == 1:
        yield None
        return
    # Importing torch takes a worker seconds and 300 MB; where a server can fork them, it is done once.
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload([__name__])
    # An executor, unlike a multiprocessing.Pool, ends with an error where its processes cannot start.
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_be_a_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process died, perhaps for want of memory; the same command again goes on from here"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _be_a_worker() -> None:
    ignore_signals(0)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A pool's workers hold both ends of its queue: they would wait for ever after a killed parent.
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


class _Squares:
    """Entries to entries with their JPEG, in their order, so many at a time that every worker has something to do."""

    def __init__(self, pool: Executor | None, workers: int, transform: ImageTransform, quality: int):
        self._pool, self._waiting = pool, workers * _CHUNKS_WAITING if pool else 0
        self.transform, self._quality = transform, quality

    def __call__(self, entries: Iterable[_Numbered]) -> Iterator[_Answered]:
        waiting: deque[tuple[list[_Numbered], Future[list[_Answer]]]] = deque()
        entries = iter(entries)
        while chunk := list(itertools.islice(entries, _CHUNK)):
            # The image alone travels; what was said of it can be long.
            images = [Record(entry.image, (), entry.id) for _, entry in chunk if isinstance(entry, Record)]
            waiting.append((chunk, self._submit(images)))
            if len(waiting) > self._waiting:
                yield from _joined(*waiting.popleft())
        while waiting:
            yield from _joined(*waiting.popleft())

    def one(self, record: Record) -> _Answer:
        """One record's, in this process."""
        return _square(record, self.transform, self._quality)

    def _submit(self, images: list[Record]) -> Future[list[_Answer]]:
        if self._pool is not None:
            return self._pool.submit(_squares, images, self.transform, self._quality)
        here: Future[list[_Answer]] = Future()
        here.set_result(_squares(images, self.transform, self._quality))
        return here


def _joined(chunk: list[_Numbered], future: Future[list[_Answer]]) -> Iterator[_Answered]:
    answers = iter(future.result())
    for number, entry in chunk:
        yield number, entry, next(answers) if isinstance(entry, Record) else None


def _squares(records: list[Record], transform: ImageTransform, quality: int) -> list[_Answer]:
    return [_square(record, transform, quality) for record in records]


def _square(record: Record, transform: ImageTransform, quality: int) -> _Answer:
    try:
        image = open_image(record)
        if image.size == (transform.size, transform.size):
            content = image_bytes(record)
            if is_upright_jpeg(content):
                return content, *image.size
        encoded = io.BytesIO()
        # Chroma subsampling would save a fifth of the bytes and lose the sharpness of colours.
        transform.square(image).save(encoded, "JPEG", quality=quality, subsampling="4:4:4")
        return encoded.getvalue(), *image.size
    except (ValueError, OSError) as error:
        return str(error)
