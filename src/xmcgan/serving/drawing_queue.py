"""Images of many requests, drawn in batches of one shape by one thread.

Every batch of a model has the same number of rows, however few images it holds, so that an image has the same bits
alone and with others. The queue is bounded, and an image leaves it when its client disconnects.
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
    """The queue has no room, but should have in ``seconds``."""

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
    """An image in the queue."""

    model: ServedModel
    drawing: Drawing
    future: "asyncio.Future[Drawn]"

    @property
    def shape(self) -> tuple[str, int]:
        """The shape of the image's batch: images of equal shape can share one."""
        return self.model.id, len(self.drawing.captions)


class DrawingQueue:
    """A queue of images and the thread that draws them, first come, first served.

    Args:
        capacity: most images in the queue, not counting images being drawn.
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
        """Accepts no more images, draws those in the queue, and returns when that is done."""
        with self.changed:
            self.closed = True
            self.changed.notify()
        self.thread.join()

    @property
    def alive(self) -> bool:
        """Whether images are being drawn."""
        return self.thread.is_alive() and not self.closed

    def submit(self, model: ServedModel, drawings: Sequence[Drawing]) -> "list[asyncio.Future[Drawn]]":
        """Queues all images or none. Called in an event loop, to which the futures belong.

        Raises:
            QueueFull: if there is no room for all.
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

    def cancel(self, futures: "Sequence[asyncio.Future[Drawn]]") -> None:
        """Cancels images; images in the queue leave it at once."""
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
        """Takes the first image out of the queue, with others that can share its batch."""
        first = self.waiting[0]
        batch = [entry for entry in self.waiting if entry.shape == first.shape][: first.model.rows]
        taken = {id(entry) for entry in batch}
        self.waiting = deque(entry for entry in self.waiting if id(entry) not in taken)
        return batch


def draw_batch(batch: Sequence[Waiting]) -> list[Drawn]:
    """Draws at most a batch of images; ``draw`` pads it to its full number of rows."""
    model = batch[0].model
    samples = draw(model.pipe.fused, model.pipe.encoder, [entry.drawing for entry in batch], batch_size=model.rows)
    maps = samples.attention_BRT
    return [Drawn(pixels, None if maps is None else maps[row]) for row, pixels in enumerate(samples.images_B3HW)]


def deliver(batch: Sequence[Waiting], results: list[Drawn] | Exception) -> None:
    """Hands results to the event loop of their futures, unless it is closed."""

    def set_results() -> None:
        for row, entry in enumerate(batch):
            if entry.future.done():  # cancelled: the client disconnected
                continue
            if isinstance(results, Exception):
                entry.future.set_exception(results)
            else:
                entry.future.set_result(results[row])

    loop = batch[0].future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(set_results)
