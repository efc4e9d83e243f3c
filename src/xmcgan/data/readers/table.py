"""Reads a table of image paths and captions: ``train.csv``, ``.tsv``, ``.jsonl`` or ``.parquet``."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from xmcgan.data.readers.annotations import good_ones, parse_json, printable, shown, text, words
from xmcgan.data.readers.dialect import Dialect, find_dialect, table_rows
from xmcgan.data.readers.files import Files, Unused, below, filled_lines, unused_files
from xmcgan.data.records import Problem, Record, details
from xmcgan.data.remote import SourcePath

PATHS = ("path", "image", "file_name", "filename")
CAPTIONS = ("caption", "text", "captions")

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class Row(NamedTuple):
    """A row of a table: its place, an image path, and a caption or a list of captions."""

    where: str
    path: Any
    captions: Any


def read_table(
    root: SourcePath, split: str, *, annotations: bool = False, dialect: Dialect | None = None
) -> Iterator[Record | Problem]:
    """The images of a table, in order of first appearance; a record's id is its path.

    An image can have several rows, and a cell in JSON or parquet can be a list of captions. Because the rows of an
    image can be anywhere, records are yielded after the whole table is read.

    Args:
        root: the folder of the table, which paths are relative to; or the table itself, as the split "train".
        split: the table's name without its suffix. One column must be named path, image, file_name or filename, and
            one caption, text or captions.
        annotations: ignored: this layout has none.
        dialect: the dialect of a .csv or .tsv; detected if not given (`find_dialect`).

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: if there are several tables, a column is missing, or no image has a caption.
    """
    root_is_file, file = root.is_file(), find_table(root, split)
    root = file.parent
    files, without = Files(root, root), Unused()
    images: dict[str, tuple[SourcePath, list[str]] | None] = {}  # None: unreadable, and already reported
    for row in rows_of(file, dialect):
        if isinstance(row, Problem):
            yield row
            continue
        try:
            name = PurePosixPath(text(row.path)).as_posix()
            if name not in images:
                images[name] = None
                images[name] = files.find(name), []
        except ValueError as error:
            yield Problem(row.where, f"the image's path {error}")
            continue
        if (image := images[name]) is None:
            yield from without.add(row.where, f"is about {printable(name)}, which an earlier row names", "row")
            continue
        found_captions = row.captions if isinstance(row.captions, list) else [row.captions]
        image[1].extend((yield from details(good_ones(row.where, "caption", found_captions, words))))
        if not found_captions:
            yield Problem(row.where, "its list of captions is empty", detail=True)
    yield from without.rest()
    if not root_is_file:
        yield from unnamed_images(root, file, images)
    empty = True
    for name, image in images.items():
        if image and image[1]:
            empty = False
            yield Record(image[0], tuple(image[1]), name)
        elif image:
            yield Problem(f"{file}, image {name}", "has no usable caption")
    if empty:
        raise ValueError(f"{file} has no image with a caption")


def unnamed_images(root: SourcePath, file: SourcePath, named: Collection[str]) -> Iterator[Problem]:
    """A problem for each image below the table's folder that neither this table nor another one beside it names."""
    names = {name for name in below(root) if PurePosixPath(name).suffix.lower() in IMAGES} - set(named)
    for other in root.iterdir():
        if names and other != file and other.suffix in ROWS and other.is_file():
            try:
                for row in ROWS[other.suffix](other):
                    if isinstance(row, Row) and isinstance(row.path, str):
                        names.discard(PurePosixPath(row.path).as_posix())
            except ValueError:
                continue  # it is not a table of images
    yield from unused_files(root, names, "is an image that no row names")


def rows_of(file: SourcePath, dialect: Dialect | None = None) -> Iterator[Row | Problem]:
    """The rows of a table.

    Raises:
        ValueError: if a dialect is given for a table that has none, or the columns are missing.
    """
    if dialect is None:
        return ROWS[file.suffix](file)
    if file.suffix not in (".csv", ".tsv"):
        raise ValueError(f"{file} has no dialect; only .csv and .tsv have one")
    return separated_rows(file, dialect)


def find_table(root: SourcePath, split: str) -> SourcePath:
    """The table of a split in a folder, or the table given as ``root`` itself.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if there are several, or ``root`` is a file of another type or the split is not "train".
    """
    if root.is_file():
        if root.suffix not in ROWS:
            raise ValueError(f"{root} is not a table: its name should end in {', '.join(ROWS)}")
        if split != "train":
            raise ValueError(f"{root} is a single table, which is the split train; for {split}, give its folder")
        return root
    found = [file for suffix in ROWS if (file := root / f"{split}{suffix}").is_file()]
    if not found:
        others = sorted(file.name for file in root.glob("*") if file.suffix in ROWS and file.is_file())
        remedy = f"; there is {', '.join(others)}: give the file itself, or its name as the split" if others else ""
        raise FileNotFoundError(f"{root / split}{{{','.join(ROWS)}}} is missing: a table of paths and captions{remedy}")
    if len(found) > 1:
        raise ValueError(f"{' and '.join(map(str, found))} both exist; the split {split} should be one table")
    return found[0]


