"""Reads a data set by the name of its layout."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from xmcgan.config import DialectName
from xmcgan.data.packed import PackedRecords
from xmcgan.data.prepared.manifest import is_prepared
from xmcgan.data.prepared.shards import open_shards
from xmcgan.data.readers.coco import read_coco
from xmcgan.data.readers.cub200 import read_cub200, read_cub200_cropped
from xmcgan.data.readers.dialect import DIALECTS, Dialect
from xmcgan.data.readers.flickr8k import read_flickr8k
from xmcgan.data.readers.flickr30k import read_flickr30k
from xmcgan.data.readers.flowers102 import read_flowers102
from xmcgan.data.readers.folder import read_folder
from xmcgan.data.readers.localized_narratives import read_localized_narratives
from xmcgan.data.readers.sources import unused_at_root
from xmcgan.data.readers.table import read_table
from xmcgan.data.readers.webdataset import read_webdataset
from xmcgan.data.records import Problem, Record, strict, with_first_problem, without_duplicates
from xmcgan.data.remote import SourcePath, is_url

Reader = Callable[..., Iterator[Record | Problem]]

READERS: dict[str, Reader] = {
    "coco": read_coco,
    "localized-narratives": read_localized_narratives,
    "flowers102": read_flowers102,
    "cub200": read_cub200,
    "cub200-cropped": read_cub200_cropped,
    "flickr8k": read_flickr8k,
    "flickr30k": read_flickr30k,
    "folder": read_folder,
    "table": read_table,
    "webdataset": read_webdataset,
}
"""The reader of each layout: (root, split, annotations=) -> records and problems."""


def read_entries(
    root: SourcePath, layout: str, split: str, *, annotations: bool = False, dialect: Dialect | None = None
) -> Iterator[Record | Problem]:
    """The entries of one split of a data folder; a repeated id is a problem.

    Args:
        root: the folder, on this machine or behind a URL.
        annotations: also read boxes and mouse traces, if the layout has them.
        dialect: the dialect of a table; detected if not given.

    Raises:
        ValueError: if there is no such layout, or a dialect is given for another one than a table.
    """
    if layout not in READERS:
        raise ValueError(f"the layout is {layout!r}; it should be one of {', '.join(READERS)}")
    if dialect is None:
        entries = READERS[layout](root, split, annotations=annotations)
    elif layout == "table":
        entries = read_table(root, split, dialect=dialect)
    else:
        raise ValueError(f"the layout {layout} has no dialect; only tables have one")
    return without_duplicates(itertools.chain(with_first_problem(entries), unused_at_root(root, layout)))


def read_records(
    root: str | Path,
    layout: str,
    split: str,
    *,
    annotations: bool = False,
    cache: Path | None = None,
    dialect: DialectName | None = None,
) -> Sequence[Record]:
    """The captioned images of one split, for training: a bad entry is an error.

    Args:
        root: a folder in the layout, or a folder or URL of data prepared by ``xmcgan data prepare``.
        annotations: also read boxes and mouse traces, if the layout has them (prepared data always includes them).
        cache: folder for shards fetched from a URL.
        dialect: the dialect of a table; detected if not given.

    Raises:
        ValueError: naming the first bad entry and its problem; or if a dialect is given for another layout.
    """
    if is_prepared(root):
        if dialect is not None:
            raise ValueError(f"the dialect is {dialect}, but {root} is prepared data, which is no table")
        return open_shards(root, split, layout=layout, cache=cache)
    if is_url(root):
        raise ValueError(
            f"{root} holds no prepared data: a URL to train from should be one that `xmcgan data prepare` wrote, which "
            "also reads sources by URL"
        )
    table = None if dialect is None else DIALECTS[dialect]
    try:
        return PackedRecords(strict(read_entries(Path(root), layout, split, annotations=annotations, dialect=table)))
    except FileNotFoundError as error:
        guess = likely_layout(Path(root))
        if guess in (None, layout):
            raise
        raise FileNotFoundError(f"{error}. It was read in the layout {layout}, but looks like {guess}") from error


def likely_layout(root: Path) -> str | None:
    """The layout of custom data that a folder looks like, by the files in it and in its ``train``; None if unknown."""
    for folder in (root, root / "train"):
        files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
        kinds = {path.suffix.lower() for path in files}
        if ".tar" in kinds:
            return "webdataset"
        if kinds & {".csv", ".tsv", ".parquet", ".jsonl"}:
            return "table"
        if any(
            path.suffix.lower() in (".jpg", ".jpeg", ".png") and path.with_suffix(".txt").is_file() for path in files
        ):
            return "folder"
    return None
