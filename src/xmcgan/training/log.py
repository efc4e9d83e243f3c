"""The log of a run: JSON lines and TensorBoard."""

import json
import time
from collections.abc import Generator as AbstractGenerator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xmcgan.runtime.distributed import is_main
from xmcgan.runtime.files import append_text, write_text
from xmcgan.runtime.progress import say
from xmcgan.training.board import Board


class Log:
    """Logs the mean of every loss and statistic since the last line; rank 0 writes.

    Args:
        step: the step that training starts or resumes from; later lines are dropped.
        unwritten: the sums of the steps since the last line, from the checkpoint (``unwritten``).
    """

    def __init__(self, output: Path, step: int, unwritten: dict[str, Any] | None = None):
        self.path = output / "log.jsonl"
        self.evaluations = output / "evaluations.jsonl"
        self.board: Board | None = None
        if is_main():
            truncate_log(self.path, step)
            truncate_log(self.evaluations, step)
            self.board = Board(output / "tensorboard", step)
            if has_line(self.path, step):
                unwritten = None  # the line of the checkpoint's step was written later, with these sums
        unwritten = unwritten or {"sums": {}, "count": 0}
        self.sums: dict[str, float] = dict(unwritten["sums"])
        self.count: int = unwritten["count"]
        self.images, self.waited, self.since = 0, 0.0, time.perf_counter()

    def unwritten(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed run logs the same means: the sums since the last line."""
        return {"sums": self.sums, "count": self.count}

    @contextmanager
    def waiting(self) -> AbstractGenerator[None]:
        """Count the time inside the context as waiting for data (reading, decoding, embedding captions)."""
        began = time.perf_counter()
        yield
        self.waited += time.perf_counter() - began

    def add(self, losses: dict[str, float], *, images: int) -> None:
        """Add the losses of one step."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count, self.images = self.count + 1, self.images + images

    def write(self, step: int) -> str:
        """Write a line and reset the means; return a summary for the progress bar."""
        seconds = time.perf_counter() - self.since
        means = {name: total / self.count for name, total in self.sums.items()}
        means["images_per_second"] = self.images / seconds
        means["data_wait"] = self.waited / seconds
        if self.board is not None:
            append_text(self.path, json.dumps({"step": step, "time": time.time(), **means}) + "\n")
            self.board.add(step, means)
        self.sums, self.count, self.images, self.waited, self.since = {}, 0, 0, 0.0, time.perf_counter()
        return (
            f"D {means['d_loss']:.2f}, G {means['g_loss']:.2f}, {means['images_per_second']:.3g} images/s, "
            f"{means['data_wait']:.0%} waiting for data"
        )

    def write_evaluation(self, step: int, values: dict[str, float]) -> None:
        """Write a line of metrics, and leave the time of the evaluation out of the training speed."""
        if self.board is not None:
            append_text(self.evaluations, json.dumps({"step": step, "time": time.time(), **values}) + "\n")
            self.board.add(step, {f"evaluation/{name}": value for name, value in values.items()})
            say(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
        self.images, self.waited, self.since = 0, 0.0, time.perf_counter()


def already_evaluated(output: Path, step: int) -> bool:
    """Whether a run's evaluation at a step is in its log; its line is written after everything else."""
    return has_line(output / "evaluations.jsonl", step)


def has_line(path: Path, step: int) -> bool:
    """Whether a log has a line of a step."""
    return path.exists() and any(line_step(line) == step for line in path.read_bytes().splitlines())


def truncate_log(path: Path, step: int) -> None:
    """Drop lines of a log after the step that training resumes from, and incomplete lines."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines()
    kept = [line for line in lines if (known := line_step(line)) is not None and known <= step]
    if kept != lines or not path.read_bytes().endswith(b"\n"):
        write_text(path, "".join(line.decode() + "\n" for line in kept), flush=True)


def line_step(line: bytes) -> int | None:
    """The step of a log's line; None for a line cut off by a crash (the lines after it are whole)."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return step if type(step) is int else None
