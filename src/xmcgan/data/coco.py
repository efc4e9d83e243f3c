"""COCO captions, in the layout its owners publish: ``train2014/``, ``annotations/captions_train2014.json``."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from xmcgan.data.captions import Record


def read_coco_captions(root: Path, split: str) -> list[Record]:
    """The captioned images of one split, in order of image id.

    Args:
        root: the folder that holds ``annotations/`` and the folders of images.
        split: such as ``train2014`` or ``val2014``: the name of the folder of images, and of the captions file.

    Raises:
        FileNotFoundError: if a folder, the captions file or images it names are missing.
        ValueError: if the captions file is not COCO's; the message names the file and the entry.
    """
    captions_file = root / "annotations" / f"captions_{split}.json"
    folder = root / split
    if not captions_file.is_file() or not folder.is_dir():
        missing = captions_file if not captions_file.is_file() else folder
        raise FileNotFoundError(
            f"{missing} is missing. The official layout of COCO is {root / split}/*.jpg and {captions_file}"
            f"{available_splits(root)}"
        )
    content = read_json(captions_file)
    if not isinstance(content, dict):
        raise ValueError(f"{captions_file} is not a COCO captions file: its top level is no object")
    captions = defaultdict(list)
    for position, annotation in enumerate(entries(content, "annotations", captions_file)):
        image_id, caption = (
            field(annotation, key, "annotations", position, captions_file) for key in ("image_id", "caption")
        )
        if not isinstance(caption, str) or not caption.strip():
            raise ValueError(f"{captions_file}: annotations[{position}].caption is {caption!r}; it should be words")
        check_id(image_id, "image_id", "annotations", position, captions_file)
        captions[image_id].append(" ".join(caption.split()))

    present = {entry.name for entry in folder.iterdir()}
    records, absent = {}, []
    for position, image in enumerate(entries(content, "images", captions_file)):
        image_id, name = (field(image, key, "images", position, captions_file) for key in ("id", "file_name"))
        check_id(image_id, "id", "images", position, captions_file)
        if image_id not in captions:
            continue
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".."):
            raise ValueError(
                f"{captions_file}: images[{position}].file_name is {name!r}; it should be a bare file name"
            )
        if name not in present:
            absent.append(name)
        records[image_id] = Record(folder / name, tuple(captions[image_id]), str(image_id))
    if absent:
        raise FileNotFoundError(f"{len(absent)} of {len(records)} images are not in {folder}; the first is {absent[0]}")
    if not records:
        raise ValueError(f"{captions_file} has no image with a caption")
    return [records[image_id] for image_id in sorted(records)]


def available_splits(root: Path) -> str:
    """A hint at the splits a folder does have."""
    found = sorted(file.stem.removeprefix("captions_") for file in root.glob("annotations/captions_*.json"))
    return f"; there is {', '.join(found)}" if found else ""


def read_json(path: Path) -> Any:
    """The content of a JSON file, or a ValueError that says where it is broken."""
    try:
        return json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def entries(content: dict[str, Any], key: str, path: Path) -> list[Any]:
    """A list of a COCO file."""
    if not isinstance(content.get(key), list):
        raise ValueError(f"{path} is not a COCO captions file: it has no list {key!r}")
    return content[key]


def check_id(value: Any, key: str, where: str, position: int, path: Path) -> None:
    """Refuses what is no image id: another type would find no partner, and its captions would be lost in silence."""
    if not isinstance(value, int):
        raise ValueError(f"{path}: {where}[{position}].{key} is {value!r}; it should be a whole number")


def field(entry: Any, key: str, where: str, position: int, path: Path) -> Any:
    """A field of an entry of a COCO file."""
    if not isinstance(entry, dict) or key not in entry:
        raise ValueError(f"{path}: {where}[{position}] has no {key!r}")
    return entry[key]
