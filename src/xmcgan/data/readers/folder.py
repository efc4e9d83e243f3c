"""Reads a folder of images, each with a text file of captions beside it: ``train/cats/7.jpg``, ``train/cats/7.txt``."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from xmcgan.data.readers.annotations import lines, printable
from xmcgan.data.readers.files import Files, text_of, unused_files
from xmcgan.data.records import Problem, Record
from xmcgan.data.remote import SourcePath, walk

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
OTHER_IMAGES = (".gif", ".tif", ".tiff", ".avif", ".heic", ".jp2")
NOTES = ("README", "LICENSE", "LICENCE", "NOTICE")  # texts about the data set, which are not captions of an image


def read_folder(root: SourcePath, split: str, *, annotations: bool = False) -> Iterator[Record | Problem]:
    """The images in a split's folder and its subfolders, sorted by name.

    A record's id is its path inside the split's folder without the suffix; its captions are the lines of the text file
    with the same name. A text without an image is a problem; other files are listed as unused.

    Args:
        root: the folder with one subfolder for each split. If it has no ``train/``, the images directly inside it are
            the split "train", and subfolders are skipped and reported.
        split: the split's name.
        annotations: ignored: this layout has none.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has no image with captions.
    """
    folder, empty = split_folder(root, split), True
    files = Files(folder, root)
    for place, subfolders, names in walk(folder, onerror=stop):
        subfolders.sort()
        if folder == root:
            for name in subfolders:
                yield Problem(printable(root / name), "is skipped, because there are images beside it", detail=True)
            subfolders.clear()
        for path in (place / name for name in subfolders):
            if path.is_symlink():
                yield Problem(printable(path), "is a link to a folder; such links are not followed")
        hidden = {name for name in names if name.startswith(".")}
        yield from unused_files(place, hidden, "is a hidden file, which is not read")
        names = sorted(set(names) - hidden)
        stems = {Path(name).stem for name in names if Path(name).suffix.lower() in SUFFIXES}
        others = []
        for path in (place / name for name in names):
            if path.suffix == ".txt" and path.stem not in stems and path.stem.upper() not in NOTES:
                yield Problem(printable(path), without_image(path.stem, names))
            elif path.suffix.lower() not in SUFFIXES and not (path.suffix == ".txt" and path.stem in stems):
                others.append(path.name)
            if path.suffix.lower() not in SUFFIXES:
                continue
            name = PurePosixPath(str(path)[len(str(folder)) + 1 :])
            try:
                image = files.find(name.as_posix())
                captions = lines(text_of(files.find(name.with_suffix(".txt").as_posix())))
            except (ValueError, OSError) as error:
                yield Problem(printable(path), f"the image or its captions: {error}")
                continue
            empty = False
            yield Record(image, captions, name.with_suffix("").as_posix())
        yield from unused_files(place, others, f"is not read: it is neither {', '.join(SUFFIXES)} nor its .txt")
    if empty:
        raise ValueError(f"{folder} has no image with captions")


def split_folder(root: SourcePath, split: str) -> SourcePath:
    """The folder of a split's images.

    Raises:
        FileNotFoundError: if there is none.
    """
    folder = root / split
    if folder.is_dir():
        return folder
    if split == "train" and root.is_dir() and any(path.suffix.lower() in SUFFIXES for path in root.iterdir()):
        return root
    others = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    there = f"; there is {printable(', '.join(others[:5]))}, which can be named as the split" if others else ""
    raise FileNotFoundError(
        f"{folder} is missing: the folder of a split's images, each with a .txt of captions beside it{there}"
    )


def without_image(stem: str, names: list[str]) -> str:
    """Describes the problem of a caption file without an image, given the names beside it."""
    others = [name for name in names if Path(name).stem == stem and Path(name).suffix.lower() in OTHER_IMAGES]
    if others:
        return f"its image is {printable(others[0])}; it can be {', '.join(SUFFIXES)}"
    return f"has no image beside it: the same name with {', '.join(SUFFIXES)}"


def stop(error: OSError) -> None:
    """Raises the error of a folder that cannot be listed, which os.walk would skip."""
    raise error
