"""Reads CUB-200-2011 with Reed's captions: ``CUB_200_2011/images/CLASS/NAME.jpg``, ``text_c10/CLASS/NAME.txt``."""

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path

from xmcgan.data.images import image_size
from xmcgan.data.readers.annotations import box, number, shown
from xmcgan.data.readers.files import Files, below, text_lines, unused_files
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
from xmcgan.data.records import Box, Crop, Problem, Record
from xmcgan.data.remote import SourcePath

CATEGORY = "bird"

Pixels = tuple[float, float, float, float]  # left, top, width and height of a box


def read_cub200(
    root: SourcePath, split: str, *, annotations: bool = False, crop: bool = False
) -> Iterator[Record | Problem]:
    """The images of one split, in the order of ``images.txt``.

    Args:
        root: the folder of ``CUB_200_2011/`` and ``text_c10/``.
        split: ``train`` or ``test`` of the owners' ``train_test_split.txt``, if it exists. Without it, ``train`` is the
            classes of ``trainvalclasses.txt`` beside ``text_c10/``, and ``test`` the classes of ``testclasses.txt``;
            without these too, ``test`` is the images whose number ends in 0, and ``train`` the others. The name of a
            class list, such as ``trainvalclasses``, always selects that list.
        annotations: also read boxes from ``bounding_boxes.txt``, if it exists.
        crop: crop every image to a square of 1.5 times the longer side of the bird's box, as StackGAN does.

    Raises:
        FileNotFoundError: if a file or folder is missing, or there is no such split.
        ValueError: if no image of the split has captions.
    """
    folder = root / "CUB_200_2011"
    file, boxes_file = folder / "images.txt", folder / "bounding_boxes.txt"
    if not file.is_file() or not (folder / "images").is_dir():
        missing = folder / "images" if file.is_file() else file
        raise FileNotFoundError(f"{missing} is missing: the official layout is {file} and {folder}/images/CLASS/*.jpg")
    if crop and not boxes_file.is_file():
        raise FileNotFoundError(f"{boxes_file} is missing: the boxes to crop to; the layout cub200 crops nothing")
    rule = split_rule(root, split, folder / "train_test_split.txt")
    images = yield from read_images(file)
    texts = yield from find_texts(root)
    is_wanted = yield from members(root, split, rule, images, texts)
    boxes: dict[int, Pixels] = {}
    if crop or (annotations and boxes_file.is_file()):
        boxes = yield from read_boxes(boxes_file, images)
    yield from unnamed(folder / "images", file, images, texts)

    files, empty = Files(folder / "images", root), True
    for image_id, (where, name) in images.items():
        if not is_wanted(image_id, name.partition("/")[0]):
            continue
        key = name.removesuffix(".jpg")
        try:
            image: SourcePath | Crop = files.find(name)
            if key not in texts:
                raise ValueError(f"is {name}, which has no captions: {root}/text_c10/{key}.txt is missing")
            captions = yield from read_captions(texts[key])
            if not captions:
                raise ValueError(f"is {name}, which has no usable caption in {texts[key]}")
            if crop and image_id not in boxes:
                raise ValueError(f"is {name}, which has no box in {boxes_file} to crop to")
            bird = ()
            if image_id in boxes:
                image, bird = located(files.folder / name, boxes[image_id], crop=crop)
        except (ValueError, OSError) as error:
            what = "the image" if isinstance(error, ValueError) else "the image's captions cannot be read:"
            yield Problem(where, f"{what} {error}")
            continue
        empty = False
        yield Record(image, captions, key, bird if annotations else ())
    if empty:
        raise ValueError(f"{file} has no image with captions in the split {split}")


read_cub200_cropped = partial(read_cub200, crop=True)


def rows(file: SourcePath, columns: Sequence[str]) -> Iterator[tuple[str, list[str]] | Problem]:
    """The lines of an official file with their place, split at spaces into the columns; blank lines are skipped."""
    for each in text_lines(file):
        if isinstance(each, Problem):
            yield each
            continue
        line, content = each
        cells = content.split()
        if len(cells) == len(columns):
            yield f"{file}, line {line}", cells
        elif cells:
            yield Problem(f"{file}, line {line}", f"is {shown(content)}; it should be {', '.join(columns)}")


def identity(cell: str) -> int:
    """An image's number."""
    if not (cell.isascii() and cell.isdigit() and len(cell) < 10):
        raise ValueError(f"has the image number {shown(cell)}; it should be a whole number")
    return int(cell)


def read_images(file: SourcePath) -> Generator[Problem, None, dict[int, tuple[str, str]]]:
    """Place and name of each image by its number."""
    images: dict[int, tuple[str, str]] = {}
    for each in rows(file, ("image number", "CLASS/NAME.jpg")):
        if isinstance(each, Problem):
            yield each
            continue
        where, (cell, name) = each
        try:
            image_id = identity(cell)
            if image_id in images:
                raise ValueError(f"has the image number {image_id} again; the first one is {images[image_id][1]}")
            if not name.endswith(".jpg") or name.count("/") != 1:
                raise ValueError(f"has the name {shown(name)}; it should be CLASS/NAME.jpg")
            images[image_id] = where, name
        except ValueError as error:
            yield Problem(where, str(error))
    return images


