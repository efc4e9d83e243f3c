"""Captioned images: one record, one example of the endless training stream, one batch.

Everything random about the n-th example of a training run (which image, which caption, whether it is flipped, its
noise) is a function of the run's seed and of n alone. So a run goes on after an interruption exactly where it stood,
and neither the number of workers nor the size of a batch changes what is seen.
"""

import signal
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from xmcgan.data.crop import crop_narrative
from xmcgan.data.images import ImageTransform, open_image
from xmcgan.data.records import Record
from xmcgan.data.traces import TraceMaps, trace_maps

# Forked, workers share the memory of the records and start at once. Linux's default from Python 3.14 on, "forkserver",
# sends each worker all of them: of COCO's 82,783 images 30 MB, and some 20 s went by before the first batch.
WORKERS_START = "fork" if sys.platform == "linux" else None

# Separate streams of random numbers for the uses of one example, so that a new use leaves the others as they were.
ORDER, CAPTION, FLIP, NOISE, AUGMENTATION = range(5)


class Example(NamedTuple):
    """One example: uint8 pixels (3, H, W), a caption, its number n, and where its words were pointed at."""

    pixels: Tensor
    caption: str
    number: int
    traces: TraceMaps | None = None


class ExampleBatch(NamedTuple):
    """B examples: uint8 pixels (B, 3, H, W), captions, their numbers and traces."""

    pixels: Tensor
    captions: list[str]
    numbers: list[int]
    traces: list[TraceMaps | None]


class ExampleStream(Dataset):
    """The training examples of a run, without end: epoch after epoch, each a new order of the records.

    Args:
        records: at least one.
        transform: how an image becomes pixels.
        seed: of the run.
        flip: mirrors every second image. Off where captions tell left from right.
        traces: also says where each utterance points, in records that have a mouse trace.
    """

    def __init__(
        self, records: Sequence[Record], transform: ImageTransform, *, seed: int, flip: bool, traces: bool = False
    ):
        if not records:
            raise ValueError("the data set has no records")
        self.records, self.transform, self.seed, self.flip, self.traces = records, transform, seed, flip, traces
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def __getitem__(self, index: int) -> Example:
        number = index
        epoch, position = divmod(number, len(self.records))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, random(self.seed, ORDER, epoch).permutation(len(self.records))
        record = self.records[self._order[position]]
        caption = record.captions[random(self.seed, CAPTION, number).integers(len(record.captions))]
        image = open_image(record)
        pixels = self.transform.pixels(image)
        flip = self.flip and bool(random(self.seed, FLIP, number).integers(2))
        narrative = record.narrative if self.traces else None
        if narrative is not None and self.transform.fit == "crop":
            narrative = crop_narrative(narrative, *image.size)
        return Example(
            pixels.flip(2) if flip else pixels,
            caption,
            number,
            trace_maps(caption, narrative, flip=flip) if narrative is not None else None,
        )


def random(seed: int, use: int, number: int) -> np.random.Generator:
    """The random numbers of one use of one example."""
    return np.random.default_rng([seed, use, number])


def noise(seed: int, numbers: Sequence[int], dim: int) -> Tensor:
    """z ~ N(0, I) of the examples with these numbers: noise_BZ, float32."""
    rows = [random(seed, NOISE, number).standard_normal(dim, dtype=np.float32) for number in numbers]
    return torch.from_numpy(np.stack(rows))


def uniform(seed: int, numbers: Sequence[int], count: int) -> Tensor:
    """Uniform random numbers in [0, 1) for the augmentation of the examples with these numbers: (B, count), float32."""
    rows = [random(seed, AUGMENTATION, number).random(count, dtype=np.float32) for number in numbers]
    return torch.from_numpy(np.stack(rows))


class ConsecutiveBatches(Sampler[list[int]]):
    """The numbers start, start + 1, ... in lists of batch_size, without end; or one of the equal parts of each list."""

    def __init__(self, start: int, batch_size: int, part: tuple[int, int] = (0, 1)):
        position, parts = part
        if batch_size % parts:
            raise ValueError(f"a batch of {batch_size} has no {parts} equal parts")
        self.length, self.batch_size = batch_size // parts, batch_size
        self.start = start + position * self.length

    def __iter__(self) -> Iterator[list[int]]:
        number = self.start
        while True:
            yield list(range(number, number + self.length))
            number += self.batch_size


def load_batches(
    stream: ExampleStream,
    *,
    start: int,
    batch_size: int,
    workers: int,
    pin_memory: bool = False,
    part: tuple[int, int] = (0, 1),
) -> Iterator[ExampleBatch]:
    """The stream from its example ``start`` on, in batches, decoded by ``workers`` processes (0: by this one).

    Args:
        part: (k, n) gives the k-th of n equal parts of every batch: what rank k of n reads.

    Raises:
        ValueError: naming the file, if an image cannot be read; if a batch has no n equal parts.
        FileNotFoundError: naming the shard, if one has gone.
        ConnectionError: naming its URL, if it cannot be fetched.
    """
    loader = DataLoader(
        stream,
        batch_sampler=ConsecutiveBatches(start, batch_size, part),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        worker_init_fn=leave_signals,
        multiprocessing_context=WORKERS_START if workers else None,
    )
    try:
        yield from loader
    except (ValueError, OSError) as error:
        # A worker's error arrives as its whole traceback; the last line is what it said.
        kind = type(error)
        raise kind(str(error).strip().splitlines()[-1].removeprefix(f"{kind.__name__}: ")) from error


def leave_signals(_worker: int) -> None:
    """Ctrl-C, and a scheduler's SIGTERM, reach every process; it is the training process that stops its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def collate(examples: list[Example]) -> ExampleBatch:
    """Examples to a batch; the pixels stay bytes until they are on the device."""
    return ExampleBatch(
        torch.stack([example.pixels for example in examples]),
        [example.caption for example in examples],
        [example.number for example in examples],
        [example.traces for example in examples],
    )
