"""Reads Flickr8k: ``Flicker8k_Dataset/*.jpg``, ``Flickr8k.token.txt``, ``Flickr_8k.trainImages.txt``."""

from collections.abc import Iterator

from xmcgan.data.readers.annotations import printable
from xmcgan.data.readers.flickr_tokens import listed_images, read_flickr, token_lines, unlisted
from xmcgan.data.records import Problem, Record
from xmcgan.data.remote import SourcePath

FOLDERS = ("Flicker8k_Dataset", "Flickr8k_Dataset")  # the first is the owners' spelling


def read_flickr8k(root: SourcePath, split: str, *, annotations: bool = False) -> Iterator[Record | Problem]:
    """The photographs of one split, in the order of its list.

    Args:
        root: the folder of ``Flicker8k_Dataset/``, ``Flickr8k.token.txt`` and the lists.
        split: ``train``, ``dev`` or ``test``: the images of ``Flickr_8k.{split}Images.txt``.
        annotations: ignored: this layout has none.

    Raises:
        FileNotFoundError: if the token file, the list or the folder of images is missing.
        ValueError: if no image of the split has a caption.
    """
    file = root / "Flickr8k.token.txt"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: the captions, as IMAGE.jpg#0, a tab, and the caption")
    images = yield from listed_images(find_list(root, split))
    yield from read_flickr(root, FOLDERS, file, token_lines(file), images, split, lists(root))


def find_list(root: SourcePath, split: str) -> SourcePath:
    """The list of a split's images.

    Raises:
        FileNotFoundError: if there is none.
    """
    file = root / f"Flickr_8k.{split}Images.txt"
    if not file.is_file():
        others = [path.name[len("Flickr_8k.") : -len("Images.txt")] for path in lists(root)]
        there = f"; there is {', '.join(others)}" if others else ""
        raise FileNotFoundError(f"{printable(file)} is missing: the list of the split's images{there}")
    return file


def lists(root: SourcePath) -> list[SourcePath]:
    """The lists of all splits."""
    return sorted(root.glob("Flickr_8k.*Images.txt"))


def describe_split(root: SourcePath, split: str) -> str:
    """The rule that chooses a split's images, as a sentence, and how many images are in no split."""
    others = unlisted(token_lines(root / "Flickr8k.token.txt"), lists(root))
    return f"the split {split} is the images of {find_list(root, split)}{others}"


def find_annotations(root: SourcePath) -> list[SourcePath]:
    """The files of captions and splits, in order."""
    return [root / "Flickr8k.token.txt", *lists(root)]
