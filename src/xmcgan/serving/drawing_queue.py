"""Images of many requests, drawn in batches of one shape by one thread.

Every batch of a model has the same number of rows, whoever's images are in it and however few: so an image has the bits
that it would have alone. The queue is bounded; an image that nobody waits for any more leaves it.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from xmcgan.inference.interpolation import Drawing, draw
from xmcgan.serving.models import ServedModel


class QueueFull(Exception):
    """There is no place; ``seconds`` is when there should be one."""

    def __init__(self, seconds: int):
        super().__init__(f"try again in {seconds} s")
        self.seconds = seconds


class Closed(Exception):
    """The server is stopping."""


@dataclass(frozen=True)
class Drawn:
    """One image and its attention over the words."""

    pixels_3HW: Tensor
    attention_RT: Tensor | None


@dataclass(frozen=True)
class Waiting:
    """One image that somebody waits for."""

    model: ServedModel
    drawing: Drawing
    future: "asyncio.Future[Drawn]"

    @property
    def shape(self) -> tuple[str, int]:
        """Images that can share a batch have the same."""
        return self.model.id, len(self.drawing.captions)


class DrawingQueue:
    """First come, first served, by one thread.

    Args:
        capacity: images that may wait, those being drawn not counted.
        on_batch: called in the drawing thread with (model id, images, rows, seconds) after every batch.
    """

    def __init__(self, capacity: int, on_batch: Callable[[str, int, int, float], None] = lambda *_: None):
        self.capacity, self.on_batch = capacity, on_batch
        self.waiting: deque[Waiting] = deque()
        self.changed = threading.Condition()
        self.closed = False
        self.seconds_an_image = 0.05  # an estimate for Retry-After, until the first batch is measured
        self.thread = threading.Thread(target=self.run, name="drawing", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self.thread.start()

    def close(self) -> None:
        """Takes no more images, draws those that wait, and returns when that is done."""
        with self.changed:
            self.closed = True
            self.changed.notify()
        self.thread.join()

    @property
    def alive(self) -> bool:
        """Whether images are drawn."""
        return self.thread.is_alive() and not self.closed

    def submit(self, model: ServedModel, drawings: Sequence[Drawing]) -> "list[asyncio.Future[Drawn]]":
        """Queues images, all or none; called in an event loop, whose futures they are.

        Raises:
            QueueFull: if there is no place for them.
            Closed: after ``close``.
        """
        loop = asyncio.get_running_loop()
        entries = [Waiting(model, drawing, loop.create_future()) for drawing in drawings]
        with self.changed:
            if self.closed:
                raise Closed
            if len(self.waiting) + len(entries) > self.capacity:
                raise QueueFull(max(1, math.ceil(len(self.waiting) * self.seconds_an_image)))
            self.waiting.extend(entries)
            self.changed.notify()
        return [entry.future for entry in entries]

    def forget(self, futures: "Sequence[asyncio.Future[Drawn]]") -> None:
        """Cancels images; those that wait leave the queue at once."""
        for future in futures:
            future.cancel()
        with self.changed:
            self.waiting = deque(entry for entry in self.waiting if not entry.future.done())

    def run(self) -> None:
        """Draws batches until the queue is closed and empty."""
        while True:
            with self.changed:
                while not self.waiting and not self.closed:
                    self.changed.wait()
                if not self.waiting:
                    return
                batch = self.take()
            began = time.perf_counter()
            try:
                results: list[Drawn] | Exception = draw_batch(batch)
            except Exception as error:
                results = error
            seconds = time.perf_counter() - began
            self.seconds_an_image += 0.2 * (seconds / len(batch) - self.seconds_an_image)
            self.on_batch(batch[0].model.id, len(batch), batch[0].model.rows, seconds)
            deliver(batch, results)

    def take(self) -> list[Waiting]:
        """Takes the first image, and those behind it that fit into its batch, out of the queue."""
        first = self.waiting[0]
        batch = [entry for entry in self.waiting if entry.shape == first.shape][: first.model.rows]
        taken = {id(entry) for entry in batch}
        self.waiting = deque(entry for entry in self.waiting if id(entry) not in taken)
        return batch


def draw_batch(batch: Sequence[Waiting]) -> list[Drawn]:
    """Draws up to a batch's rows of images; ``sample_noise`` pads what is missing."""
    model = batch[0].model
    samples = draw(model.pipe.fused, model.pipe.encoder, [entry.drawing for entry in batch], batch_size=model.rows)
    maps = samples.attention_BRT
    return [Drawn(pixels, None if maps is None else maps[row]) for row, pixels in enumerate(samples.images_B3HW)]


def deliver(batch: Sequence[Waiting], results: list[Drawn] | Exception) -> None:
    """Hands results to the event loop that waits for them; a loop that is gone waits for nothing."""

    def set_results() -> None:
        for row, entry in enumerate(batch):
            if entry.future.done():  # the client has gone
                continue
            if isinstance(results, Exception):
                entry.future.set_exception(results)
            else:
                entry.future.set_result(results[row])

    loop = batch[0].future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(set_results)
