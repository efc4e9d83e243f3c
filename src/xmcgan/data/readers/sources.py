"""Information about a source data set before reading it: its annotation files, a fingerprint, and its rough size."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from xmcgan.data.readers import cub200, flickr8k, flickr30k, flowers102
from xmcgan.data.readers.dialect import Dialect
from xmcgan.data.readers.files import unused_files
from xmcgan.data.readers.folder import SUFFIXES, split_folder
from xmcgan.data.readers.localized_narratives import find_narratives
from xmcgan.data.readers.open_images import find_box_file
from xmcgan.data.readers.table import Row, dialect_of, find_table, rows_of
from xmcgan.data.readers.tars import find_tars, is_pattern
from xmcgan.data.records import Problem
from xmcgan.data.remote import SourcePath, read_part, walk

_END = 1 << 20  # bytes of a file's beginning and of its end that the fingerprint covers


def annotation_files(root: SourcePath, layout: str, split: str) -> list[SourcePath]:
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
            files = sorted(place / name for place, _, names in walk(folder) for name in names)
            files = [file for file in files if file.suffix == ".txt"]
    return [file for file in files if file.is_file()]


_AT_ROOT = {
    "coco": r"",
    "localized-narratives": r".*(?<!_captions)\.jsonl|.*annotations-bbox.*\.csv|.*class-descriptions.*\.csv",
    "flowers102": r"setid\.mat|.*classes\.txt",
    "cub200": r".*classes\.txt",
    "cub200-cropped": r".*classes\.txt",
    "flickr8k": r"Flickr8k\.token\.txt|Flickr_8k\..*Images\.txt",
    "flickr30k": r"results_20130124\.token|results\.csv|(train|val|test)\.txt",
    "table": r".*\.(csv|tsv|jsonl|parquet|jpg|jpeg|png|webp|bmp)",
    "webdataset": r".*\.(tar|tar\.gz|tgz|tar\.bz2|tar\.xz|tar\.zst)|.*_stats\.json",
}
"""The names that files directly in the root can have, by layout, for any split."""


def unused_at_root(root: SourcePath, layout: str) -> Iterator[Problem]:
    """A problem for each file directly in the root of a data set that its layout does not define."""
    known = _AT_ROOT.get(layout)
    if known is not None and root.is_dir():
        names = (path.name for path in root.iterdir() if not path.is_dir())
        others = [name for name in names if not re.fullmatch(known, name)]
        yield from unused_files(root, others, f"is not read by the layout {layout}")


def describe_split(root: SourcePath, layout: str, split: str, dialect: Dialect | None = None) -> str | None:
    """The rule that chooses a split, or its table's dialect, as a sentence; None if there is no choice.

    Args:
        dialect: the table's dialect; detected if not given.

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
        case "webdataset":
            found = find_tars(root, split)
            if found and (is_pattern(split) or found[0].stem.isdigit()):
                return f"the split {split} is {len(found):,} tars, {found[0]} to {found[-1].name}"
        case "table":
            file = find_table(root, split)
            if file.suffix in (".csv", ".tsv"):
                return f"{file} is read as {dialect or dialect_of(file)}"
    return None


def fingerprint(root: SourcePath, layout: str, splits: Sequence[str], dialect: Dialect | None = None) -> str:
    """A digest of the names, sizes, beginnings and ends of the annotation files, to detect another or changed source.

    Args:
        dialect: the table's dialect, if one is given: it affects what is read.

    Raises:
        FileNotFoundError: if the source or one of its splits is missing.
    """
    digest = hashlib.sha256(b"" if dialect is None else json.dumps(dialect).encode())
    base = root.parent if root.is_file() else root
    for split in splits:
        for path in annotation_files(root, layout, split):
            size = path.stat().st_size
            name = str(path)[len(str(base)) + 1 :].encode(errors="surrogateescape").hex()
            digest.update(json.dumps([split, name, size]).encode())
            for start, end in ((0, min(size, _END)), (max(size - _END, _END), size)):
                digest.update(read_part(path, start, end - start) if end > start else b"")
    return digest.hexdigest()


def count_entries(root: SourcePath, layout: str, split: str, dialect: Dialect | None = None) -> int | None:
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
            rows = rows_of(find_table(root, split), dialect)
            return len({row.path for row in rows if not isinstance(row, Problem) and _is_text(row)})
        case "folder":
            folders = walk(split_folder(root, split))
            return sum(Path(name).suffix.lower() in SUFFIXES for _, _, names in folders for name in names)
    return None


def _is_text(row: Row) -> bool:
    return isinstance(row.path, str)
