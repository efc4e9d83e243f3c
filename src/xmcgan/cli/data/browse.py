"""``xmcgan data browse``."""

import itertools
from pathlib import Path

from xmcgan.cli.data.sets import DataSetName, chosen_set, entries, patterns, print_splits
from xmcgan.data.readers.dialect import DialectName
from xmcgan.runtime.locks import locked_folder


def browse(
    name: DataSetName,
    *,
    source: str,
    output: Path,
    splits: list[str] | None = None,
    dialect: DialectName | None = None,
    start: int = 0,
    count: int = 48,
    overwrite: bool = False,
) -> int:
    """Make an HTML page of images with their captions, boxes and mouse traces.

    Args:
        name: the data set.
        source: its folder, as its owners publish it, or prepared data, or the URL of either.
        output: the page to write, such as browse.html.
        splits: the split to show, instead of the data set's first.
        dialect: dialect of a .csv or .tsv, if the detected one is wrong; unquoted: quotation marks are text.
        start: number of the first record, from 0.
        count: records on the page.
        overwrite: replace an existing file.

    Examples:
        xmcgan data browse ln-coco --source /path/to/coco --output browse.html
    """
    data = chosen_set(name, splits, dialect)
    if start < 0 or count < 1:
        raise ValueError(f"--start is {start} and --count {count}; they should be at least 0 and 1")
    from xmcgan.data.images import open_image
    from xmcgan.data.records import Record
    from xmcgan.data.remote import source_path
    from xmcgan.pages.dataset import write_browser

    split, place = data.splits[0], source_path(source)
    if output.is_dir():
        raise IsADirectoryError(f"{output} is a folder; it should be the page to write, such as browse.html")

    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} is there; choose another --output, or replace it with --overwrite true")
    print_splits(place, data._replace(splits=(split,)))

    def readable(record: Record) -> bool:
        try:
            open_image(record)
        except ValueError as error:
            print(f"left out: {error}")
            return False
        return True

    pattern = patterns(data._replace(splits=(split,))).popitem()[1]
    good = (entry for entry in entries(place, data, pattern) if isinstance(entry, Record))
    records = list(itertools.islice(filter(readable, itertools.islice(good, start, None)), count))
    if not records:
        raise ValueError(f"{source} has no record {start} in {split}")
    with locked_folder(output, "written", beside=True, wait=True):
        page = write_browser(output, records, title=f"{name}, {split}", overwrite=overwrite)
    print(f"{len(records)} records of {split}. Open this page in a browser:\n\n    {page.resolve()}\n")
    return 0
