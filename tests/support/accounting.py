"""What of a source was read, and what was named by a problem: the rest was passed over in silence."""

import re
from collections.abc import Iterable
from pathlib import Path

from hypothesis import reject

from xmcgan.data.layouts import read_entries
from xmcgan.data.readers.sources import annotation_files
from xmcgan.data.records import Crop, Problem, Record, Slice


class Source:
    """What was read of a source, and what was named by a problem."""

    def __init__(self, root: Path, layout: str, splits: Iterable[str]):
        self.root = root
        self.records: list[Record] = []
        self.problems: list[Problem] = []
        self.read: set[Path] = set()
        for split in splits:
            try:
                for entry in read_entries(root, layout, split, annotations=True):
                    (self.records if isinstance(entry, Record) else self.problems).append(entry)
            except FileNotFoundError:
                continue  # no such split: nothing of it is there
            except ValueError:  # no entry is usable, which is said of the whole split
                reject()
            self.read |= set(annotation_files(root, layout, split))
        self.words = {word for record in self.records for text in record.captions for word in re.findall(r"w\d+", text)}
        for record in self.records:
            image = record.image
            self.read.add(image.file if isinstance(image, Slice | Crop) else image)

    def missed(self, lines: bool = True) -> list[str]:
        """The files, and the lines of text files, that are neither read nor named."""
        found = []
        for path in sorted(path for path in self.root.rglob("*") if path.is_file()):
            if path not in self.read and not self.names(str(path)):
                found.append(str(path))
            elif path in self.read and lines and path.suffix in (".txt", ".csv", ".tsv", ".jsonl"):
                content = path.read_bytes().split(b"\n")
                found += [
                    f"{path}, line {k}: {line}" for k, line in enumerate(content, 1) if not self.has(path, k, line)
                ]
        return found

    def has(self, path: Path, number: int, line: bytes) -> bool:
        """Whether a line is blank, or is found in a record, or is named by a problem."""
        words = re.findall(rb"w\d+", line)
        if not line.strip() or (words and all(word.decode() in self.words for word in words)):
            return True
        is_header = number == 1 and b"path" in line
        return (
            is_header
            or self.names(f"{path}, line {number}")
            or any(
                int(match[1]) <= number <= int(match[2])
                for problem in self.problems
                if (match := re.search(re.escape(str(path)) + r", lines (\d+) to (\d+)", problem.where))
            )
            or self.names_whole(path)
        )

    def names_whole(self, path: Path) -> bool:
        """Whether a problem is about a whole file of captions."""
        return any(problem.where == str(path) for problem in self.problems)

    def names(self, place: str) -> bool:
        """Whether a problem names a place."""
        pattern = re.compile(re.escape(place) + r"(?!\d)")
        return any(pattern.search(f"{problem.where} {problem.reason}") for problem in self.problems)
