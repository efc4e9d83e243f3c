"""Data folders by the name of their layout."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from xmcgan.data.prepared.manifest import is_prepared
from xmcgan.data.prepared.shards import open_shards
from xmcgan.data.readers.coco import read_coco
from xmcgan.data.readers.folder import read_folder
from xmcgan.data.readers.localized_narratives import read_localized_narratives
from xmcgan.data.readers.table import read_table
from xmcgan.data.readers.webdataset import read_webdataset
from xmcgan.data.records import Problem, Record, strict, without_duplicates

Reader = Callable[..., Iterator[Record | Problem]]

READERS: dict[str, Reader] = {
    "coco": read_coco,
    "localized-narratives": read_localized_narratives,
    "folder": read_folder,
    "table": read_table,
    "webdataset": read_webdataset,
}
"""How each layout is read: (root, split, annotations=) -> records and problems."""


def read_entries(root: Path, layout: str, split: str, *, annotations: bool = False) -> Iterator[Record | Problem]:
    """The entries of one split of a data folder in its layout; an id that stands twice is a problem.

    Args:
        annotations: also boxes and mouse traces, where the layout has them.
    """
    return without_duplicates(READERS[layout](root, split, annotations=annotations))


def read_records(
    root: str | Path, layout: str, split: str, *, annotations: bool = False, cache: Path | None = None
) -> Sequence[Record]:
    """The captioned images of one split of a data folder, to be trained on: all of them are good.

    Args:
        root: a folder in its layout; or one that ``xmcgan data prepare`` made of it, which can also be a URL.
        annotations: also boxes and mouse traces, where the layout has them (a prepared folder always gives them).
        cache: folder for the shards of a URL.

    Raises:
        ValueError: naming what is wrong with the first bad record.
    """
    if is_prepared(root):
        return open_shards(root, split, layout=layout, cache=cache)
    if isinstance(root, str) and "://" in root:
        raise ValueError(f"{root} holds no prepared data: what is read from a URL is made by `xmcgan data prepare`")
    return list(strict(read_entries(Path(root), layout, split, annotations=annotations)))
