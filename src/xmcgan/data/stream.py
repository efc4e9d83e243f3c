"""The endless stream of training examples, and batches of it.

All randomness of the n-th example of a run (image, caption, flip, noise) is a function of the run's seed and n alone.
So a run resumes exactly where it was interrupted, and the number of workers does not change the examples.
"""

import atexit
import sys
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from xmcgan.data.crop import crop_narrative
from xmcgan.data.images import ImageTransform, open_image
from xmcgan.data.prepared.shards import ShardedRecords
from xmcgan.data.records import Record
from xmcgan.data.traces import TraceMaps, trace_maps
from xmcgan.runtime.processes import ignore_signals

# Forked workers share the memory of the records and start at once. "forkserver", Linux's default from Python 3.14 on,
# sends all records to each worker: 30 MB for COCO's 82,783 images, and about 20 s before the first batch.
WORKERS_START = "fork" if sys.platform == "linux" else None

# A separate random stream for each use of an example, so that a new use does not change the others.
ORDER, CAPTION, FLIP, NOISE, AUGMENTATION, SENTENCE = range(6)


class Example(NamedTuple):
    """One training example: uint8 pixels (3, H, W), a caption, its number n, and its trace maps."""

    pixels: Tensor
    caption: str
    number: int
    traces: TraceMaps | None = None


class Choice(NamedTuple):
    """An example's record and its index, one of its captions, and whether the image is mirrored."""

    index: int
    record: Record
    caption: str
    flip: bool


class ExampleBatch(NamedTuple):
    """B examples: uint8 pixels (B, 3, H, W), captions, numbers and trace maps."""

    pixels: Tensor
    captions: list[str]
    numbers: list[int]
    traces: list[TraceMaps | None]


class ExampleStream(Dataset):
    """The endless training examples of a run: in each epoch, all records in a new random order.

    Args:
        records: at least one.
        transform: turns an image into pixels.
        seed: the run's seed.
        flip: mirror images with probability 1/2. Turn it off if captions distinguish left from right.
        traces: also compute trace maps for records that have a mouse trace.
        resize: accept prepared records of another size, which are resized again, or of another fit.

    Raises:
        ValueError: if there are no records, or they were prepared for another size or fit.
    """

    def __init__(
        self,
        records: Sequence[Record],
        transform: ImageTransform,
        *,
        seed: int,
        flip: bool,
        traces: bool = False,
        resize: bool = False,
    ):
        if not records:
            raise ValueError("the data set has no records")
        if not resize:
            check_prepared_for(records, transform)
        self.records, self.transform, self.seed, self.flip, self.traces = records, transform, seed, flip, traces
        self._epoch, self._order = -1, np.empty(0, dtype=np.uint32)

    def __getitem__(self, index: int) -> Example:
        number = index
        _, record, caption, flip = self.choice(number)
        image = open_image(record)
        pixels = self.transform.pixels(image)
        narrative = record.narrative if self.traces else None
        if narrative is not None and self.transform.fit == "crop":
            narrative = crop_narrative(narrative, *image.size)
        return Example(
            pixels.flip(2) if flip else pixels,
            caption,
            number,
            trace_maps(caption, narrative, flip=flip) if narrative is not None else None,
        )

    def choice(self, number: int) -> "Choice":
        """The record, caption and mirroring of example ``number``."""
        epoch, position = divmod(number, len(self.records))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, shuffled(len(self.records), self.seed, epoch)
        index = int(self._order[position])
        record = self.records[index]
        caption = record.captions[random(self.seed, CAPTION, number).integers(len(record.captions))]
        return Choice(index, record, caption, self.flip and bool(random(self.seed, FLIP, number).integers(2)))


def prepared_otherwise(records: Sequence[Record], transform: ImageTransform) -> dict[str, tuple[int | str, int | str]]:
    """The size and fit that records were prepared with and that they are read with, if these differ."""
    settings = records.manifest.get("settings", {}) if isinstance(records, ShardedRecords) else {}
    wanted = {"size": transform.size, "fit": transform.fit}
    return {name: (settings[name], wanted[name]) for name in wanted if settings.get(name, wanted[name]) != wanted[name]}


