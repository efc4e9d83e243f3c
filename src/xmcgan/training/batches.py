"""Training batches: captions embedded, moved to the device, prefetched."""

from collections import deque
from collections.abc import Generator as AbstractGenerator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import torch

from xmcgan.config import Config
from xmcgan.data.images import ImageTransform, to_images
from xmcgan.data.records import Record
from xmcgan.data.stream import SENTENCE, ExampleStream, load_batches, noise, uniform
from xmcgan.data.traces import word_targets
from xmcgan.encoders.text import TextEncoder
from xmcgan.ops.memory import to_memory_format
from xmcgan.runtime.distributed import rank, world_size
from xmcgan.training.augmentation import NUMBERS
from xmcgan.types import Batch


def embedded_batches(
    config: Config, records: Sequence[Record], encoder: TextEncoder, device: torch.device, *, start: int
) -> AbstractGenerator[Batch]:
    """This rank's part of every batch from number ``start`` on, with embedded captions and noise, endlessly."""
    settings, dataset = config.training, config.dataset
    traces, augmented = config.losses.trace > 0, config.augmentation.of_images
    stream = ExampleStream(
        records,
        ImageTransform(config.image_size, dataset.fit),
        seed=settings.seed,
        flip=dataset.flip,
        traces=traces,
        resize=dataset.resize,
    )
    loaded = load_batches(
        stream,
        start=start * settings.batch_size,
        batch_size=settings.batch_size,
        workers=dataset.workers,
        pin_memory=dataset.pin_memory and device.type == "cuda",
        part=(rank(), world_size()),
    )
    seed, noisy = settings.seed, config.augmentation.sentence_noise > 0
    with closing(loaded):
        for batch in loaded:
            images = to_images(batch.pixels.to(device, non_blocking=True))
            targets = word_targets(batch.traces, encoder.spans(batch.captions)) if traces else None
            yield Batch(
                to_memory_format(images, channels_last=settings.channels_last),
                encoder(batch.captions),
                noise(seed, batch.numbers, config.generator.noise_dim).to(device),
                None if targets is None else torch.from_numpy(targets).to(device),
                uniform(seed, batch.numbers, 2 * NUMBERS).to(device) if augmented else None,
                noise(seed, batch.numbers, encoder.dim, SENTENCE).to(device) if noisy else None,
            )


def prefetched(batches: AbstractGenerator[Batch], count: int, device: torch.device) -> AbstractGenerator[Batch]:
    """Prepare ``count`` batches ahead in a thread, on CUDA in a separate stream."""
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def next_batch() -> Batch:
        with torch.cuda.stream(stream):
            batch = next(batches)
        if stream is not None:
            stream.synchronize()
        return batch

    # Get the first batch in this thread: it starts the loading processes, and forking is unsafe with other threads.
    first = next_batch()
    with closing(batches), ThreadPoolExecutor(1, "batches") as thread:
        ahead = deque([thread.submit(next_batch) for _ in range(count)])
        try:
            batch = first
            while True:
                if device.type == "cuda":
                    # The batch was allocated on another stream: keep its memory until this stream is done with it.
                    for tensor in (batch.images_B3HW, *batch.text, *batch[2:]):
                        if tensor is not None:
                            tensor.record_stream(torch.cuda.current_stream(device))
                yield batch
                batch = ahead.popleft().result()
                ahead.append(thread.submit(next_batch))
        finally:
            thread.shutdown(cancel_futures=True)
