"""Reads Oxford Flowers-102 with Reed's captions: ``jpg/image_00001.jpg``, ``text_c10/class_00077/image_00001.txt``."""

import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from xmcgan.data.readers.annotations import printable
from xmcgan.data.readers.files import Files
from xmcgan.data.readers.matlab import whole_numbers
from xmcgan.data.readers.text_c10 import (
    class_list,
    class_lists,
    describe_rule,
    find_texts,
    is_in_split,
    read_captions,
    read_classes,
    split_rule,
    unlisted_classes,
)
from xmcgan.data.records import Problem, Record
from xmcgan.data.remote import SourcePath

IMAGE = re.compile(r"image_([0-9]{5})")

OWNERS_SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}
"""The arrays of image numbers in ``setid.mat``."""


def read_flowers102(root: SourcePath, split: str, *, annotations: bool = False) -> Iterator[Record | Problem]:
    """The photographs of one split, in order of their numbers.

    Args:
        root: the folder of ``jpg/`` and ``text_c10/``.
        split: ``train``, ``val`` or ``test`` of the owners' ``setid.mat``, if it exists. Without it, ``train`` is the
            classes of ``trainvalclasses.txt`` and ``test`` the classes of ``testclasses.txt``; without these too,
            ``test`` is the photographs whose number ends in 0, and ``train`` the others. The name of a class list, such
            as ``testclasses``, always selects that list.
        annotations: ignored: this layout has none.

    Raises:
        FileNotFoundError: if a folder is missing, or there is no such split.
        ValueError: if ``setid.mat`` cannot be read, or no photograph of the split has captions.
    """
    if not (root / "jpg").is_dir():
        raise FileNotFoundError(f"{root / 'jpg'} is missing: the photographs, as {root / 'jpg'}/image_00001.jpg")
    rule = split_rule(root, split, root / "setid.mat")
    files = Files(root / "jpg", root)
    photographs: dict[int, str] = {}
    for name in sorted(path.name for path in (root / "jpg").iterdir()):
        if (match := IMAGE.fullmatch(Path(name).stem)) and Path(name).suffix == ".jpg" and name in files.list():
            photographs[int(match[1])] = name
        else:
            yield Problem(
                printable(root / "jpg" / name), "is not a photograph image_00001.jpg", detail=True, unused=True
            )
    texts = yield from find_texts(root)
    found = yield from by_number(texts)
    is_wanted, listed = yield from members(root, split, rule, texts, {*photographs, *found})

    empty = True
    for number in sorted({*photographs, *found, *listed}):
        class_name, file = found.get(number, (None, None))
        if not is_wanted(number, class_name):
            continue
        if number not in photographs:
            yield Problem(str(file or root / "setid.mat"), f"has no photograph {root}/jpg/image_{number:05d}.jpg")
            continue
        path = root / "jpg" / photographs[number]
        if file is None:
            yield Problem(str(path), f"has no captions: {root}/text_c10/*/{path.stem}.txt is missing")
            continue
        try:
            captions = yield from read_captions(file)
        except OSError as error:
            yield Problem(str(file), f"cannot be read: {error.strerror}")
            continue
        if captions:
            empty = False
            yield Record(path, captions, path.stem)
        else:
            yield Problem(str(file), "has no usable caption")
    if empty:
        raise ValueError(f"{root} has no photograph with captions in the split {split}")


def by_number(texts: dict[str, SourcePath]) -> Generator[Problem, None, dict[int, tuple[str, SourcePath]]]:
    """Class and caption file of each photograph by its number."""
    found: dict[int, tuple[str, SourcePath]] = {}
    for key, file in texts.items():
        class_name, _, name = key.rpartition("/")
        match = IMAGE.fullmatch(name)
        if match is None:
            yield Problem(str(file), "is not the captions of a photograph, image_00001.txt", detail=True)
        elif int(match[1]) in found:
            yield Problem(str(file), f"has captions in {found[int(match[1])][1]} too, which are kept", detail=True)
        else:
            found[int(match[1])] = class_name, file
    return found


def members(
    root: SourcePath, split: str, rule: str, texts: dict[str, SourcePath], numbers: set[int]
) -> Generator[Problem, None, tuple[Callable[[int, str | None], bool], frozenset[int]]]:
    """Whether a photograph belongs to a split, by its number and its class; and the numbers that the owners list.

    A photograph of unknown class belongs to every split, so it is reported.
    """
    if rule == "owners":
        file = root / "setid.mat"
        try:
            arrays = whole_numbers(file.read_bytes())
        except ValueError as error:
            raise ValueError(f"{file} {error}") from error
        if missing := [name for name in OWNERS_SPLITS.values() if name not in arrays]:
            raise ValueError(f"{file} has no {', '.join(missing)}; it has {', '.join(sorted(arrays)) or 'no arrays'}")
        times = Counter(number for name in OWNERS_SPLITS.values() for number in arrays[name])
        for number in sorted(number for number, count in times.items() if count > 1):
            yield Problem(str(file), f"lists the photograph {number} more than once", detail=True)
        for number in sorted(numbers - times.keys()):
            yield Problem(str(file), f"does not list the photograph {number}, so it is in no split", detail=True)
        wanted = frozenset(arrays[OWNERS_SPLITS[split]])
        return lambda number, _: number in wanted, wanted
    if rule == "classes":
        file = class_list(root, split)
        assert file is not None
        classes = yield from read_classes(file, texts)
        yield from unlisted_classes(root, texts)
        return lambda _, class_name: class_name is None or class_name in classes, frozenset()
    return lambda number, _: is_in_split(number, split), frozenset()


def describe_split(root: SourcePath, split: str) -> str:
    """The rule that chooses a split's images, as a sentence."""
    return describe_rule(root, split, root / "setid.mat")


def find_annotations(root: SourcePath) -> list[SourcePath]:
    """The files of captions and splits, in order."""
    return [root / "setid.mat", *class_lists(root), *sorted(root.glob("text_c10/*/*.txt"))]