def the_one(names: Sequence[str], choices: Sequence[str]) -> str:
    """The one name that is among the choices; none, or several such as "image" and "file_name", are an error."""
    found = [name for name in names if name in choices]
    if len(found) != 1:
        choice = ", ".join(choices)
        raise ValueError(f"has {' and '.join(found) or 'none'} of the columns {choice}; it should have one of them")
    return found[0]


def separated_rows(file: SourcePath, dialect: Dialect | None = None) -> Iterator[Row | Problem]:
    """The rows of a .csv or .tsv whose first line names the columns."""
    dialect = dialect or dialect_of(file)
    path = -1

    def is_row(cells: Sequence[str]) -> bool:
        # A caption may hold a comma by chance, but hardly has the name of an image in the right place.
        names_image = PurePosixPath(cells[path].strip('"')).suffix.lower() in IMAGES or dialect.separator == "tab"
        return path >= 0 and len(cells) == len(columns) and names_image

    rows = table_rows(file, dialect, is_row)
    first = next(rows, None)
    columns = first[1] if first and not isinstance(first, Problem) else []
    try:
        path, caption = (columns.index(the_one(columns, choices)) for choices in (PATHS, CAPTIONS))
    except ValueError as error:
        raise ValueError(f"{file}, line 1 {error}") from error
    for each in rows:
        if isinstance(each, Problem):
            yield each
            continue
        where, row = each
        if len(row) == len(columns):
            yield Row(where, row[path], row[caption])
        else:
            yield Problem(where, f"has {len(row)} columns; the first line has {len(columns)}")


def dialect_of(file: SourcePath) -> Dialect:
    """The dialect of a .csv or .tsv."""

    def is_header(cells: Sequence[str]) -> bool:
        return all(sum(cell in choices for cell in cells) == 1 for choices in (PATHS, CAPTIONS))

    return find_dialect(file, is_header)


def json_rows(file: SourcePath) -> Iterator[Row | Problem]:
    """The rows of a .jsonl: one object per line; blank lines are skipped."""
    for each in filled_lines(file):
        if isinstance(each, Problem):
            yield each
            continue
        where, line = each
        try:
            entry = parse_json(line)
            if not isinstance(entry, dict):
                raise ValueError(f"is {shown(entry)}; it should be an object")
            row = Row(where, *(entry[the_one(list(entry), choices)] for choices in (PATHS, CAPTIONS)))
        except ValueError as error:
            row = Problem(where, str(error))
        yield row


def parquet_rows(file: SourcePath) -> Iterator[Row | Problem]:
    """The rows of a .parquet, read in batches; of a damaged one, the row groups that can be read."""
    import pyarrow as pa  # imported here because it is slow to import and rarely needed
    from pyarrow import parquet

    first, was_read = 1, False
    try:
        with file.open("rb") as stream, parquet.ParquetFile(stream) as table:
            names = [the_one(table.schema_arrow.names, choices) for choices in (PATHS, CAPTIONS)]
            for name, kind in ((name, table.schema_arrow.field(name).type) for name in names):
                if not is_text(kind) and not (name == names[1] and pa.types.is_list(kind) and is_text(kind.value_type)):
                    raise ValueError(f"its column {name} is of type {kind}; it should be text")
            for group in range(table.num_row_groups):
                number, last = first, first + table.metadata.row_group(group).num_rows - 1
                try:
                    for batch in table.iter_batches(row_groups=[group], columns=names):
                        for cells in zip(*(batch.column(name) for name in names), strict=True):
                            yield parquet_row(f"{file}, row {number}", *cells)
                            number, was_read = number + 1, True
                except (OSError, pa.ArrowException) as error:
                    if not was_read and group + 1 == table.num_row_groups:
                        raise
                    place = f"row {number}" if number == last else f"rows {number} to {last}"
                    yield Problem(f"{file}, {place}", f"cannot be read: {error}")
                first = last + 1
    except (ValueError, OSError, pa.ArrowException) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error


def parquet_row(where: str, path: Any, captions: Any) -> Row | Problem:
    """A row of two Arrow scalars."""
    try:
        return Row(where, path.as_py(), captions.as_py())
    except UnicodeDecodeError as error:
        return Problem(where, f"is not UTF-8: {error}")


def is_text(kind: Any) -> bool:
    """Whether an Arrow type is text."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind)


ROWS: dict[str, Callable[[SourcePath], Iterator[Row | Problem]]] = {
    ".csv": separated_rows,
    ".tsv": separated_rows,
    ".jsonl": json_rows,
    ".parquet": parquet_rows,
}
"""The reader of a table, by suffix."""
