"""Reads COCO in its official layout: ``train2014/``, ``annotations/captions_train2014.json``."""

from collections import defaultdict
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

from xmcgan.data.readers.annotations import (
    array,
    box,
    field,
    number,
    parse_json,
    printable,
    shown,
    text,
    whole_number,
    words,
)
from xmcgan.data.readers.files import Files, Unused, below, unused_files
from xmcgan.data.records import Box, Problem, Record, details
from xmcgan.data.remote import SourcePath


def read_coco(root: SourcePath, split: str, *, annotations: bool = False) -> Iterator[Record | Problem]:
    """The captioned images of one split, in order of image id, after the problems in the annotation files.

    Args:
        root: the folder of ``annotations/`` and the image folders.
        split: the name of the image folder and the captions file, such as ``train2014`` or ``val2014``.
        annotations: also read boxes from ``annotations/instances_{split}.json``, if it exists.

    Raises:
        FileNotFoundError: if the captions file or the image folder is missing.
        ValueError: if a file is not in COCO's format, or no image has a caption.
    """
    file, folder = root / "annotations" / f"captions_{split}.json", root / split
    if not file.is_file() or not folder.is_dir():
        raise FileNotFoundError(
            f"{folder if file.is_file() else file} is missing. The official layout of COCO is {folder}/*.jpg and "
            f"{file}{available_splits(root)}"
        )
    content = read_lists(file, "images", "annotations")
    images = yield from listed_images(content["images"], file)

    captions = defaultdict(list)  # an empty list for images whose captions are all bad
    for position, annotation in enumerate(content["annotations"]):
        try:
            image_id = field(annotation, "image_id", whole_number)
            if image_id not in images:
                raise ValueError(f"image_id is {image_id}, which is not the id of an image")
            found_captions = captions[image_id]
            found_captions.append(field(annotation, "caption", words))
        except ValueError as error:
            yield Problem(f"{file}, annotations[{position}]", str(error), detail=True)

    boxes = (yield from details(read_instances(root, split))) if annotations else {}
    files, empty = Files(folder, root), True
    without, named = Unused(), {name for _, name in images.values()}
    for image_id in images.keys() - captions.keys():
        position, name = images[image_id]
        reason = f"is {printable(name)}, which no annotation is about"
        yield from without.add(f"{file}, images[{position}]", reason, "image")
    yield from without.rest()
    yield from unused_files(folder, below(folder) - named, f"is not in {file}")
    for image_id in sorted(captions):
        position, name = images[image_id]
        if not captions[image_id]:
            yield Problem(f"{file}, images[{position}]", "has no usable caption")
            continue
        try:
            path = files.find(name)
        except ValueError as error:
            yield Problem(f"{file}, images[{position}]", f"file_name {error}")
            continue
        empty = False
        yield Record(path, tuple(captions[image_id]), str(image_id), tuple(boxes.get(str(image_id), ())))
    if empty:
        raise ValueError(f"{file} has no image with a caption")


def listed_images(listed: list, file: SourcePath) -> Generator[Problem, None, dict[int, tuple[int, str]]]:
    """The images of a captions file by id: position in the list, and file name."""
    images: dict[int, tuple[int, str]] = {}
    for position, image in enumerate(listed):
        try:
            image_id, name = field(image, "id", whole_number), field(image, "file_name", text)
            if image_id in images:
                raise ValueError(f"id is {image_id}, the same as that of images[{images[image_id][0]}]")
            images[image_id] = position, name
        except ValueError as error:
            yield Problem(f"{file}, images[{position}]", str(error))
    return images


def read_instances(root: SourcePath, split: str) -> Generator[Problem, None, dict[str, list[Box]]]:
    """The boxes of a split by record id, including crowds; empty if there is no instances file."""
    file, boxes = root / "annotations" / f"instances_{split}.json", defaultdict(list)
    if not file.is_file():
        return boxes
    content = read_lists(file, "images", "annotations", "categories")
    sizes: dict[int, tuple[int, int]] = {}
    for position, image in enumerate(content["images"]):
        try:
            sizes[field(image, "id", whole_number)] = field(image, "width", pixels), field(image, "height", pixels)
        except ValueError as error:
            yield Problem(f"{file}, images[{position}]", str(error))
    names: dict[int, str] = {}
    for position, category in enumerate(content["categories"]):
        try:
            names[field(category, "id", whole_number)] = field(category, "name", words)
        except ValueError as error:
            yield Problem(f"{file}, categories[{position}]", str(error))

    for position, annotation in enumerate(content["annotations"]):
        try:
            image_id = field(annotation, "image_id", whole_number)
            category = field(annotation, "category_id", whole_number)
            if image_id not in sizes:
                raise ValueError(f"image_id is {image_id}, which is not the id of an image")
            if category not in names:
                raise ValueError(f"category_id is {category}, which is not the id of a category")
            relative = partial(relative_box, category=names[category], size=sizes[image_id])
            boxes[str(image_id)].append(field(annotation, "bbox", relative))
        except ValueError as error:
            yield Problem(f"{file}, annotations[{position}]", str(error))
    return boxes


def available_splits(root: SourcePath) -> str:
    """The splits that a folder has, as the end of an error message."""
    found = sorted(file.stem.removeprefix("captions_") for file in root.glob("annotations/captions_*.json"))
    return f"; there is {', '.join(found)}" if found else ""


def read_lists(file: SourcePath, *keys: str) -> dict[str, list[Any]]:
    """The named lists at the top level of a COCO annotation file."""
    try:
        content = parse_json(file.read_bytes(), without_mask)
        if not isinstance(content, dict):
            raise ValueError("is not a COCO annotation file: its top level should be an object")
        return {key: field(content, key, array) for key in keys}
    except ValueError as error:
        raise ValueError(f"{file} {error}") from error


def without_mask(entry: dict[str, Any]) -> dict[str, Any]:
    """Drops the segmentation outline, which is unused and by far the largest part of COCO's instances."""
    entry.pop("segmentation", None)
    return entry


def pixels(value: Any) -> int:
    """The width or height of an image."""
    if whole_number(value) < 1:
        raise ValueError(f"is {value}; it should be at least 1 pixel")
    return value


def relative_box(value: Any, *, category: str, size: tuple[int, int]) -> Box:
    """A box from COCO's left, top, width and height in pixels, relative to an image of this size."""
    if len(array(value)) != 4:
        raise ValueError(f"is {shown(value)}; it should be left, top, width and height")
    (width, height), (x, y, w, h) = size, map(number, value)
    return box(category, x / width, y / height, w / width, h / height)
