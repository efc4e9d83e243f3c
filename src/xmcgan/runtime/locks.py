"""One process at a time in an output folder."""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from xmcgan.runtime.files import make_folder, write_failed

LOCK = ".lock"


@contextmanager
def locked_folder(folder: Path, activity: str, *, beside: bool = False) -> Generator[None]:
    """Holds the lock of a folder, which is made if needed; a process that dies gives it up.

    Args:
        activity: what the folder is in use for, such as "trained into", for the message.
        beside: the lock is ``.lock-NAME`` beside the folder, which is not made: for one that appears when it is whole.

    Raises:
        FileExistsError: naming the process that holds the lock.
    """
    path = folder.with_name(f"{LOCK}-{folder.name}") if beside else folder / LOCK
    make_folder(path.parent)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        holder = path.read_text(errors="replace").strip()
        process = f"process {holder}" if holder else "another process"
        raise FileExistsError(
            f"{folder} is being {activity} by {process}; wait for it, stop it, or choose another folder"
        ) from None
    except OSError as error:
        raise write_failed(path, error) from error
    try:
        with suppress(OSError):  # on a full disk the lock holds all the same
            path.write_text(f"{os.getpid()}\n")
        yield
    finally:
        lock.release()
        path.unlink(missing_ok=True)
