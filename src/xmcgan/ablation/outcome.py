"""The outcome of a run: its metrics over training and at the end, or the error that ended it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from xmcgan.config import check
from xmcgan.runtime.files import make_folder, read_object, write_json


@dataclass(frozen=True)
class Outcome:
    """A finished or failed run.

    Args:
        row: its row's name.
        status: ``done``, or ``failed`` with an error.
        values: metrics at the end; empty for a failed run.
        curve: for each evaluation ``step``, ``images`` seen and the metrics.
        losses: for each line of the log, ``step``, ``images``, and every loss and statistic.
        steps: training steps taken.
        images: real images that the discriminator saw.
        seconds: spent on training, without evaluation and loading.
        protocol: networks, captions and settings of the evaluation.
        captions: the captions of the sample grid, one per column.
        reused: the study and row that this result comes from, if it is another study's.
    """

    row: str
    seed: int
    status: Literal["done", "failed"]
    error: str
    values: dict[str, float]
    curve: list[dict[str, float]]
    losses: list[dict[str, float]]
    steps: int
    images: int
    seconds: float
    device: str
    protocol: dict[str, Any]
    captions: list[str]
    version: str
    reused: str = ""

    def __post_init__(self):
        check(self.status in ("done", "failed"), f"status is {self.status!r}; it should be done or failed")


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Writes an outcome, whole or not at all."""
    write_json(make_folder(path.parent) / path.name, asdict(outcome))


def read_outcome(path: Path) -> Outcome:
    """Reads an outcome.

    Raises:
        ValueError: naming the file, if it is damaged.
    """
    content = read_object(path)
    try:
        return Outcome(**content)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the outcome of a run: {error}") from error
