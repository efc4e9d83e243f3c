"""SIGINT and SIGTERM: stop after the step, and save."""

import signal
import threading
from collections.abc import Generator as AbstractGenerator
from contextlib import contextmanager
from typing import Any

from xmcgan.runtime.distributed import world_size


@contextmanager
def stop_signals() -> AbstractGenerator[threading.Event]:
    """An event that SIGINT (Ctrl-C) and SIGTERM set, once each; a second Ctrl-C interrupts as usual.

    Not where there are several ranks: torchrun hands on the Ctrl-C that the terminal has sent to every rank already,
    and one that has not stopped after half a minute it kills. There an error leaves the handlers in place: torchrun
    sends SIGTERM as soon as one rank has died, and the others should still say why they stopped.
    """
    stopped = threading.Event()

    def stop(number: Any, _frame: Any) -> None:
        if world_size() == 1:
            signal.signal(number, previous[number])
        stopped.set()

    in_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if in_main else ()
    previous = {number: signal.signal(number, stop) for number in numbers}
    failed = True
    try:
        yield stopped
        failed = False
    finally:
        if not (failed and world_size() > 1):
            for number, handler in previous.items():
                signal.signal(number, handler)
