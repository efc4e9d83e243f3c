"""COCO, in the layout its owners publish: ``train2014/``, ``annotations/captions_train2014.json``."""

from collections import defaultdict
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from xmcgan.data.readers.annotations import array, box, field, number, parse_json, shown, text, whole_number, words
from xmcgan.data.readers.files import Files
from xmcgan.data.records import Box, Problem, Record, details


def read_coco(root: Path, split: str, *, annotations: bool = False) -> Iterator[Record | Problem]:
    """The captioned images of one split, in order of image id, after what is wrong in the files.

    Args:
        root: the folder that holds ``annotations/`` and the folders of images.
        split: such as ``train2014`` or ``val2014``: the name of the folder of images, and of the captions file.
        annotations: also the boxes of ``annotations/instances_{split}.json``; none where there is no such file.

    Raises:
        FileNotFoundError: if the captions file or the folder of images is missing.
        ValueError: if a file is not COCO's, or no image has a caption.
    """
    file, folder = root / "annotations" / f"captions_{split}.json", root / split
    if not file.is_file() or not folder.is_dir():
        raise FileNotFoundError(
            f"{folder if file.is_file() else file} is missing. The official layout of COCO is {folder}/*.jpg and "
            f"{file}{available_splits(root)}"
        )
    content = read_lists(file, "images", "annotations")
    images: dict[int, tuple[int, str]] = {}  # by id: where it stands, and its file's name
    for position, image in enumerate(content["images"]):
        try:
            image_id, name = field(image, "id", whole_number), field(image, "file_name", text)
            if image_id in images:
                raise ValueError(f"id is {image_id}, as that of images[{images[image_id][0]}]")
            images[image_id] = position, name
        except ValueError as error:
            yield Problem(f"{file}, images[{position}]", str(error))

    captions = defaultdict(list)  # none of an image, where all that was said of it is bad
    for position, annotation in enumerate(content["annotations"]):
        try:
            image_id = field(annotation, "image_id", whole_number)
            if image_id not in images:
                raise ValueError(f"image_id is {image_id}, which none of the images has")
            found_captions = captions[image_id]
            found_captions.append(field(annotation, "caption", words))
        except ValueError as error:
            yield Problem(f"{file}, annotations[{position}]", str(error), detail=True)

    boxes = (yield from details(read_instances(root, split))) if annotations else {}
    files, empty = Files(folder, root), True
    for image_id in sorted(captions):
        position, name = images[image_id]
        if not captions[image_id]:
            yield Problem(f"{file}, images[{position}]", "has no caption that can be used")
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


def read_instances(root: Path, split: str) -> Generator[Problem, None, dict[str, list[Box]]]:
    """The boxes of a split by its records' ids, those of crowds among them; none if there is no file of instances."""
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
                raise ValueError(f"image_id is {image_id}, which none of the images has")
            if category not in names:
                raise ValueError(f"category_id is {category}, which none of the categories has")
            relative = partial(relative_box, category=names[category], size=sizes[image_id])
            boxes[str(image_id)].append(field(annotation, "bbox", relative))
        except ValueError as error:
            yield Problem(f"{file}, annotations[{position}]", str(error))
    return boxes


def available_splits(root: Path) -> str:
    """A hint at the splits a folder does have."""
    found = sorted(file.stem.removeprefix("captions_") for file in root.glob("annotations/captions_*.json"))
    return f"; there is {', '.join(found)}" if found else ""


def read_lists(file: Path, *keys: str) -> dict[str, list[Any]]:
    """A file of COCO's, whose top level has these lists."""
    try:
        content = parse_json(file.read_bytes(), without_mask)
        if not isinstance(content, dict):
            raise ValueError("is no file of COCO's: its top level is no object")
        return {key: field(content, key, array) for key in keys}
    except ValueError as error:
        raise ValueError(f"{file} {error}") from error


def without_mask(entry: dict[str, Any]) -> dict[str, Any]:
    """An object of a JSON file without the outline nobody asked for: by far the most of COCO's instances."""
    entry.pop("segmentation", None)
    return entry


def pixels(value: Any) -> int:
    """The width or height of a picture."""
    if whole_number(value) < 1:
        raise ValueError(f"is {value}; it should be at least 1 pixel")
    return value


def relative_box(value: Any, *, category: str, size: tuple[int, int]) -> Box:
    """A box from what COCO writes, left, top, width and height in pixels of a picture of this size."""
    if len(array(value)) != 4:
        raise ValueError(f"is {shown(value)}; it should be left, top, width and height")
    (width, height), (x, y, w, h) = size, map(number, value)
    return box(category, x / width, y / height, w / width, h / height)
