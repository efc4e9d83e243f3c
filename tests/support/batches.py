"""Two streams of examples, compared batch by batch."""

from itertools import islice

import torch

from xmcgan.data.stream import ExampleStream, load_batches


def assert_same_batches(stream: ExampleStream, expected: ExampleStream, *, workers: int, count: int) -> None:
    """That workers load from one stream, bit by bit, what this process loads from the other."""
    loaded, known = (
        list(islice(load_batches(each, start=0, batch_size=2, workers=number), count))
        for each, number in ((stream, workers), (expected, 0))
    )
    assert len(loaded) == count
    for one, other in zip(loaded, known, strict=True):
        assert one.captions == other.captions
        assert torch.equal(one.pixels, other.pixels)
