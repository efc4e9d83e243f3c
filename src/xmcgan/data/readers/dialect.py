"""Reads delimited tables by their dialect: the character that separates columns, and whether quotation marks quote."""

import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, get_args

from xmcgan.config import DialectName
from xmcgan.data.readers.files import byte_lines
from xmcgan.data.records import Problem
from xmcgan.data.remote import SourcePath

SEPARATORS = {"comma": ",", "tab": "\t", "semicolon": ";", "bar": "|"}

SAMPLE = 100_000
"""Number of a table's lines that are used to detect its dialect."""

LONG, LONGER = 1000, 20
"""A row longer than ``LONG`` characters, and than ``LONGER`` times the average of the rows before it, is reported."""


class Dialect(NamedTuple):
    """How the cells of a table are separated.

    Args:
        separator: one of `SEPARATORS`.
        quoted: a cell in quotation marks may hold separators, line ends and doubled quotation marks (RFC 4180).
            Otherwise quotation marks are part of the text, as in tab-separated values.
    """

    separator: str
    quoted: bool

    def __str__(self) -> str:
        return (
            f"{self.separator}-separated, quotation marks {'enclose cells' if self.quoted else 'are part of the text'}"
        )

    def cells(self, line: str) -> list[str]:
        """The cells of a line whose quotation marks are text."""
        return line.rstrip("\r\n").split(SEPARATORS[self.separator])


DIALECTS: dict[str, Dialect] = {
    name: Dialect(name.removesuffix("-unquoted"), not name.endswith("-unquoted")) for name in get_args(DialectName)
}
"""The dialects that a user can name."""


def find_dialect(file: SourcePath, is_header: Callable[[Sequence[str]], bool]) -> Dialect:
    """The dialect of a table, from its name, its first line, and the quotation marks of its first `SAMPLE` lines.

    Commas and semicolons are read with quotes, as spreadsheets write them. With tabs and bars, quotation marks quote
    only if that leaves fewer broken rows than taking them as text, or if every quoted cell is well formed.

    Args:
        is_header: whether the first line, in cells, has the columns that are needed.
    """
    first = ("tab", "comma") if file.suffix == ".tsv" else ("comma", "tab")
    lines = [text for _, text in itertools.islice(_texts(file, []), SAMPLE)]
    header = lines[0] if lines else ""
    separator = first[0]
    for name in (*first, "semicolon", "bar"):
        if is_header(_quoted_cells(header, name)):
            separator = name
            break
    quoted = Dialect(separator, True)
    if separator in ("comma", "semicolon"):
        return quoted
    plain = Dialect(separator, False)
    if not is_header(plain.cells(header)):
        return quoted
    columns = len(plain.cells(header))
    broken = sum(len(plain.cells(line)) != columns for line in lines if line.strip())
    return plain if broken <= _broken_if_quoted(lines, quoted, columns) and _has_stray(lines, plain) else quoted


def _quoted_cells(line: str, separator: str) -> list[str]:
    """The cells of a single line in which quotation marks quote; none if it is not valid."""
    try:
        return next(csv.reader([line], delimiter=SEPARATORS[separator]), [])
    except csv.Error:
        return []


def _has_stray(lines: Sequence[str], dialect: Dialect) -> bool:
    """Whether any cell has a quotation mark that does not enclose the whole cell."""
    cells = (cell for line in lines for cell in dialect.cells(line) if '"' in cell)
    return any(cell[0] != '"' or cell[-1] != '"' or '"' in cell[1:-1].replace('""', "") for cell in cells)


def _broken_if_quoted(lines: Sequence[str], dialect: Dialect, columns: int) -> int:
    """How many rows would be broken, or swallowed by a quoted cell, if quotation marks quote."""
    broken, taken, plain = 0, [], Dialect(dialect.separator, False)

    def feed() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    reader = csv.reader(feed(), delimiter=SEPARATORS[dialect.separator], strict=True)
    while True:
        taken.clear()
        try:
            row = next(reader)
        except StopIteration:
            return broken
        except csv.Error:
            broken += 1
            continue
        broken += bool(row) and len(row) != columns
        broken += sum(len(plain.cells(line)) == columns for line in taken[1:])


def table_rows(
    file: SourcePath, dialect: Dialect, is_row: Callable[[Sequence[str]], bool] = lambda cells: False
) -> Iterator[tuple[str, list[str]] | Problem]:
    """The rows of a table, each with its place for messages; blank lines are skipped.

    Bytes that are not UTF-8 stay in their cell as surrogates, so only their own row is affected.

    Args:
        is_row: whether a line, in cells, looks like a row. A row with a quoted cell that holds such a line is a
            problem: a quotation mark is missing or stray.
    """
    problems: list[Problem] = []
    taken: list[tuple[int, str]] = []
    rows = _quoted_rows if dialect.quoted else _plain_rows
    count = total = 0
    for each in rows(file, dialect, taken, problems):
        yield from problems
        problems.clear()
        first, last = taken[0][0], taken[-1][0]
        where = f"{file}, line {last}" if first == last else f"{file}, lines {first} to {last}"
        length = sum(len(text) for _, text in taken)
        inside = [line for line, text in taken[1:] if is_row(dialect.cells(text))]
        if isinstance(each, csv.Error):
            yield Problem(where, f"is not a valid row: {each}")
        elif inside:
            yield Problem(
                where, f"is one row by its quotation marks, but line {inside[0]} is a row too: is one of them stray?"
            )
        elif each:
            if count >= 5 and length > max(LONG, LONGER * total / count):
                reason = (
                    f"is {length:,} characters long, the rows before it {total / count:.0f} on average (it is kept)"
                )
                yield Problem(where, reason, detail=True)
            yield where, each
        count, total = count + 1, total + length
    yield from problems


def _texts(file: SourcePath, problems: list[Problem]) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, decoded; problems are added to the list."""
    for each in byte_lines(file):
        if isinstance(each, Problem):
            problems.append(each)
        else:
            number, line = each
            yield number, line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").decode(errors="surrogateescape")


def _plain_rows(
    file: SourcePath, dialect: Dialect, taken: list[tuple[int, str]], problems: list[Problem]
) -> Iterator[list[str]]:
    """The cells of each line; ``taken`` holds the line."""
    for number, line in _texts(file, problems):
        taken[:] = [(number, line)]
        yield dialect.cells(line) if line.strip() else []


def _quoted_rows(
    file: SourcePath, dialect: Dialect, taken: list[tuple[int, str]], problems: list[Problem]
) -> Iterator[list[str] | csv.Error]:
    """The cells of each row, or its error; ``taken`` holds the row's lines."""

    def feed() -> Iterator[str]:
        for numbered in _texts(file, problems):
            taken.append(numbered)
            yield numbered[1]

    reader = csv.reader(feed(), delimiter=SEPARATORS[dialect.separator], strict=True)
    while True:
        taken.clear()
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield error
