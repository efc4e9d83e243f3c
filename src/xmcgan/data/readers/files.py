"""Finds the files of a data folder safely, and reads CSV tables and text lists row by row."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from xmcgan.data.readers.annotations import shown, text
from xmcgan.data.records import Problem


class Files:
    """Finds the files below a folder that annotations name; each folder is listed only once.

    A name that leads out of the folder, by an absolute path, ``..`` or a link, is refused even if the file exists:
    annotations must not give access to the rest of the disk. The folder itself may be a link.

    Args:
        folder: the folder that names are relative to.
        root: the data set's folder; links may also lead into it.
    """

    def __init__(self, folder: Path, root: Path):
        self.folder = folder
        self._allowed = tuple(Path(os.path.realpath(path)) for path in (folder, root))
        self._listed: dict[str, frozenset[str]] = {}

    def find(self, name: str) -> Path:
        """The path of a file by its name.

        Raises:
            ValueError: if the file is missing or may not be read; the message continues the name of the place.
        """
        path = PurePosixPath(text(name))
        if not path.name or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise ValueError(f"is {shown(name)}; it should be the name of a file inside {self.folder}")
        try:
            found = path.name in self.list(str(path.parent))
        except OSError as error:  # such as a name too long for the file system
            raise ValueError(f"is {shown(name)}; it cannot be looked up: {error.strerror}") from error
        if not found:
            there = os.path.lexists(self.folder / path)
            reason = "leads out of the data set, or to no file" if there else f"is not in {self.folder}"
            raise ValueError(f"is {shown(name)}; it {reason}")
        return self.folder / path

    def list(self, subfolder: str = ".") -> frozenset[str]:
        """The names of the readable files of a subfolder; none if there is no such folder."""
        if subfolder not in self._listed:
            place = self.folder / subfolder
            names = []
            if place.is_dir() and self.holds(place):
                with os.scandir(place) as entries:
                    names = [entry.name for entry in entries if self._is_readable(entry)]
            self._listed[subfolder] = frozenset(names)
        return self._listed[subfolder]

    def holds(self, path: Path) -> bool:
        """Whether a path is inside the folder or the root after following links."""
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(folder) for folder in self._allowed)

    def _is_readable(self, entry: os.DirEntry[str]) -> bool:
        # Only links need further system calls.
        if entry.is_symlink():
            return self.holds(Path(entry.path)) and Path(entry.path).is_file()
        return entry.is_file()


def csv_rows(file: Path, delimiter: str = ",") -> Iterator[tuple[int, list[str]] | Problem]:
    """The rows of a table, each with the number of its last line; blank lines are skipped.

    Bytes that are not UTF-8 stay in their cell as surrogates, so only their own row is affected.
    """
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Problem(f"{file}, line {reader.line_num}", f"is not a valid row: {error}")
                continue
            if row:
                yield reader.line_num, row


def text_lines(file: Path) -> Iterator[tuple[int, str] | Problem]:
    """The lines of a text file with their numbers, without spaces around; one that is not UTF-8 is a problem."""
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                yield Problem(f"{file}, line {number}", f"is not UTF-8: {error}")
