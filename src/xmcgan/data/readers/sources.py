"""Information about a source data set before reading it: its annotation files, a fingerprint, and its rough size."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from xmcgan.data.readers import cub200, flickr8k, flickr30k, flowers102
from xmcgan.data.readers.folder import SUFFIXES, split_folder
from xmcgan.data.readers.localized_narratives import find_narratives
from xmcgan.data.readers.open_images import find_box_file
from xmcgan.data.readers.table import ROWS, Row, find_table
from xmcgan.data.readers.webdataset import find_tars
from xmcgan.data.records import Problem

_END = 1 << 20  # bytes of a file's beginning and of its end that the fingerprint covers


def annotation_files(root: Path, layout: str, split: str) -> list[Path]:
    """The existing annotation files of a split, in order."""
    match layout:
        case "coco":
            files = [root / "annotations" / f"{kind}_{split}.json" for kind in ("captions", "instances")]
        case "localized-narratives":
            instances = root / "annotations" / f"instances_{split}.json"
            files = [*find_narratives(root), find_box_file(root, split) or instances]
        case "flowers102":
            files = flowers102.find_annotations(root)
        case "cub200" | "cub200-cropped":
            files = cub200.find_annotations(root)
        case "flickr8k":
            files = flickr8k.find_annotations(root)
        case "flickr30k":
            files = flickr30k.find_annotations(root)
        case "table":
            files = [find_table(root, split)]
        case "webdataset":
            files = find_tars(root, split)
        case _:
            folder = split_folder(root, split)
            files = sorted(Path(place, name) for place, _, names in os.walk(folder) for name in names)
            files = [file for file in files if file.suffix == ".txt"]
    return [file for file in files if file.is_file()]


def describe_split(root: Path, layout: str, split: str) -> str | None:
    """Which rule a split of a layout with several is chosen by, as a sentence; None for other layouts.

    Raises:
        FileNotFoundError: if there is no such split.
    """
    match layout:
        case "flowers102":
            return flowers102.describe_split(root, split)
        case "cub200" | "cub200-cropped":
            return cub200.describe_split(root, split)
        case "flickr8k":
            return flickr8k.describe_split(root, split)
        case "flickr30k":
            return flickr30k.describe_split(root, split)
    return None


def fingerprint(root: Path, layout: str, splits: Sequence[str]) -> str:
    """A digest of the names, sizes, beginnings and ends of the annotation files, to detect another or changed source.

    Raises:
        FileNotFoundError: if the source or one of its splits is missing.
    """
    digest = hashlib.sha256()
    base = root.parent if root.is_file() else root
    for split in splits:
        for path in annotation_files(root, layout, split):
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                name = path.relative_to(base).as_posix().encode(errors="surrogateescape").hex()
                digest.update(json.dumps([split, name, size]).encode())
                digest.update(file.read(_END))
                file.seek(max(size - _END, _END))
                digest.update(file.read())
    return digest.hexdigest()


def count_entries(root: Path, layout: str, split: str) -> int | None:
    """The approximate number of records of a split, bad ones included; None if counting would take long.

    Counts images of COCO, lines of narratives, and images of a table or folder, without parsing annotations.
    """
    match layout:
        case "coco":
            file = root / "annotations" / f"captions_{split}.json"
            return file.read_bytes().count(b'"file_name"') if file.is_file() else None
        case "localized-narratives":
            end, count = f'_{split}"'.encode(), 0
            for path in find_narratives(root):
                with path.open("rb") as stream:
                    count += sum(end in line for line in stream)
            return count
        case "table":
            file = find_table(root, split)
            return len({row.path for row in ROWS[file.suffix](file) if not isinstance(row, Problem) and _is_text(row)})
        case "folder":
            walk = os.walk(split_folder(root, split))
            return sum(Path(name).suffix.lower() in SUFFIXES for _, _, names in walk for name in names)
    return None


def _is_text(row: Row) -> bool:
    return isinstance(row.path, str)
