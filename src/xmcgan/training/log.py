"""The log of a run: JSON lines and TensorBoard."""

import json
import time
from collections.abc import Generator as AbstractGenerator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from xmcgan.runtime.distributed import is_main
from xmcgan.runtime.files import write_text


class Log:
    """Logs the mean of every loss and statistic since the last line; rank 0 writes.

    Args:
        step: the step that training starts or resumes from; later lines are dropped.
        unwritten: the sums of the steps since the last line, from the checkpoint (``unwritten``).
    """

    def __init__(self, output: Path, step: int, unwritten: dict[str, Any] | None = None):
        self.path = output / "log.jsonl"
        self.board: SummaryWriter | None = None
        self.evaluations = output / "evaluations.jsonl"
        if is_main():
            truncate_log(self.path, step)
            truncate_log(self.evaluations, step)
            self.board = SummaryWriter(str(output / "tensorboard"), purge_step=step + 1)
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
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step, "time": time.time(), **means}) + "\n")
            for name, value in means.items():
                self.board.add_scalar(name, value, step)
        self.sums, self.count, self.images, self.waited, self.since = {}, 0, 0, 0.0, time.perf_counter()
        return (
            f"D {means['d_loss']:.2f}, G {means['g_loss']:.2f}, {means['images_per_second']:.0f} images/s, "
            f"{means['data_wait']:.0%} waiting for data"
        )

    def write_evaluation(self, step: int, values: dict[str, float]) -> None:
        """Write a line of metrics, and leave the time of the evaluation out of the training speed."""
        if self.board is not None:
            with self.evaluations.open("a") as file:
                file.write(json.dumps({"step": step, "time": time.time(), **values}) + "\n")
            for name, value in values.items():
                self.board.add_scalar(f"evaluation/{name}", value, step)
            text = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            tqdm.write(f"step {step}: {text}")
        self.images, self.waited, self.since = 0, 0.0, time.perf_counter()

    def close(self) -> None:
        """Flush and close TensorBoard."""
        if self.board is not None:
            self.board.close()


def truncate_log(path: Path, step: int) -> None:
    """Drop lines of a log after the step that training resumes from, and incomplete lines."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError, TypeError):
            continue  # torn by a crash; the lines after it are whole
    write_text(path, "".join(kept))
