"""Which files of a data folder may be read, and tables row by row."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from xmcgan.data.readers.annotations import shown, text
from xmcgan.data.records import Problem


class Files:
    """The files below a folder by the names that annotations give them; each of its folders is listed once.

    A name that leads out, as an absolute path, by ``..`` or through a link, is refused even where the file exists:
    whoever wrote the annotations has no say in what else of the disk is read. The folder itself may be a link.

    Args:
        folder: what names are relative to.
        root: of the data set, into which links may lead as well.
    """

    def __init__(self, folder: Path, root: Path):
        self.folder = folder
        self._allowed = tuple(Path(os.path.realpath(path)) for path in (folder, root))
        self._listed: dict[str, frozenset[str]] = {}

    def find(self, name: str) -> Path:
        """The file of a name.

        Raises:
            ValueError: going on from the name's place, if it is not there or may not be read.
        """
        path = PurePosixPath(text(name))
        if not path.name or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise ValueError(f"is {shown(name)}; it should be the name of a file inside {self.folder}")
        try:
            found = path.name in self.list(str(path.parent))
        except OSError as error:  # such as a name longer than the file system's
            raise ValueError(f"is {shown(name)}; it cannot be looked up: {error.strerror}") from error
        if not found:
            there = os.path.lexists(self.folder / path)
            reason = "leads out of the data set, or to no file" if there else f"is not in {self.folder}"
            raise ValueError(f"is {shown(name)}; it {reason}")
        return self.folder / path

    def list(self, subfolder: str = ".") -> frozenset[str]:
        """Names of the files of a subfolder that may be read; none if there is no such folder."""
        if subfolder not in self._listed:
            place = self.folder / subfolder
            names = []
            if place.is_dir() and self.holds(place):
                with os.scandir(place) as entries:
                    names = [entry.name for entry in entries if self._is_readable(entry)]
            self._listed[subfolder] = frozenset(names)
        return self._listed[subfolder]

    def holds(self, path: Path) -> bool:
        """Whether a path, its links followed, stays inside."""
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(folder) for folder in self._allowed)

    def _is_readable(self, entry: os.DirEntry[str]) -> bool:
        # What is no link costs no look at the disk.
        if entry.is_symlink():
            return self.holds(Path(entry.path)) and Path(entry.path).is_file()
        return entry.is_file()


def csv_rows(file: Path, delimiter: str = ",") -> Iterator[tuple[int, list[str]] | Problem]:
    """The rows of a table, each with the number of its last line; blank lines are passed over.

    Bytes that are no UTF-8 stay in their cell as surrogates, so that they spoil no row but theirs.
    """
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Problem(f"{file}, line {reader.line_num}", f"is no row of a table: {error}")
                continue
            if row:
                yield reader.line_num, row
