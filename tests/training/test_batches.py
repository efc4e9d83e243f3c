"""Batches that a thread reads and embeds ahead."""

import multiprocessing
import threading
import time
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from steps import CPU, batches_of, having, last_of, stream_of
from tiny import contents, different, run
from xmcgan.data.layouts import read_records
from xmcgan.training.batches import embedded_batches, prefetched


def prefetching() -> bool:
    """Whether a thread that makes batches is alive."""
    return any(thread.name.startswith("batches") for thread in threading.enumerate())


@pytest.mark.parametrize("workers", [0, 2])
def test_prefetched_batches_are_the_same(config, workers):
    config = replace(config, dataset=replace(config.dataset, workers=workers))
    plain = batches_of(config, 5)
    with closing(prefetched(stream_of(config), 2, CPU)) as batches:
        ahead = list(islice(batches, 5))
        assert prefetching()
    assert not prefetching()
    for ours, theirs in zip(ahead, plain, strict=True):
        assert torch.equal(ours.images_B3HW, theirs.images_B3HW)
        assert torch.equal(ours.text.words_BTD, theirs.text.words_BTD)
        assert torch.equal(ours.noise_BZ, theirs.noise_BZ)


def test_prefetching_stays_two_batches_ahead(config):
    made = []

    def counted():
        for batch in stream_of(config):
            made.append(threading.current_thread() is threading.main_thread())
            yield batch

    with closing(prefetched(counted(), 2, CPU)) as batches:
        next(batches)
        deadline = time.monotonic() + 60
        while len(made) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert made == [True, False, False]  # loading processes are forked where no thread is beside


def test_an_error_after_reading_ends_the_workers(config):
    config = replace(config, dataset=replace(config.dataset, workers=1))
    records = read_records(Path(config.data), "coco", "train2014")
    before = set(multiprocessing.active_children())

    def encoder(_captions):
        raise MemoryError

    with pytest.raises(MemoryError) as kept:
        next(embedded_batches(config, records, encoder, CPU, start=0))  # ty: ignore[invalid-argument-type]
    assert kept.value
    assert set(multiprocessing.active_children()) <= before  # though the error's traceback is kept


def test_an_error_in_the_thread_is_raised_to_the_run(config):
    def broken():
        yield from batches_of(config, 2)
        raise ValueError("train2014/x.jpg cannot be read as an image")

    with closing(prefetched(broken(), 2, CPU)) as batches:
        assert len(list(islice(batches, 2))) == 2
        with pytest.raises(ValueError, match=r"x\.jpg cannot be read"):
            next(batches)
    assert not prefetching()


def test_resume_with_prefetched_batches(config, tmp_path, trained):
    """The same bits, interrupted or not, and nothing of what was read ahead is lost."""
    run(having(config, training__steps=1, training__prefetch=3), tmp_path / "ahead")
    assert run(having(config, training__steps=2, training__prefetch=1), tmp_path / "ahead") == 2
    assert different(contents(trained / "checkpoints/step-00000002"), last_of(tmp_path / "ahead")) == []
