"""SIGINT and SIGTERM: finish the step, save and stop."""

import signal
import threading
from collections.abc import Generator as AbstractGenerator
from contextlib import contextmanager
from typing import Any

from xmcgan.runtime.distributed import world_size


@contextmanager
def stop_signals() -> AbstractGenerator[threading.Event]:
    """An event that SIGINT (Ctrl-C) or SIGTERM sets; a second Ctrl-C interrupts as usual.

    Further SIGTERMs change nothing: a scheduler may repeat the signal while the checkpoint is being saved. With several
    ranks further signals of both kinds are ignored: the terminal sends Ctrl-C to every rank, torchrun forwards it
    again, and torchrun kills ranks that take longer than 30 seconds. The handlers then also stay after an error:
    torchrun sends SIGTERM as soon as one rank fails, and the other ranks should still report why they stopped.
    """
    stopped = threading.Event()

    def stop(number: Any, _frame: Any) -> None:
        if number == signal.SIGINT and world_size() == 1:
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
