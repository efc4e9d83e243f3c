"""Reed's captions of Oxford Flowers and CUB: ``text_c10/CLASS/NAME.txt``, a caption per line; and his class lists.

The captions are from Reed et al., "Learning Deep Representations of Fine-Grained Visual Descriptions" (CVPR 2016).
"""

from collections.abc import Generator

from xmcgan.data.readers.annotations import printable, words
from xmcgan.data.readers.files import Files, Unused, text_lines
from xmcgan.data.records import Problem
from xmcgan.data.remote import SourcePath

TEXTS = "text_c10"

CLASS_LISTS = {"train": "trainvalclasses.txt", "test": "testclasses.txt"}
"""The class list of each split, as used by every text-to-image GAN since StackGAN: no class is in both."""


def find_texts(root: SourcePath) -> Generator[Problem, None, dict[str, SourcePath]]:
    """The caption files by "CLASS/NAME", sorted; anything else in the folder is a problem.

    Raises:
        FileNotFoundError: if there is no folder of captions.
    """
    folder = root / TEXTS
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: Reed's captions, as {folder}/CLASS/NAME.txt")
    files, found, unused = Files(folder, root), {}, Unused()
    for class_name in sorted(path.name for path in folder.iterdir()):
        place = folder / class_name
        if not place.is_dir() or not files.holds(place):
            reason = "is not the folder of a class inside the data set"
            yield from unused.add(printable(place), reason, place.suffix)
            continue
        readable = files.list(class_name)
        for name in sorted(path.name for path in place.iterdir()):
            path = place / name
            if path.suffix == ".txt" and name in readable and printable(path) == str(path):
                found[f"{class_name}/{path.stem}"] = path
            else:
                yield from unused.add(printable(path), "is not a caption file inside the data set", path.suffix)
    yield from unused.rest()
    return found


def read_captions(file: SourcePath) -> Generator[Problem, None, tuple[str, ...]]:
    """The captions of a file; a line that has no words, or is not UTF-8, is a problem.

    Some captions of CUB hold U+FFFD, the sign of an undecodable byte, between their words: it is read as a space.
    """
    captions = []
    for each in text_lines(file):
        if isinstance(each, Problem):
            yield each._replace(detail=True)
            continue
        number, line = each
        try:
            captions.append(words(line.replace("\ufffd", " ")))
        except ValueError as error:
            yield Problem(f"{file}, line {number}", str(error), detail=True)
    return tuple(captions)


def class_lists(root: SourcePath) -> list[SourcePath]:
    """Reed's class lists that exist: ``trainvalclasses.txt``, ``testclasses.txt`` and parts of them."""
    return sorted(file for file in root.glob("*classes.txt") if file.stem not in ("classes", "allclasses"))


def class_list(root: SourcePath, split: str) -> SourcePath | None:
    """The class list that a split names, by its own name such as "testclasses" or as train or test; None if none."""
    names = (f"{split}.txt", CLASS_LISTS.get(split))
    return next((file for file in class_lists(root) if file.name in names), None)


def read_classes(file: SourcePath, texts: dict[str, SourcePath]) -> Generator[Problem, None, frozenset[str]]:
    """The classes of a list; one that is listed twice or has no captions is a problem."""
    known, listed = {key.partition("/")[0] for key in texts}, set()
    for each in text_lines(file):
        if isinstance(each, Problem):
            yield each
            continue
        number, name = each
        if not name:
            continue
        if name in listed:
            yield Problem(f"{file}, line {number}", f"lists {name} again", detail=True)
        elif name not in known:
            yield Problem(f"{file}, line {number}", f"lists {name}, which has no captions in {TEXTS}")
        listed.add(name)
    return frozenset(listed)


def unlisted_classes(root: SourcePath, texts: dict[str, SourcePath]) -> Generator[Problem, None, None]:
    """A problem for each class with captions that is on no class list, if the lists of both splits are there."""
    files = class_lists(root)
    if not set(CLASS_LISTS.values()) <= {file.name for file in files}:
        return
    listed = set()
    for file in files:
        listed |= {each[1] for each in text_lines(file) if not isinstance(each, Problem)}
    for name in sorted({key.partition("/")[0] for key in texts} - listed):
        yield Problem(str(root / TEXTS / name), "is of a class on no class list, so of no split", detail=True)


def is_in_split(number: int, split: str) -> bool:
    """Whether an image is in a split if no file defines it: numbers that end in 0 are the test split."""
    return (split == "test") == (number % 10 == 0)


def split_rule(root: SourcePath, split: str, owners: SourcePath) -> str:
    """How the images of a split are chosen: ``owners`` (their file, if it exists), ``classes`` or ``numbers``.

    Raises:
        FileNotFoundError: if there is no such split.
    """
    if split.endswith("classes"):
        rule, splits = "classes", tuple(file.stem for file in class_lists(root))
    elif owners.is_file():
        rule, splits = "owners", ("train", "val", "test") if owners.suffix == ".mat" else ("train", "test")
    elif class_lists(root):
        rule, splits = "classes", tuple(name for name in CLASS_LISTS if class_list(root, name))
    else:
        rule, splits = "numbers", ("train", "test")
    if split not in splits:
        there = f"; there is {', '.join(splits)}" if splits else ""
        raise FileNotFoundError(f"{root} has no split {printable(split)}{there}")
    return rule


def describe_rule(root: SourcePath, split: str, owners: SourcePath) -> str:
    """The rule that chooses a split's images, as a sentence."""
    match split_rule(root, split, owners):
        case "owners":
            return f"the split {split} is that of {owners}"
        case "classes":
            return f"the split {split} is the classes of {class_list(root, split)}"
        case _:
            which = "ends" if split == "test" else "does not end"
            return (
                f"the split {split} is the images whose number {which} in 0: there is neither {owners.name} nor a "
                f"class list in {root}"
            )
