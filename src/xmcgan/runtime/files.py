"""Every write of the library, and JSON. A file, a folder or a line is written completely or not at all.

A write that fails raises one ``WriteFailed`` that names the file and the reason. Every write ends in ``commit`` or
``append_bytes``, so that a test can make each of them fail (tests/runtime/test_write_faults.py).
"""

import errno
import io
import json
import os
import re
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

DEEPEST = 100
"""Most levels of nesting in a JSON file; the library's own files have at most 6."""


class WriteFailed(OSError):
    """A file could not be written: no space, no permission, a broken disk. What was there before is still there."""


@contextmanager
def write_errors(path: Path) -> Generator[None]:
    """Turns errors of the operating system within the block into one ``WriteFailed`` that names the file.

    Errors about other files, such as one that is read within the block, pass unchanged.
    """
    try:
        yield
    except WriteFailed:
        raise
    except OSError as error:
        named = str(error.filename or "")
        if named and Path(named).parent != path.parent and not Path(named).is_relative_to(path.parent):
            raise
        raise write_failed(path, error) from error
    except Exception as error:  # libraries in Rust and C++ raise their own errors, with the system's error as text
        code = system_error(error)
        if code is None:
            raise
        raise write_failed(path, OSError(code, os.strerror(code))) from error


def write_failed(path: Path, error: OSError) -> WriteFailed:
    """The error for a file that could not be written, with the reason."""
    reason = error.strerror or str(error)
    advice = "; free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return WriteFailed(f"{path} could not be written: {reason}{advice}")


def system_error(error: Exception) -> int | None:
    """The system's error number that a library wrote into its own message; None if there is none."""
    text = str(error)
    found = re.search(r"os error (\d+)", text)
    if found:
        return int(found[1])
    if "PytorchStreamWriter failed" in text:  # it does not say why
        return errno.EIO
    return next(
        (code for code in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EPIPE) if os.strerror(code) in text), None
    )


@contextmanager
def atomic_file(path: Path, *, partial: Path | None = None, flush: bool = False) -> Generator[Path]:
    """Yields a temporary path, renamed to ``path`` at the end of the block. On an error, ``path`` is unchanged.

    Args:
        partial: the temporary path; by default ``.partial-NAME`` beside the file.
        flush: wait until the file and its name are on disk, so that they survive a power failure.

    Raises:
        WriteFailed: naming ``path``, if the system cannot write it.
    """
    partial = path.with_name(f".partial-{path.name}") if partial is None else partial
    try:
        with write_errors(path):
            yield partial
            commit(partial, path, flush=flush)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class NamedWriter(io.FileIO):
    """An open file whose write errors name another file: the one that it will become."""

    def __init__(self, partial: Path, path: Path):
        super().__init__(partial, "w")
        self.path = path

    def write(self, content: Any, /) -> int:
        """Writes some of the bytes and returns how many."""
        with write_errors(self.path):
            return super().write(content)


@contextmanager
def atomic_stream(
    path: Path, *, partial: Path | None = None, flush: bool = False
) -> "Generator[io.BufferedWriter[Any]]":
    """Like ``atomic_file``, but yields an open binary file, and only errors of its writes are reported for ``path``.

    For content that is read or computed within the block, whose own errors pass unchanged.
    """
    with named_when_whole(path, partial=partial, flush=flush) as partial:
        with write_errors(path):
            raw = NamedWriter(partial, path)
        with io.BufferedWriter(raw) as stream:
            yield stream


@contextmanager
def named_when_whole(path: Path, *, partial: Path | None = None, flush: bool = False) -> Generator[Path]:
    """Like ``atomic_file``, but errors within the block pass unchanged: for blocks that can fail for other reasons."""
    partial = path.with_name(f".partial-{path.name}") if partial is None else partial
    try:
        yield partial
        give_name(partial, path, flush=flush)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def give_name(partial: Path, path: Path, *, flush: bool = False) -> None:
    """Renames a complete file or folder.

    Raises:
        WriteFailed: naming ``path``, if the system cannot do it.
    """
    with write_errors(path):
        commit(partial, path, flush=flush)


@contextmanager
def atomic_folder(folder: Path, *, flush: bool = False, replace: bool = False) -> Generator[Path]:
    """Yields a new temporary folder, renamed to ``folder`` at the end of the block; on an error it is removed.

    Args:
        flush: wait until every file and name is on disk.
        replace: replace an existing folder. If the process dies between the two renames, the former one is beside it as
            ``.former-NAME`` (``restore_former``).

    Raises:
        WriteFailed: naming ``folder``, if the system cannot write it.
    """
    partial, former = folder.with_name(f".partial-{folder.name}"), former_of(folder)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with write_errors(folder):
            partial.mkdir(parents=True)
            yield partial
            if replace and folder.exists():
                shutil.rmtree(former, ignore_errors=True)
                folder.rename(former)
            commit(partial, folder, flush=flush)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if replace:
            restore_former(folder)
        if isinstance(error, WriteFailed):  # of a file in the temporary folder, which is gone
            raise WriteFailed(str(error).replace(str(partial), str(folder))) from error
        raise
    if replace:
        shutil.rmtree(former, ignore_errors=True)


