"""A folder of images, each with a text file of captions beside it: ``train/cats/7.jpg``, ``train/cats/7.txt``."""

import os
from collections.abc import Iterator
from pathlib import Path

from xmcgan.data.annotations import lines, printable
from xmcgan.data.files import Files
from xmcgan.data.records import Problem, Record

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def read_folder(root: Path, split: str, *, annotations: bool = False) -> Iterator[Record | Problem]:
    """The images in a split's folder and below it, folder by folder in order of their names.

    A record's id is its path inside the split's folder without the suffix; its captions are the lines of the text file
    of the same name. Other files are passed over.

    Args:
        root: the folder that holds a folder a split.
        split: its name.
        annotations: this layout has none.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has no image with captions.
    """
    folder, empty = root / split, True
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: the folder of a split's images, with a .txt of captions a image")
    files = Files(folder, root)
    for place, subfolders, names in os.walk(folder, onerror=stop):
        subfolders.sort()
        for path in (Path(place, name) for name in subfolders):
            if path.is_symlink():
                yield Problem(printable(path), "is a link to a folder; such links are not followed")
        for path in (Path(place, name) for name in sorted(names)):
            if path.suffix.lower() not in SUFFIXES:
                continue
            name = path.relative_to(folder)
            try:
                image = files.find(name.as_posix())
                captions = lines(files.find(name.with_suffix(".txt").as_posix()).read_bytes())
            except (ValueError, OSError) as error:
                yield Problem(printable(path), f"the image or its captions: {error}")
                continue
            empty = False
            yield Record(image, captions, name.with_suffix("").as_posix())
    if empty:
        raise ValueError(f"{folder} has no image with captions")


def stop(error: OSError) -> None:
    """A folder that cannot be listed is not passed over, as os.walk would."""
    raise error
