"""Reads the boxes of Open Images from its official tables."""

import re
from array import array
from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np

from xmcgan.data.readers.annotations import box, number, shown, words
from xmcgan.data.readers.dialect import DIALECTS, table_rows
from xmcgan.data.readers.files import Unused
from xmcgan.data.records import Box, Problem
from xmcgan.data.remote import SourcePath

CLASSES = ("class-descriptions-boxable.csv", "oidv7-class-descriptions-boxable.csv")  # older versions, and version 7
IMAGE_ID = re.compile("[0-9a-f]{16}")

# With this many bad rows, and more than good ones, it is another kind of table: stop before problems fill the memory.
_TOO_MANY_BAD = 1000

_COLUMNS = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
_CLASS_HEADINGS = ["LabelName", "DisplayName"]


class BoxTable(NamedTuple):
    """N boxes, sorted by image id, in 28 bytes each: the training split has 14.6 million."""

    images: np.ndarray  # (N,) uint64: an id is 16 hexadecimal digits
    classes: np.ndarray  # (N,) uint32: indices into names
    sides: np.ndarray  # (N, 4) float32: left, top, right, bottom
    names: list[str]

    def of(self, image_id: str) -> tuple[Box, ...]:
        """The boxes of an image, in the order of the file."""
        if not IMAGE_ID.fullmatch(image_id):
            return ()
        wanted = np.uint64(int(image_id, 16))
        rows = slice(np.searchsorted(self.images, wanted), np.searchsorted(self.images, wanted, side="right"))
        # float32 preserves the six decimals of the files.
        sides = np.round(self.sides[rows].astype(np.float64), 6).tolist()
        return tuple(
            box(self.names[name], left, top, right - left, bottom - top)
            for name, (left, top, right, bottom) in zip(self.classes[rows].tolist(), sides, strict=True)
        )


def find_box_file(root: SourcePath, split: str) -> SourcePath | None:
    """The table of a split's boxes in a folder or its ``annotations/``; None if there is none."""
    names = (f"oidv6-{split}-annotations-bbox.csv", f"{split}-annotations-bbox.csv")
    places = (folder / name for folder in (root, root / "annotations") for name in names)
    return next((place for place in places if place.is_file()), None)


def read_box_file(file: SourcePath, wanted: Callable[[str], bool]) -> Generator[Problem, None, BoxTable]:
    """The boxes of the wanted images, including boxes around groups and depictions.

    Columns are found by their names in the first line, so unofficial tables may have fewer.

    Args:
        file: a table of boxes; one of `CLASSES` beside it names the classes.
        wanted: whether to keep the boxes of an image id.

    Raises:
        FileNotFoundError: if the table of class names is missing.
        ValueError: if the table lacks a column, or has many bad rows, more than good ones.
    """
    classes_file = find_class_file(file.parent)
    names = yield from read_classes(classes_file)
    positions = {label: position for position, label in enumerate(names)}
    images, classes, sides = array("Q"), array("I"), array("f")
    rows = table_rows(file, DIALECTS["comma"])
    header = next(rows, None)
    columns = header[1] if header and not isinstance(header, Problem) else []
    if missing := [name for name in _COLUMNS if name not in columns]:
        raise ValueError(f"{file} is not a table of boxes: its first line has no {', '.join(missing)}")
    cells, bad, unused = [columns.index(name) for name in _COLUMNS], 0, Unused()
    for each in rows:
        if isinstance(each, Problem):
            bad += 1
            yield each
            continue
        where, row = each
        try:
            if len(row) != len(columns):
                raise ValueError(f"has {len(row)} columns; the first line has {len(columns)}")
            image_id, label, *numbers = [row[cell] for cell in cells]
            if not IMAGE_ID.fullmatch(image_id):
                raise ValueError(f"ImageID is {shown(image_id)}; it should be 16 hexadecimal digits")
            if not wanted(image_id):
                yield from unused.add(where, f"is a box of {image_id}, which is not there", "box")
                continue
            if label not in positions:
                raise ValueError(f"LabelName is {shown(label)}, which {classes_file.name} does not name")
            x_min, x_max, y_min, y_max = (number(float(value)) for value in numbers)
            _, left, top, width, height = box(label, x_min, y_min, x_max - x_min, y_max - y_min)
        except ValueError as error:
            bad += 1
            yield Problem(where, str(error))
            if bad > max(_TOO_MANY_BAD, len(images)):
                raise ValueError(f"{where} {error}; {bad} rows are bad and {len(images)} are good") from None
            continue
        images.append(int(image_id, 16))
        classes.append(positions[label])
        sides.extend((left, top, left + width, top + height))
    yield from unused.rest()
    return sort_table(np.asarray(images), np.asarray(classes), np.asarray(sides).reshape(-1, 4), list(names.values()))


def sort_table(images: np.ndarray, classes: np.ndarray, sides: np.ndarray, names: list[str]) -> BoxTable:
    """Sorts boxes by image id; official files are sorted already."""
    if np.all(images[:-1] <= images[1:]):
        return BoxTable(images, classes, sides, names)
    order = np.argsort(images, kind="stable")
    return BoxTable(images[order], classes[order], sides[order], names)


def find_class_file(folder: SourcePath) -> SourcePath:
    """The table of class names in a folder.

    Raises:
        FileNotFoundError: if there is none.
    """
    places = [folder / name for name in CLASSES]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        named = " or ".join(map(str, places))
        raise FileNotFoundError(f"{named} is missing: it names the classes of the boxes beside it")
    return found


def read_classes(file: SourcePath) -> Generator[Problem, None, dict[str, str]]:
    """The class names by label, such as "/m/0k4j"; the file of version 7 begins with column headings."""
    names: dict[str, str] = {}
    for each in table_rows(file, DIALECTS["comma"]):
        if isinstance(each, Problem):
            yield each
            continue
        where, row = each
        try:
            if len(row) != 2:
                raise ValueError(f"has {len(row)} columns; it should be a label and a name")
            if row == _CLASS_HEADINGS:
                continue
            names[row[0]] = words(row[1])
        except ValueError as error:
            yield Problem(where, str(error))
    return names
