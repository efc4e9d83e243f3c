"""Writes that fail: the room that writes (xmcgan.runtime.files), wrapped so that one of its writes tears and fails."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xmcgan.runtime import files

CODES = (errno.ENOSPC, errno.EIO, errno.EPIPE)


class Faults:
    """Counts the writes of the room, and lets one of them fail.

    Args:
        at: number of the write that fails, from 1; 0 for none.
        code: of the system's error.
        name: instead of ``at``, fails the writes of a file of this name, after ``skipped`` ones of it.
    """

    def __init__(self, at: int = 0, code: int = errno.ENOSPC, name: str = "", skipped: int = 0):
        self.name, self.skipped = name, skipped
        self.at, self.code, self.count, self.failed = at, code, 0, ""
        self.commit, self.append_bytes = files.commit, files.append_bytes

    def fails(self, path: Path) -> bool:
        """Counts a write, and whether it is to fail."""
        self.count += 1
        if self.name and path.name == self.name:
            self.skipped -= 1
            return self.skipped < 0
        return self.count == self.at

    def failing_commit(self, partial: Path, path: Path, *, flush: bool) -> None:
        """What is not named yet is cut in half, as a full disk leaves it."""
        if self.fails(path):
            self.failed = str(path)
            torn = [partial] if partial.is_file() else [each for each in partial.rglob("*") if each.is_file()]
            for each in torn:
                os.truncate(each, each.stat().st_size // 2)
            raise OSError(self.code, os.strerror(self.code))
        self.commit(partial, path, flush=flush)

    def failing_append(self, descriptor: int, content: bytes) -> None:
        """Half of the bytes arrive."""
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if self.fails(path):
            self.failed = str(path)
            os.write(descriptor, content[: len(content) // 2])
            raise OSError(self.code, os.strerror(self.code))
        self.append_bytes(descriptor, content)


@contextmanager
def faulty_writes(at: int = 0, code: int = errno.ENOSPC) -> Iterator[Faults]:
    """Lets write number ``at`` within the block fail; with 0 it only counts them."""
    with patched(Faults(at, code)) as faults:
        yield faults


@contextmanager
def faulty_writes_of(name: str, code: int = errno.ENOSPC, *, skipped: int = 0) -> Iterator[Faults]:
    """Lets the writes of files of this name within the block fail, but not the first ``skipped``."""
    with patched(Faults(0, code, name, skipped)) as faults:
        yield faults


@contextmanager
def patched(faults: Faults) -> Iterator[Faults]:
    files.commit, files.append_bytes = faults.failing_commit, faults.failing_append  # ty: ignore[invalid-assignment]
    try:
        yield faults
    finally:
        files.commit, files.append_bytes = faults.commit, faults.append_bytes