def former_of(folder: Path) -> Path:
    """The temporary place of a folder while another one replaces it."""
    return folder.with_name(f".former-{folder.name}")


def restore_former(folder: Path) -> None:
    """Puts back a folder whose replacement was interrupted between the two renames."""
    if not folder.exists() and former_of(folder).is_dir():
        former_of(folder).rename(folder)


def commit(partial: Path, path: Path, *, flush: bool) -> None:
    """Gives a complete file or folder its final name."""
    if flush:
        for each in [*(partial.rglob("*") if partial.is_dir() else ()), partial]:
            flush_to_disk(each)
    partial.replace(path)
    if flush:
        flush_to_disk(path.parent)


def append_text(path: Path, text: str) -> None:
    """Appends UTF-8 lines to a file (``append_content``)."""
    append_content(path, text.encode())


def append_content(path: Path, content: bytes) -> None:
    """Appends bytes to a file and waits until they are on disk; on an error the file keeps its former length.

    Other processes that append to it wait, so none cuts off what another has written.

    Raises:
        WriteFailed: naming the file, if the system cannot write it.
    """
    with write_errors(path), path.open("ab", buffering=0) as stream:
        if fcntl is not None:
            fcntl.flock(stream, fcntl.LOCK_EX)
        length = stream.seek(0, os.SEEK_END)
        try:
            append_bytes(stream.fileno(), content)
        except BaseException:
            os.ftruncate(stream.fileno(), length)
            raise


def append_bytes(descriptor: int, content: bytes) -> None:
    """Writes all bytes at the end of an open file, and waits until they are on disk."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


def make_folder(folder: Path) -> Path:
    """Makes a folder and its parents, if they do not exist.

    Raises:
        WriteFailed: naming the folder, if it cannot be made, for example because a file is in the way.
    """
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_bytes(path: Path, content: bytes, *, flush: bool = False) -> Path:
    """Writes a file atomically and returns its path."""
    with atomic_file(path, flush=flush) as partial:
        partial.write_bytes(content)
    return path


def write_text(path: Path, text: str, *, flush: bool = False) -> Path:
    """Writes a UTF-8 file atomically and returns its path."""
    return write_bytes(path, text.encode(), flush=flush)


def write_new(path: Path, content: bytes, *, overwrite: bool = False) -> Path:
    """Writes a file atomically, unless it exists with other content; returns its path.

    Raises:
        FileExistsError: if it exists with other content, and ``overwrite`` is false.
    """
    if path.exists() and not overwrite:
        if path.is_dir() or path.read_bytes() != content:
            raise FileExistsError(f"{path} is there with other content and stays as it is; choose another --output")
        return path
    return write_bytes(path, content)


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
    return parse_json(path.read_bytes(), str(path))


def parse_json(text: bytes | str, name: str) -> Any:
    """The content of a JSON text, nested at most ``DEEPEST`` levels.

    Args:
        name: the file or line that it comes from, for the error.

    Raises:
        ValueError: naming it, if it is not JSON.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError(f"{name} is not JSON of this library: it is nested too deeply") from None
    except ValueError as error:  # also for bytes that are not UTF-8, and numbers of thousands of digits
        raise ValueError(f"{name} is not JSON: {error}") from error
    if nested_deeper(content, DEEPEST):
        raise ValueError(f"{name} is not JSON of this library: it is nested too deeply")
    return content


def nested_deeper(content: Any, levels: int) -> bool:
    """Whether a JSON value is nested deeper than ``levels``."""
    layer: list[Any] = [content]
    for _ in range(levels):
        layer = [inner for value in layer for inner in children(value)]
        if not layer:
            return False
    return True


def children(value: Any) -> Iterable[Any]:
    """The lists and objects inside a list or an object."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (inner for inner in values if isinstance(inner, dict | list))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one per line; empty lines are skipped.

    Raises:
        ValueError: naming the file and the line that is not a JSON object.
    """
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            content = parse_json(line, f"{path}, line {number}")
            if not isinstance(content, dict):
                raise ValueError(f"{path}, line {number} should be a JSON object, not {type(content).__name__}")
            found.append(content)
    return found


def read_object(path: Path, *fields: str) -> dict[str, Any]:
    """The content of a JSON file that holds an object with these fields.

    Raises:
        ValueError: naming the file, if it is not JSON, not an object, or lacks a field.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it should be a JSON object, not {type(content).__name__}")
    missing = [name for name in fields if name not in content]
    if missing:
        raise ValueError(f"{path} is damaged: it lacks {', '.join(missing)}")
    return content


def flush_to_disk(path: Path) -> None:
    """Waits until a file's content, or a folder's entries, are on disk."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
