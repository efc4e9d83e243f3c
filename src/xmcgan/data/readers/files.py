"""Finds the files of a data folder safely, and reads text line by line."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from xmcgan.data.readers.annotations import OTHER_ENCODINGS, decoded, printable, shown, text
from xmcgan.data.records import Problem
from xmcgan.data.remote import RemotePath, SourcePath, walk


class Files:
    """Finds the files below a folder that annotations name; each folder is listed only once.

    A name that leads out of the folder, by an absolute path, ``..`` or a link, is refused even if the file exists:
    annotations must not give access to the rest of the disk. The folder itself may be a link.

    Args:
        folder: the folder that names are relative to.
        root: the data set's folder; links may also lead into it.
    """

    def __init__(self, folder: SourcePath, root: SourcePath):
        self.folder = folder
        self._allowed = tuple(Path(os.path.realpath(path)) for path in (folder, root) if isinstance(path, Path))
        self._listed: dict[str, frozenset[str]] = {}

    def find(self, name: str) -> SourcePath:
        """The path of a file by its name.

        Raises:
            ValueError: if the file is missing or may not be read; the message is meant to follow the place.
        """
        path = PurePosixPath(text(name))
        if not path.name or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise ValueError(f"is {shown(name)}; it should be the name of a file inside {self.folder}")
        try:
            found = path.name in self.list(str(path.parent))
            # A web server may have no page that lists a folder.
            found = found or (isinstance(self.folder, RemotePath) and (self.folder / path).is_file())
        except OSError as error:  # such as a name too long for the file system
            raise ValueError(f"is {shown(name)}; it cannot be looked up: {error.strerror}") from error
        if not found:
            there = isinstance(self.folder, Path) and os.path.lexists(self.folder / path)
            reason = "leads out of the data set, or to no file" if there else f"is not in {self.folder}"
            raise ValueError(f"is {shown(name)}; it {reason}")
        return self.folder / path

    def list(self, subfolder: str = ".") -> frozenset[str]:
        """The names of the readable files of a subfolder; empty if there is no such folder."""
        if subfolder not in self._listed:
            place = self.folder / subfolder
            names = []
            if isinstance(place, RemotePath):
                names = [path.name for path in place.iterdir() if path.is_file()]
            elif place.is_dir() and self.holds(place):
                with os.scandir(place) as entries:
                    names = [entry.name for entry in entries if self._is_readable(entry)]
            self._listed[subfolder] = frozenset(names)
        return self._listed[subfolder]

    def holds(self, path: SourcePath) -> bool:
        """Whether a path is inside the folder or the root after following links; at a URL no links are followed."""
        if isinstance(path, RemotePath):
            return True
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(folder) for folder in self._allowed)

    def _is_readable(self, entry: os.DirEntry[str]) -> bool:
        # Only links need further system calls.
        if entry.is_symlink():
            return self.holds(Path(entry.path)) and Path(entry.path).is_file()
        return entry.is_file()


MOST_TEXT = 16 << 20
"""Bytes of captions or JSON that one image may have. More is another kind of file, and would be read into memory."""

MOST_LINE = 64 << 20
"""Bytes of a line of a table or list."""

MOST_LISTED = 100
"""Unused files of one kind that are listed one by one; the others are counted."""


class Unused:
    """Lists unused files, lines and members: the first `MOST_LISTED` of a kind one by one, the others as a count."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._last: dict[str, Problem] = {}

    def add(self, where: str, reason: str, kind: str | None = None) -> Iterator[Problem]:
        """Records a file, line or member, and yields a problem if it is among the first of its kind.

        Args:
            kind: what it counts as; by default the reason.
        """
        kind = reason if kind is None else kind
        self._counts[kind] += 1
        problem = Problem(where, reason, detail=True, unused=True)
        if self._counts[kind] <= MOST_LISTED:
            yield problem
        else:
            self._last[kind] = problem

    def rest(self) -> Iterator[Problem]:
        """A problem for each kind that had more."""
        for kind, last in self._last.items():
            others = self._counts[kind] - MOST_LISTED - 1
            yield last._replace(reason=last.reason + (f"; nor are {others:,} others like it" if others else ""))


def unused_files(folder: SourcePath, names: Iterable[str], reason: str) -> Iterator[Problem]:
    """A problem for each file that no record uses, as `Unused` lists them.

    Args:
        names: relative to the folder.
    """
    unused = Unused()
    for name in sorted(names):
        yield from unused.add(printable(folder / name), reason)
    yield from unused.rest()


def below(folder: SourcePath) -> set[str]:
    """The names of all files below a folder, relative to it; links to folders are not followed."""
    found = set()
    for place, _, names in walk(folder):
        relative = str(place)[len(str(folder)) + 1 :]
        found |= {f"{relative}/{name}" if relative else name for name in names}
    return found


def text_of(file: SourcePath) -> bytes:
    """The content of a file of captions.

    Raises:
        ValueError: if it is too large; the message is meant to follow the file's name.
    """
    if (size := file.stat().st_size) > MOST_TEXT:
        raise ValueError(f"has {size:,} bytes; captions of one image should be at most {MOST_TEXT:,}")
    return file.read_bytes()


def byte_lines(file: SourcePath) -> Iterator[tuple[int, bytes] | Problem]:
    """The lines of a file with their numbers; a line that is too long is a problem, and is not kept in memory.

    Raises:
        ValueError: naming the file, if it is UTF-16 or UTF-32.
    """
    with file.open("rb") as stream:
        number = 0
        while line := stream.readline(MOST_LINE):
            number += 1
            if number == 1 and line.startswith(OTHER_ENCODINGS):
                raise ValueError(f"{file} is UTF-16 or UTF-32; save it as UTF-8")
            if len(line) < MOST_LINE:
                yield number, line
                continue
            while line and not line.endswith(b"\n"):
                line = stream.readline(MOST_LINE)
            yield Problem(f"{file}, line {number}", f"has more than {MOST_LINE:,} bytes")


def filled_lines(file: SourcePath) -> Iterator[tuple[str, bytes] | Problem]:
    """The lines of a file that are not blank, each with its place for messages (`byte_lines`)."""
    for each in byte_lines(file):
        if isinstance(each, Problem):
            yield each
        elif each[1].strip():
            yield f"{file}, line {each[0]}", each[1]


def text_lines(file: SourcePath) -> Iterator[tuple[int, str] | Problem]:
    """The lines of a text file with their numbers, without surrounding spaces; a line that is not UTF-8 is a problem.

    Raises:
        ValueError: naming the file, if it is UTF-16 or UTF-32.
    """
    for each in byte_lines(file):
        if isinstance(each, Problem):
            yield each
            continue
        number, line = each
        try:
            yield number, decoded(line).strip()
        except ValueError as error:
            yield Problem(f"{file}, line {number}", str(error))
