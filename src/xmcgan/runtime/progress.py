"""Progress bars and remarks: all progress output comes from here.

On a terminal a bar is redrawn in place; elsewhere, such as in a file or a job's log, it is a line from time to time. If
the display fails (a full disk, a closed pipe), it is turned off, and the work goes on.
"""

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from tqdm import tqdm

Value = TypeVar("Value")

INTERVAL = 30.0
"""Seconds between two lines if there is no terminal."""


def own_lock() -> None:
    """Gives tqdm a new lock. If another thread held the old one at the fork, no one in the child would release it."""
    tqdm.set_lock(threading.RLock())


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=own_lock)


class Bar(tqdm):
    """tqdm's bar, but an error while drawing only sets ``failed``: tqdm raises it and never releases its lock."""

    failed = False

    def display(self, msg: str | None = None, pos: int | None = None) -> bool | None:
        """Draws the bar, if its stream takes it."""
        try:
            return super().display(msg, pos)
        except (OSError, ValueError):  # ValueError: the stream was closed
            self.failed = True
            return False


class ProgressBar:
    """Counts finished work, and shows it on standard error.

    Args:
        total: how much there is to do; None if unknown. An estimate is dropped once more than that is done.
        unit: what is counted, such as ``step``.
        desc: what is done, at the beginning of the line.
        initial: how much was done before.
        disable: only count.
        leave: whether the finished bar stays.
    """

    def __init__(
        self,
        *,
        total: int | None,
        unit: str,
        desc: str = "",
        initial: int = 0,
        disable: bool = False,
        leave: bool = True,
    ):
        self.total, self.unit, self.desc, self.n, self.leave, self.disable = total, unit, desc, initial, leave, disable
        self.postfix, self.began, self.initial = "", time.monotonic(), initial
        self.shown_at, self.shown_n = self.began, initial
        self.bar: Bar | None = None
        if not disable and is_terminal(sys.stderr):
            self.bar = Bar(total=total, initial=initial, unit=unit, desc=desc or None, leave=leave, dynamic_ncols=True)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, count: int = 1) -> None:
        """Counts ``count`` more."""
        self.n += count
        if self.total is not None and self.n > self.total:
            self.total = None  # it was an estimate, and too low
        self.show(count)

    def set_postfix_str(self, text: str) -> None:
        """Sets a remark at the end of the line."""
        self.postfix = text
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=False)

    def over(self, values: Iterable[Value]) -> Iterator[Value]:
        """Yields the values, and counts each when the next is taken."""
        with self:
            for value in values:
                yield value
                self.update()

    def close(self) -> None:
        """Shows the last state."""
        if self.bar is not None:
            bar, self.bar = self.bar, None
            try:
                bar.total = self.total
                bar.close()
            except (OSError, ValueError):
                bar.failed = True
            if bar.failed:
                silence(sys.stderr)
        elif not self.disable and self.leave and self.n > self.shown_n:
            self.write_line()

    def show(self, count: int) -> None:
        """Redraws the bar, or writes a line if it is time."""
        if self.bar is not None:
            self.bar.total = self.total
            self.bar.update(count)
            if self.bar.failed:
                silence(sys.stderr)
                self.bar, self.disable = None, True
        elif not self.disable and time.monotonic() - self.shown_at >= INTERVAL:
            self.write_line()

    def write_line(self) -> None:
        """Writes the progress as a line of its own."""
        seconds = time.monotonic() - self.began
        rate = (self.n - self.initial) / seconds if seconds > 0 else 0.0
        of = "" if self.total is None else f" of {self.total:,}"
        parts = [f"{self.n:,}{of} {self.unit}s", f"{rate:.3g}/s", *([self.postfix] if self.postfix else [])]
        say(f"{self.desc}: {', '.join(parts)}" if self.desc else ", ".join(parts), sys.stderr)
        self.shown_at, self.shown_n = time.monotonic(), self.n


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints a line without breaking a bar; a stream that cannot be written to is silenced.

    Args:
        stream: standard output unless given.
    """
    stream = sys.stdout if stream is None else stream
    try:
        with tqdm.external_write_mode(file=stream):
            stream.write(f"{text}\n")
            stream.flush()
    except (OSError, ValueError):
        silence(stream)


def silence(stream: TextIO) -> None:
    """Discards everything written to a stream from now on, and what its buffer still holds."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass  # the stream is closed, or has no descriptor: nothing can be written to it


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal; a closed one is not."""
    try:
        return stream.isatty()
    except ValueError:
        return False
