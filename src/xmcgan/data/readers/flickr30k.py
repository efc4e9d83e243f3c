"""Reads Flickr30k: ``flickr30k-images/*.jpg``, ``results_20130124.token`` or ``results.csv``, ``train.txt``."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from xmcgan.data.readers.annotations import printable
from xmcgan.data.readers.flickr_tokens import Line, bar_lines, listed_images, read_flickr, token_lines, unlisted
from xmcgan.data.records import Problem, Record
from xmcgan.data.remote import SourcePath

FOLDERS = ("flickr30k-images", "flickr30k_images")

CAPTIONS = ("results_20130124.token", "results.csv")

SPLITS = ("train", "val", "test")


def read_flickr30k(root: SourcePath, split: str, *, annotations: bool = False) -> Iterator[Record | Problem]:
    """The photographs of one split, in the order of its list.

    Args:
        root: the folder of ``flickr30k-images/`` and the captions, ``results_20130124.token`` or ``results.csv``.
        split: ``train``, ``val`` or ``test``: the images of ``{split}.txt``, as Flickr30k Entities lists them, one name
            per line. If there is no list at all, ``val`` is the images whose name ends in 0, and ``train`` the others.
        annotations: ignored: this layout has none.

    Raises:
        FileNotFoundError: if the captions or the folder of images is missing, or there is no such split.
        ValueError: if no image of the split has a caption.
    """
    file = find_captions(root)
    check_split(root, split)
    if lists(root):
        images = yield from listed_images(root / f"{split}.txt")
    else:
        images = {}
        for each in lines_of(file):
            if isinstance(each, Line) and ends_in_0(each.image) == (split == "val"):
                images.setdefault(each.image, each.where)
    yield from read_flickr(root, FOLDERS, file, lines_of(file), images, split, lists(root))


def find_captions(root: SourcePath) -> SourcePath:
    """The file of captions.

    Raises:
        FileNotFoundError: if there is none.
    """
    found = [root / name for name in CAPTIONS if (root / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{root / CAPTIONS[0]} is missing, and so is {CAPTIONS[1]}: the captions")
    return found[0]


def lines_of(file: SourcePath) -> Iterable[Line | Problem]:
    """The lines of either file of captions."""
    return bar_lines(file) if file.suffix == ".csv" else token_lines(file)


def lists(root: SourcePath) -> list[SourcePath]:
    """The lists of splits that exist."""
    return [root / f"{split}.txt" for split in SPLITS if (root / f"{split}.txt").is_file()]


def check_split(root: SourcePath, split: str) -> None:
    """Raises a FileNotFoundError if there is no such split."""
    there = [file.stem for file in lists(root)] or ["train", "val"]
    if split not in there:
        raise FileNotFoundError(f"{root} has no split {printable(split)}; there is {', '.join(there)}")


def ends_in_0(name: str) -> bool:
    """Whether an image is in the split val if there are no lists."""
    return Path(name).stem.endswith("0")


def describe_split(root: SourcePath, split: str) -> str:
    """The rule that chooses a split's images, as a sentence, and how many images are in no split."""
    file = find_captions(root)
    check_split(root, split)
    if lists(root):
        return f"the split {split} is the images of {root / f'{split}.txt'}{unlisted(lines_of(file), lists(root))}"
    which = "ends" if split == "val" else "does not end"
    return f"the split {split} is the images whose name {which} in 0: there is no list of images in {root}"


def find_annotations(root: SourcePath) -> list[SourcePath]:
    """The files of captions and splits, in order."""
    return [find_captions(root), *lists(root)]
