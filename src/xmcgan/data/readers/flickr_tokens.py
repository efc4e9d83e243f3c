"""Reads the token files of Flickr8k and Flickr30k, ``IMAGE.jpg#0<tab>CAPTION``, and the lists of their splits."""

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

from xmcgan.data.readers.annotations import printable, shown, words
from xmcgan.data.readers.files import Files, Unused, below, text_lines, unused_files
from xmcgan.data.records import Problem, Record
from xmcgan.data.remote import SourcePath

TOKEN = re.compile(r"(\S+)#[0-9]+\t(.*)")

BARS = re.compile(r"(\S+?)\s*\|\s*[0-9]+\s*[|\s]\s*(.*)")
"""A row of results.csv; row 19,999 of the published file has a space instead of the second bar."""


class Line(NamedTuple):
    """A line of a captions file: its place, the image's name, and the unchanged caption."""

    where: str
    image: str
    caption: str


def token_lines(file: SourcePath) -> Iterator[Line | Problem]:
    """The lines of a token file; blank lines are skipped."""
    yield from _lines(file, TOKEN, "IMAGE.jpg#0, a tab, and a caption")


def bar_lines(file: SourcePath) -> Iterator[Line | Problem]:
    """The rows of results.csv, whose columns are separated by bars and whose first row names the columns."""
    rows = _lines(file, BARS, "IMAGE.jpg| 0| and a caption")
    first = next(rows, None)
    if not isinstance(first, Problem) or "image_name" not in first.reason:
        raise ValueError(f"{file}, line 1 should be image_name| comment_number| comment")
    yield from rows


def _lines(file: SourcePath, pattern: re.Pattern[str], expected: str) -> Iterator[Line | Problem]:
    for each in text_lines(file):
        if isinstance(each, Problem):
            yield each._replace(detail=True)
            continue
        number, line = each
        if match := pattern.fullmatch(line):
            yield Line(f"{file}, line {number}", match[1], match[2])
        elif line:
            yield Problem(f"{file}, line {number}", f"is {shown(line)}; it should be {expected}", detail=True)


def listed_images(file: SourcePath) -> Generator[Problem, None, dict[str, str]]:
    """The images of a list, one per line, with or without .jpg, each with its place."""
    images: dict[str, str] = {}
    for each in text_lines(file):
        if isinstance(each, Problem):
            yield each
            continue
        number, line = each
        name = f"{line.removesuffix('.jpg')}.jpg"
        if line and name in images:
            yield Problem(f"{file}, line {number}", f"lists {name} again", detail=True)
        elif line:
            images[name] = f"{file}, line {number}"
    return images


def read_flickr(
    root: SourcePath,
    folders: Sequence[str],
    file: SourcePath,
    lines: Iterable[Line | Problem],
    images: dict[str, str],
    split: str,
    lists: Sequence[SourcePath],
) -> Iterator[Record | Problem]:
    """The listed images, in order.

    Lines about images of other splits are not reported; lines about images on no list are reported as unused.

    Args:
        folders: possible names of the folder of images.
        file: the captions file.
        lines: the lines of that file.
        images: the split's images, each with the place that lists it.
        lists: the lists of all splits, if there are any.
    """
    folder = next((root / name for name in folders if (root / name).is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f"{root / folders[0]} is missing: the folder of the photographs")
    captions: dict[str, list[str]] = {name: [] for name in images}
    known, unused, listed = set(), Unused(), names_on(lists)
    for each in lines:
        if isinstance(each, Problem):
            yield each
            continue
        if lists and each.image not in listed and each.image not in known:
            yield from unused.add(each.where, f"is about {printable(each.image)}, which is on no list", "line")
        known.add(each.image)
        if each.image in captions:
            try:
                captions[each.image].append(words(each.caption))
            except ValueError as error:
                yield Problem(each.where, f"the caption {error}", detail=True)

    files, empty = Files(folder, root), True
    yield from unused_files(
        folder, below(folder) - known - images.keys(), f"has no caption in {file}, and is in no split"
    )
    for name, where in images.items():
        if not captions[name]:
            yield Problem(where, f"lists {name}, which has no usable caption in {file}")
            continue
        try:
            path = files.find(name)
        except ValueError as error:
            yield Problem(where, f"the image {error}")
            continue
        empty = False
        yield Record(path, tuple(captions[name]), name.removesuffix(".jpg"))
    yield from unused.rest()
    if empty:
        raise ValueError(f"{file} has no caption of an image of the split {split}")


def names_on(lists: Sequence[SourcePath]) -> set[str]:
    """The names of the images on any of the lists."""
    lines = (each for file in lists for each in text_lines(file))
    return {f"{each[1].removesuffix('.jpg')}.jpg" for each in lines if not isinstance(each, Problem)}


def unlisted(lines: Iterable[Line | Problem], lists: Sequence[SourcePath]) -> str:
    """How many captioned images are on no list, as the end of a sentence."""
    number = len({line.image for line in lines if isinstance(line, Line)} - names_on(lists))
    return f"; {number:,} images with captions are on no list" if number else ""