def check_prepared_for(
    records: Sequence[Record],
    transform: ImageTransform,
    *,
    size: str = "image_size",
    fit: str = "dataset.fit",
    resize: str = "--dataset.resize true",
) -> None:
    """Refuses records that were prepared for another image size or fit than they are read with.

    Args:
        size, fit, resize: names of the settings for these, and of the one that accepts others, for the message.

    Raises:
        ValueError: naming the setting, both values, and what to do.
    """
    for name, (found, wanted) in prepared_otherwise(records, transform).items():
        flag, root = {"size": size, "fit": fit}[name], getattr(records, "root", "")
        raise ValueError(
            f"{root} was prepared with --{name} {found}, but {flag} is {wanted}. Prepare it again with "
            f"--{name} {wanted}, set {flag} to {found}, or accept it as it is with {resize}"
        )


def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch, a permutation of ``count``: 4 bytes per record, and the same numbers as with 8."""
    order = np.arange(count, dtype=np.uint32)
    random(seed, ORDER, epoch).shuffle(order)
    return order


def random(seed: int, use: int, number: int) -> np.random.Generator:
    """The random generator for one use of one example."""
    return np.random.default_rng([seed, use, number])


def noise(seed: int, numbers: Sequence[int], dim: int, use: int = NOISE) -> Tensor:
    """z ~ N(0, I) for the examples with these numbers: noise_BZ, float32. Noise on sentences has its own ``use``."""
    rows = [random(seed, use, number).standard_normal(dim, dtype=np.float32) for number in numbers]
    return torch.from_numpy(np.stack(rows))


def uniform(seed: int, numbers: Sequence[int], count: int) -> Tensor:
    """Uniform random numbers in [0, 1) for the augmentation of the examples with these numbers: (B, count), float32."""
    rows = [random(seed, AUGMENTATION, number).random(count, dtype=np.float32) for number in numbers]
    return torch.from_numpy(np.stack(rows))


class ConsecutiveBatches(Sampler[list[int]]):
    """Endless lists of ``batch_size`` consecutive numbers from ``start`` on, or part k of n of each list."""

    def __init__(self, start: int, batch_size: int, part: tuple[int, int] = (0, 1)):
        position, parts = part
        if batch_size % parts:
            raise ValueError(f"a batch of {batch_size} cannot be divided into {parts} equal parts")
        self.length, self.batch_size = batch_size // parts, batch_size
        self.start = start + position * self.length

    def __iter__(self) -> Iterator[list[int]]:
        number = self.start
        while True:
            yield list(range(number, number + self.length))
            number += self.batch_size


def load_batches(
    stream: Dataset,
    *,
    start: int,
    batch_size: int,
    workers: int,
    pin_memory: bool = False,
    part: tuple[int, int] = (0, 1),
) -> Generator[ExampleBatch]:
    """Batches of the stream from example ``start`` on, decoded by ``workers`` processes (0: by this process).

    Close it (``contextlib.closing``), also after an error: that ends the workers.

    Args:
        part: (k, n) selects part k of n equal parts of every batch, which rank k of n reads.

    Raises:
        ValueError: naming the file, if an image cannot be read; or if n does not divide the batch size.
        FileNotFoundError: naming the shard, if one is missing.
        ConnectionError: naming the URL, if a shard cannot be fetched.
    """
    loader = DataLoader(
        stream,
        batch_sampler=ConsecutiveBatches(start, batch_size, part),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        worker_init_fn=ignore_signals,
        multiprocessing_context=WORKERS_START if workers else None,
    )
    batches = iter(loader)
    end_workers = batches._shutdown_workers if isinstance(batches, _MultiProcessingDataLoaderIter) else None
    if end_workers is not None:
        # Python ends the workers that are left at its exit by SIGTERM, which they ignore, and would wait forever.
        atexit.register(end_workers)
    try:
        yield from batches
    except (ValueError, OSError) as error:
        # A worker's error arrives as its whole traceback; its message is the last line.
        kind = type(error)
        raise kind(str(error).strip().splitlines()[-1].removeprefix(f"{kind.__name__}: ")) from error
    finally:
        if end_workers is not None:
            # Not left to the iterator's end: an error's traceback can keep it, and so its workers, alive.
            end_workers()
            atexit.unregister(end_workers)


def collate(examples: list[Example]) -> ExampleBatch:
    """Collates examples to a batch; pixels stay uint8 until they are on the device."""
    return ExampleBatch(
        torch.stack([example.pixels for example in examples]),
        [example.caption for example in examples],
        [example.number for example in examples],
        [example.traces for example in examples],
    )
