"""Worker processes."""

import signal


def ignore_signals(_worker: int = 0) -> None:
    """Makes a worker ignore SIGINT and SIGTERM, which reach every process: the main process stops its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
