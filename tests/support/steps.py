"""Training states and batches of the tiny configuration, and runs that go wrong on purpose."""

import math
import os
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from tiny import contents
from xmcgan.config import Config
from xmcgan.data.layouts import read_records
from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.model_files import newest_checkpoint
from xmcgan.training.augmentation import NUMBERS
from xmcgan.training.batches import embedded_batches
from xmcgan.training.state import TrainingState, initial_state
from xmcgan.training.step import train_step
from xmcgan.types import Batch, TextEmbedding

CPU = torch.device("cpu")


def having(config: Config, **changes) -> Config:
    """The configuration with some fields, by dotted name with __ for the dot, set to other values."""
    for name, value in changes.items():
        section, _, field = name.rpartition("__")
        part = {section: replace(getattr(config, section), **{field: value})} if section else {field: value}
        config = replace(config, **part)
    return config


def stream_of(config: Config) -> Generator[Batch]:
    """The batches of a run."""
    records = read_records(Path(config.data), "coco", "train2014")
    encoder = TextEncoder(config.text.encoder, max_length=config.text.max_length, layers=config.text.layers)
    return embedded_batches(config, records, encoder, CPU, start=0)


def batches_of(config: Config, count: int) -> list[Batch]:
    """The first batches of a run."""
    with closing(stream_of(config)) as batches:
        return list(islice(batches, count))


TEXT_DIM = 6
"""Width of the words of ``random_batch``."""


def random_batch(rows: int, noise_dim: int) -> Batch:
    """Images at 64 px, captions of five words, noise and augmentation, all random."""
    torch.manual_seed(3)
    text = TextEmbedding(
        torch.randn(rows, 5, TEXT_DIM), torch.ones(rows, 5, dtype=torch.bool), torch.randn(rows, TEXT_DIM)
    )
    images, noise = torch.rand(rows, 3, 64, 64) * 2 - 1, torch.randn(rows, noise_dim)
    return Batch(images, text, noise, None, torch.rand(rows, 2 * NUMBERS))


def started(config: Config) -> TrainingState:
    return initial_state(config, 32, CPU)


def last_of(output: Path) -> dict[str, object]:
    return contents(newest_checkpoint(output / "checkpoints"))


def signalling(function, number: int, at: int):
    """The function, at whose at-th call the signal comes."""
    calls = 0

    def wrapped(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), number)
        return function(*arguments, **named)

    return wrapped


def poisoned(weight_of, at: int, *, after: bool = False):
    """train_step, with a weight that stops being a number before (or after) its at-th call."""
    calls = 0

    def wrapped(training, batches, **options):
        nonlocal calls
        calls += 1
        report = train_step(training, batches, **options) if after else None
        if calls == at:
            with torch.no_grad():
                weight_of(training).fill_(math.nan)
        return report or train_step(training, batches, **options)

    return wrapped
