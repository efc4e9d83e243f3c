"""One process at a time in an output folder, or on an output file."""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from xmcgan.runtime.files import make_folder, write_failed
from xmcgan.runtime.progress import say

LOCK = ".lock"


@contextmanager
def locked_folder(folder: Path, activity: str, *, beside: bool = False, wait: bool = False) -> Generator[None]:
    """Holds the lock of a folder, which is made if needed; the lock of a process that dies is released.

    Args:
        activity: what the folder is in use for, such as "trained into", for the message.
        beside: the lock is ``.lock-NAME`` beside the folder, which is not made: for a folder that appears only when it
            is complete, or for a file.
        wait: wait for another process instead of refusing: for quick writes at the end of long work.

    Raises:
        FileExistsError: naming the process that holds the lock.
        WriteFailed: naming the lock, if it cannot be written.
    """
    path = folder.with_name(f"{LOCK}-{folder.name}") if beside else folder / LOCK
    make_folder(path.parent)
    lock = FileLock(path, timeout=0)
    acquire(lock, path, f"{folder} is being {activity} by", wait=wait)
    try:
        with suppress(OSError):  # the lock also holds on a full disk
            path.write_text(f"{os.getpid()}\n")
        yield
    finally:
        with suppress(OSError):  # Windows cannot remove an open file
            path.unlink()  # before the release: afterwards it may be the next process's lock
        lock.release()


def acquire(lock: FileLock, path: Path, held: str, *, wait: bool) -> None:
    """Takes a lock. If another process holds it, refuses or waits, and names that process."""
    try:
        lock.acquire()
    except Timeout:
        try:
            holder = path.read_text(errors="replace").strip()
        except OSError:  # just released
            holder = ""
        process = f"process {holder}" if holder else "another process"
        if not wait:
            advice = "wait for it, stop it, or choose another folder"
            raise FileExistsError(f"{held} {process}; {advice}") from None
        say(f"{held} {process}: waiting for it")
        lock.acquire(timeout=-1)
    except OSError as error:
        raise write_failed(path, error) from error
