"""Preparations that other processes run: a process finds this module by its name, and a test's file not."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from xmcgan.data.prepared.prepare import prepare
from xmcgan.data.prepared.workers import _encode_all as encode_all
from xmcgan.data.readers.coco import read_coco
from xmcgan.data.records import Problem, Record


def prepared(records: list[Record | Problem], output: Path, **settings) -> dict:
    """One split, ``all``."""
    given = {
        "name": "photographs",
        "layout": "table",
        "splits": ["all"],
        "entries": lambda split: iter(records),
        "size": 32,
        "shard_records": 6,
        "workers": 1,
        "progress": False,
    }
    return prepare(Path("data/photographs"), output, **{**given, **settings})


def die_at(step: int, photographs: list[Record], output: Path) -> None:
    """Prepares, and dies at the given one of the moments at which something is put on the disk or renamed."""
    steps = 0

    def deadly(real: Callable) -> Callable:
        def call(*arguments, **settings):
            nonlocal steps
            steps += 1
            if steps == step:
                os._exit(9)
            return real(*arguments, **settings)

        return call

    os.fsync, Path.replace, Path.unlink = map(deadly, (os.fsync, Path.replace, Path.unlink))  # ty: ignore[invalid-assignment]
    prepared(photographs, output)


def slowly(scenes: Path, split: str) -> Iterator[Record | Problem]:
    for entry in read_coco(scenes, split, annotations=True):
        time.sleep(0.004)
        yield entry


def prepare_scenes(scenes: Path, output: Path) -> None:
    splits, entries = ["train2014", "val2014"], partial(slowly, scenes)
    prepared([], output, layout="coco", splits=splits, entries=entries, size=48, shard_records=2)


def fall_over_once(flag: Path, *arguments) -> list:
    """The first worker that is called dies, the others encode; the file ``flag`` says that one was."""
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return encode_all(*arguments)
    os._exit(1)


def fall_over(*_: object) -> list:
    os._exit(1)
