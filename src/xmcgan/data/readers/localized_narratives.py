"""Localized Narratives on COCO and Open Images, as published: JSON lines (Pont-Tuset et al., ECCV 2020)."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from xmcgan.data.readers.annotations import (
    elements,
    field,
    narrative,
    parse_json,
    shown,
    stroke,
    text,
    utterance,
    whole_number,
    words,
)
from xmcgan.data.readers.coco import read_instances
from xmcgan.data.readers.files import Files
from xmcgan.data.readers.open_images import IMAGE_ID, find_box_file, read_box_file
from xmcgan.data.records import Box, Narrative, Problem, Record, TracePoint, Utterance, details


def read_localized_narratives(root: Path, split: str, *, annotations: bool = False) -> Iterator[Record | Problem]:
    """One record a narrative of a split, in order of file and line; an image can have several.

    A record's id is the image's and the annotator's: "285-93". Of further captions that one person said of one image,
    the second is "285-93-2"; a repetition keeps its id, so that it is known as one.

    Args:
        root: the folder that holds ``localized_narratives/*.jsonl`` (or the files themselves; those that end in
            ``_captions.jsonl`` say the same once more, without whose it is) and the folders of images: of COCO
            ``train2017/``, of Open Images ``train/``, ``train/0/`` to ``train/f/``, or ``train_0/`` to ``train_f/``.
        split: such as ``train2017``, ``train`` or ``validation``: the end of each line's ``dataset_id``, after "_".
        annotations: also the narratives' times and traces, and the images' boxes: from COCO's
            ``annotations/instances_{split}.json`` or Open Images' ``{split}-annotations-bbox.csv``, where there is one.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if no line is about an image of the split.
    """
    files = find_narratives(root)
    if not files:
        raise FileNotFoundError(f"{root / 'localized_narratives' / '*.jsonl'} is missing: what was told of the images")
    pictures = Pictures(root, split)
    boxes_of = (yield from details(find_boxes(root, split, pictures))) if annotations else no_boxes
    known: dict[str, list[int]] = {}  # by image and annotator: a hash of each caption
    for file in files:
        ours = first_is_of(file, split)
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                where = f"{file}, line {number}"
                if not line.strip():
                    continue
                try:
                    entry = parse_json(line)
                    ours_now = field(entry, "dataset_id", text).endswith(f"_{split}")
                except ValueError as error:
                    # Of which split, it does not say: of its neighbours', so that no other split lists it as well.
                    if ours:
                        yield Problem(where, str(error))
                    continue
                ours = ours_now
                if not ours:
                    continue
                try:
                    image_id = field(entry, "image_id", image_name)
                    annotator, caption = field(entry, "annotator_id", whole_number), field(entry, "caption", words)
                    image = pictures.find(image_id)
                except ValueError as error:
                    yield Problem(where, str(error))
                    continue
                spoken = None
                if annotations:
                    try:
                        spoken = read_narrative(entry, caption)
                    except ValueError as error:
                        yield Problem(where, f"{error} (the caption is kept)", detail=True)
                record_id = numbered_id(f"{image_id}-{annotator}", caption, known)
                yield Record(image, (caption,), record_id, boxes_of(image_id), spoken)
    if not known:
        raise ValueError(f"no line of {files[0].parent}/*.jsonl is about an image of {split}")


def numbered_id(id: str, caption: str, known: dict[str, list[int]]) -> str:
    """The record's id: the second of several captions under one id ends in "-2", and a repetition keeps its id."""
    captions = known.setdefault(id, [])
    if hash(caption) not in captions:
        captions.append(hash(caption))
    number = captions.index(hash(caption)) + 1
    return id if number == 1 else f"{id}-{number}"


def find_narratives(root: Path) -> list[Path]:
    """The files of narratives of a folder, in order."""
    files = sorted(root.glob("localized_narratives/*.jsonl")) or sorted(root.glob("*.jsonl"))
    return [file for file in files if not file.stem.endswith("_captions")]


def first_is_of(file: Path, split: str) -> bool:
    """Whether the first line that says its split is of this one; also where none does, as somebody has to list it."""
    with file.open("rb") as stream:
        for line in stream:
            try:
                return field(parse_json(line), "dataset_id", text).endswith(f"_{split}")
            except ValueError:
                continue
    return True


class Pictures:
    """The images of a split, where COCO and Open Images publish them."""

    def __init__(self, root: Path, split: str):
        self.root, self.split = root, split
        names = (split, *(f"{split}_{digit}" for digit in "0123456789abcdef"))
        self.folders = {name: Files(root / name, root) for name in names if (root / name).is_dir()}
        if not self.folders:
            raise FileNotFoundError(f"{root / split} is missing: the folder of the images that were talked about")

    def find(self, image_id: str) -> Path:
        """The file of an image.

        Raises:
            ValueError: if there is none that may be read.
        """
        path = self.locate(image_id)
        if path is None:
            names = " nor ".join(f"{folder}/{name}" for folder, name in self.places(image_id))
            raise ValueError(f"image_id is {image_id!r}; neither {names} is a file in {self.root}")
        return path

    def locate(self, image_id: str) -> Path | None:
        """The file of an image, if there is one that may be read."""
        for folder, name in self.places(image_id):
            files = self.folders.get(folder)
            subfolder, _, last = name.rpartition("/")
            if files and last in files.list(subfolder or "."):
                return files.folder / name
        return None

    def places(self, image_id: str) -> tuple[tuple[str, str], ...]:
        """The folders and names an image's file can have."""
        if IMAGE_ID.fullmatch(image_id):
            digit, name = image_id[0], f"{image_id}.jpg"
            return (self.split, name), (self.split, f"{digit}/{name}"), (f"{self.split}_{digit}", name)
        name = f"{int(image_id):012d}.jpg"
        return (self.split, name), (self.split, f"COCO_{self.split}_{name}")


def image_name(value: Any) -> str:
    """An image's id: COCO's number without leading zeros, or Open Images' 16 digits."""
    name = text(str(whole_number(value)) if isinstance(value, int) else value)
    if IMAGE_ID.fullmatch(name):
        return name
    if name.isascii() and name.isdigit() and len(name) <= 12:
        return str(int(name))
    raise ValueError(f"is {shown(value)}; it should be a number of COCO's, or Open Images' 16 hexadecimal digits")


def find_boxes(
    root: Path, split: str, pictures: Pictures
) -> Generator[Problem, None, Callable[[str], tuple[Box, ...]]]:
    """What gives the boxes of an image id: a split's table of Open Images, or else COCO's instances."""
    if file := find_box_file(root, split):
        # Only of the images that are there: a part of Open Images needs a part of the memory.
        table = yield from read_box_file(file, lambda image_id: pictures.locate(image_id) is not None)
        return table.of
    instances = yield from read_instances(root, split)
    return lambda image_id: tuple(instances.get(image_id, ()))


def no_boxes(image_id: str) -> tuple[Box, ...]:
    """Those of an image where none were asked for."""
    return ()


def read_narrative(entry: Any, caption: str) -> Narrative:
    """The times and traces of a line."""
    return narrative(caption, elements(entry, "timed_caption", timed_words), elements(entry, "traces", trace))


def timed_words(entry: Any) -> Utterance:
    """An utterance of a line."""
    return utterance(*(field(entry, key, lambda value: value) for key in ("utterance", "start_time", "end_time")))


def trace(points: Any) -> tuple[TracePoint, ...]:
    """A stroke of a line."""
    try:
        return stroke([(point["x"], point["y"], point["t"]) for point in points])
    except (TypeError, KeyError) as error:
        raise ValueError("should be a list of points with x, y and t") from error
