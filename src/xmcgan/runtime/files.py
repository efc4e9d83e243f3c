"""Atomic writing of files, and JSON."""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_file(path: Path, *, partial: Path | None = None, flush: bool = False) -> Generator[Path]:
    """Yields a temporary path, renamed to ``path`` at the end of the block. On an error, ``path`` stays as it was.

    Args:
        partial: the temporary path; by default ``.partial-NAME`` beside the file.
        flush: wait until the file and its name are on disk, so that they survive a power failure.
    """
    partial = path.with_name(f".partial-{path.name}") if partial is None else partial
    try:
        yield partial
        if flush:
            flush_to_disk(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if flush:
        flush_to_disk(path.parent)


def write_bytes(path: Path, content: bytes, *, flush: bool = False) -> Path:
    """Writes a file atomically and returns its path."""
    with atomic_file(path, flush=flush) as partial:
        partial.write_bytes(content)
    return path


def write_text(path: Path, text: str, *, flush: bool = False) -> Path:
    """Writes a UTF-8 file atomically and returns its path."""
    return write_bytes(path, text.encode(), flush=flush)


def write_json(
    path: Path, content: Any, *, indent: int = 2, ensure_ascii: bool = True, sort_keys: bool = False
) -> Path:
    """Writes a JSON file atomically and returns its path."""
    return write_text(path, to_json(content, indent=indent, ensure_ascii=ensure_ascii, sort_keys=sort_keys))


def to_json(content: Any, *, indent: int = 2, ensure_ascii: bool = True, sort_keys: bool = False) -> str:
    """The text of a JSON file."""
    return json.dumps(content, indent=indent, ensure_ascii=ensure_ascii, sort_keys=sort_keys) + "\n"


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: naming the file, if it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def flush_to_disk(path: Path) -> None:
    """Waits until a file's content, or a folder's entries, are on disk."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
