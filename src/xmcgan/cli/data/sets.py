"""The data sets that ``xmcgan data`` can name, and what its verbs share."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, NamedTuple

from xmcgan.cli.parser import OneOf
from xmcgan.data.readers.dialect import DIALECTS, Dialect, DialectName

if TYPE_CHECKING:
    from xmcgan.data.remote import SourcePath


class DataSet(NamedTuple):
    """A data set that a user can choose by name."""

    layout: str
    splits: tuple[str, ...]
    max_length: int  # word pieces of a caption that the recipes for it keep
    dialect: Dialect | None = None  # of a table; detected if not given


SETS = {
    "coco14": DataSet("coco", ("train2014", "val2014"), 17),
    "ln-coco": DataSet("localized-narratives", ("train2017", "val2017"), 64),
    "ln-openimages": DataSet("localized-narratives", ("train", "validation"), 64),
    "scenes": DataSet("coco", ("train2014", "val2014"), 17),
    "scenes-narratives": DataSet("localized-narratives", ("train2014", "val2014"), 64),
    "scenes-open-images": DataSet("localized-narratives", ("train", "validation"), 64),
    "flowers102": DataSet("flowers102", ("train", "test"), 32),
    "cub200": DataSet("cub200", ("train", "test"), 32),
    "cub200-cropped": DataSet("cub200-cropped", ("train", "test"), 32),
    "flickr8k": DataSet("flickr8k", ("train", "dev"), 24),
    "flickr30k": DataSet("flickr30k", ("train", "val"), 24),
    "folder": DataSet("folder", ("train",), 17),
    "table": DataSet("table", ("train",), 17),
    "webdataset": DataSet("webdataset", ("train",), 17),
}
"""What ``prepare``, ``stats`` and ``browse`` accept; docs/data.md describes the folder of each."""

DataSetName = Annotated[str, OneOf(SETS, "data set")]


def chosen_set(name: str, splits: list[str] | None, dialect: DialectName | None = None) -> DataSet:
    """The data set of that name, with other splits and the dialect of its table, if they are given."""
    if dialect is not None and SETS[name].layout != "table":
        raise ValueError(f"--dialect is {dialect}; only the data set table has one")
    if splits is not None and not all(splits):
        raise ValueError(f"--splits is {','.join(splits)!r}; it should be names with commas between, such as train,val")
    data = SETS[name]._replace(dialect=None if dialect is None else DIALECTS[dialect])
    return data._replace(splits=tuple(splits)) if splits else data


def patterns(data: DataSet) -> dict[str, str]:
    """The names of a data set's splits, each with the text given to the reader: a pattern after ``=``, or the name.

    Raises:
        ValueError: if a pattern has no name.
    """
    found = {}
    for split in data.splits:
        name, equals, pattern = split.partition("=")
        if not equals and any(sign in split for sign in "*?[{"):
            raise ValueError(f"--splits has the pattern {split}; give it a name, such as train={split}")
        if equals and data.layout != "webdataset":
            raise ValueError(f"--splits has {split}; only webdataset has patterns, other layouts have names")
        found[name] = pattern or name
    return found


def entries(source: "SourcePath", data: DataSet, split: str) -> Iterator:
    """The entries of a split, from the owners' layout or from prepared data, with boxes and traces.

    Args:
        split: its name, or its pattern.
    """
    from xmcgan.data.layouts import read_entries, read_records
    from xmcgan.data.prepared.manifest import is_prepared

    if is_prepared(str(source)):
        return iter(read_records(str(source), data.layout, split))
    return read_entries(source, data.layout, split, annotations=True, dialect=data.dialect)


def print_splits(source: "SourcePath", data: DataSet) -> dict[str, str]:
    """Prints and returns the rule that each split is chosen by, if the layout has several."""
    from xmcgan.data.prepared.manifest import is_prepared, read_manifest
    from xmcgan.data.readers.sources import describe_split

    if is_prepared(str(source)):
        if data.dialect is not None:
            raise ValueError(f"--dialect is given, but {source} is prepared data, which is no table")
        splits = read_manifest(str(source))["splits"]
        rules = {name: splits[name]["rule"] for name in data.splits if "rule" in splits.get(name, {})}
    else:
        rules = {}
        for name, pattern in patterns(data).items():
            if rule := describe_split(source, data.layout, pattern, data.dialect):
                rules[name] = rule.replace(f"split {pattern} ", f"split {name} ")
    for rule in rules.values():
        print(rule)
    return rules
