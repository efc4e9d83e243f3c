"""How long an evaluation still takes, over all of its parts."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from xmcgan.runtime.progress import ProgressBar

REMAINING: ContextVar["Remaining | None"] = ContextVar("REMAINING", default=None)
"""The evaluation in progress, to which its parts report; None when not inside ``time_left_shown``."""


class Remaining:
    """Images that are still to be processed, by kind of work, and how long one takes.

    Args:
        planned: images of each kind of work, such as ``generating`` and ``evaluating``.
    """

    def __init__(self, planned: Mapping[str, int]):
        self.left = dict(planned)
        self.done: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.since = time.monotonic()

    def begin(self) -> None:
        """Starts timing a part; the time since the last part is not counted."""
        self.since = time.monotonic()

    def add(self, kind: str, count: int) -> None:
        """Counts images of a kind as done, in the time since the last call."""
        now = time.monotonic()
        self.seconds[kind] = self.seconds.get(kind, 0.0) + now - self.since
        self.done[kind] = self.done.get(kind, 0) + count
        self.left[kind] = max(0, self.left.get(kind, 0) - count)
        self.since = now

    def skip(self, kind: str, count: int) -> None:
        """Removes images that need no work of a kind, such as cached ones."""
        self.left[kind] = max(0, self.left.get(kind, 0) - count)

    def time_left(self) -> float | None:
        """Seconds until all is done; kinds that have not begun count as slow as the mean of the others.

        None before anything is done.
        """
        rates = {kind: self.seconds[kind] / count for kind, count in self.done.items() if count}
        if not rates:
            return None
        mean = sum(self.seconds[kind] for kind in rates) / sum(self.done[kind] for kind in rates)
        return sum(count * rates.get(kind, mean) for kind, count in self.left.items())


@contextmanager
def time_left_shown(planned: Mapping[str, int]) -> Generator[None]:
    """Within the block, the progress bars of an evaluation's parts show the time left for all of them.

    Args:
        planned: images of each kind of work.
    """
    token = REMAINING.set(Remaining(planned))
    try:
        yield
    finally:
        REMAINING.reset(token)


def begin() -> None:
    """Starts timing a part, if the time left is shown."""
    remaining = REMAINING.get()
    if remaining is not None:
        remaining.begin()


def skip(kind: str, count: int) -> None:
    """Removes images that need no work of a kind, if the time left is shown."""
    remaining = REMAINING.get()
    if remaining is not None:
        remaining.skip(kind, count)


def report(kind: str, count: int, bar: ProgressBar) -> None:
    """Counts images of a part as done, and shows at the end of its bar how long all parts still take."""
    remaining = REMAINING.get()
    if remaining is None:
        return
    remaining.add(kind, count)
    seconds = remaining.time_left()
    if seconds is not None:
        bar.set_postfix_str(f"all parts: {duration(seconds)} left")


def duration(seconds: float) -> str:
    """Seconds as 45 s, 3 min or 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