def members(
    root: SourcePath, split: str, rule: str, images: dict[int, tuple[str, str]], texts: dict[str, SourcePath]
) -> Generator[Problem, None, Callable[[int, str], bool]]:
    """Whether an image belongs to a split, by its number and its class."""
    if rule == "classes":
        file = class_list(root, split)
        assert file is not None
        classes = yield from read_classes(file, texts)
        yield from unlisted_classes(root, texts)
        return lambda _, class_name: class_name in classes
    if rule == "numbers":
        return lambda image_id, _: is_in_split(image_id, split)
    file = root / "CUB_200_2011" / "train_test_split.txt"
    marks: dict[int, str] = {}
    for each in rows(file, ("image number", "1 for training or 0")):
        if isinstance(each, Problem):
            yield each._replace(detail=True)
            continue
        where, (cell, mark) = each
        try:
            image_id = identity(cell)
            if image_id not in images or image_id in marks:
                reason = "which images.txt does not have" if image_id not in images else "which has an earlier line"
                raise ValueError(f"is about the image {image_id}, {reason}")
            if mark not in ("0", "1"):
                raise ValueError(f"has {shown(mark)}; it should be 1 for training or 0")
            marks[image_id] = mark
        except ValueError as error:
            yield Problem(where, str(error), detail=True)
    for image_id in images.keys() - marks.keys():
        yield Problem(images[image_id][0], f"is an image without a line in {file}, so it is in no split")
    return lambda image_id, _: marks.get(image_id) == ("1" if split == "train" else "0")


def read_boxes(file: SourcePath, images: dict[int, tuple[str, str]]) -> Generator[Problem, None, dict[int, Pixels]]:
    """The box of each image by its number, in pixels."""
    boxes: dict[int, Pixels] = {}
    for each in rows(file, ("image number", "left", "top", "width", "height")):
        if isinstance(each, Problem):
            yield each._replace(detail=True)
            continue
        where, cells = each
        try:
            image_id = identity(cells[0])
            if image_id not in images or image_id in boxes:
                reason = "which images.txt does not have" if image_id not in images else "which has an earlier line"
                raise ValueError(f"is about the image {image_id}, {reason}")
            left, top, width, height = (number(float(cell)) for cell in cells[1:])
            if width <= 0 or height <= 0:
                raise ValueError(f"has a box of {width:g} x {height:g} pixels")
            boxes[image_id] = left, top, width, height
        except ValueError as error:
            yield Problem(where, str(error), detail=True)
    return boxes


def unnamed(
    folder: SourcePath, file: SourcePath, images: dict[int, tuple[str, str]], texts: dict[str, SourcePath]
) -> Generator[Problem, None, None]:
    """A problem for each file of images or captions that ``images.txt`` does not name."""
    named = {name for _, name in images.values()}
    yield from unused_files(folder, below(folder) - named, f"is not named in {file}")
    known = {file.name, "train_test_split.txt", "bounding_boxes.txt"}
    others = {name for name in below(file.parent) if not name.startswith("images/")}
    yield from unused_files(file.parent, others - known, "is not read by this layout")
    for key, path in texts.items():
        if f"{key}.jpg" not in named:
            yield Problem(str(path), f"is about {key}.jpg, which is not named in {file}", detail=True)


def located(path: SourcePath, pixels: Pixels, *, crop: bool) -> tuple[SourcePath | Crop, tuple[Box, ...]]:
    """An image, cropped to its bird if asked for, and the bird's box relative to it.

    Raises:
        ValueError: if the image cannot be read, or the box lies outside it.
    """
    try:
        size = image_size(path)
        left, top, width, height = pixels
        square = around(pixels, *size) if crop else Crop(path, 0, 0, *size)
        across, down = square.right - square.left, square.bottom - square.top
        bird = box(CATEGORY, (left - square.left) / across, (top - square.top) / down, width / across, height / down)
    except ValueError as error:
        raise ValueError(f"is {path}; it or its box {error}") from error
    return square._replace(file=path) if crop else path, (bird,)


def around(pixels: Pixels, width: int, height: int) -> Crop:
    """The square of 1.5 times a box's longer side around its middle, cut at the image's edges, as StackGAN crops.

    Args:
        pixels: the box.
        width, height: the image's size.
    """
    left, top, across, down = pixels
    radius = int(max(across, down) * 0.75)
    x, y = int((2 * left + across) / 2), int((2 * top + down) / 2)
    square = Crop(Path(), max(0, x - radius), max(0, y - radius), min(width, x + radius), min(height, y + radius))
    if square.left >= square.right or square.top >= square.bottom:
        raise ValueError(f"lies outside the image of {width} x {height} pixels, or is empty")
    return square


def describe_split(root: SourcePath, split: str) -> str:
    """The rule that chooses a split's images, as a sentence."""
    return describe_rule(root, split, root / "CUB_200_2011" / "train_test_split.txt")


def find_annotations(root: SourcePath) -> list[SourcePath]:
    """The files of captions, boxes and splits, in order."""
    names = ("images.txt", "train_test_split.txt", "bounding_boxes.txt")
    return [
        *(root / "CUB_200_2011" / name for name in names),
        *class_lists(root),
        *sorted(root.glob("text_c10/*/*.txt")),
    ]
