"""Reads Localized Narratives on COCO and Open Images from JSON lines, as published (Pont-Tuset et al., ECCV 2020)."""

from collections.abc import Callable, Generator, Iterator
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
from xmcgan.data.readers.files import Files, below, filled_lines, unused_files
from xmcgan.data.readers.open_images import IMAGE_ID, find_box_file, read_box_file
from xmcgan.data.records import Box, Narrative, Problem, Record, TracePoint, Utterance, details
from xmcgan.data.remote import SourcePath


def read_localized_narratives(root: SourcePath, split: str, *, annotations: bool = False) -> Iterator[Record | Problem]:
    """One record for each narrative of a split, in order of file and line; an image can have several.

    A record's id joins the ids of image and annotator: "285-93". A second, different caption by the same annotator for
    the same image has the id "285-93-2"; a repeated caption keeps its id, so it is recognised as a duplicate.

    Args:
        root: the folder of ``localized_narratives/*.jsonl`` (or of these files; ``*_captions.jsonl``, which repeat the
            captions without annotators, are skipped) and the image folders: for COCO ``train2017/``; for Open Images
            ``train/``, ``train/0/`` to ``train/f/``, or ``train_0/`` to ``train_f/``.
        split: the end of each line's ``dataset_id`` after "_", such as ``train2017``, ``train`` or ``validation``.
        annotations: also read utterance times, mouse traces, and boxes: from COCO's
            ``annotations/instances_{split}.json`` or Open Images' ``{split}-annotations-bbox.csv``, if it exists.

    Raises:
        FileNotFoundError: if there is no narratives file or no image folder.
        ValueError: if no line is about an image of the split.
    """
    files = find_narratives(root)
    if not files:
        raise FileNotFoundError(f"{root / 'localized_narratives' / '*.jsonl'} is missing: the narratives")
    images = SplitImages(root, split)
    boxes_of = (yield from details(find_boxes(root, split, images))) if annotations else no_boxes
    known: dict[str, list[int]] = {}  # by image and annotator: a hash of each caption
    used: set[str] = set()  # names of images
    for file in files:
        for each in lines_of(file, split):
            if isinstance(each, Problem):
                yield each
                continue
            where, entry = each
            try:
                image_id = field(entry, "image_id", image_name)
                annotator, caption = field(entry, "annotator_id", whole_number), field(entry, "caption", words)
                image = images.find(image_id)
            except ValueError as error:
                yield Problem(where, str(error))
                continue
            spoken = None
            if annotations:
                try:
                    spoken = read_narrative(entry, caption)
                except ValueError as error:
                    yield Problem(where, f"{error} (the caption is kept)", detail=True)
            used.add(image.name)
            record_id = numbered_id(f"{image_id}-{annotator}", caption, known)
            yield Record(image, (caption,), record_id, boxes_of(image_id), spoken)
    if not known:
        raise ValueError(f"no line of {files[0].parent}/*.jsonl is about an image of {split}")
    yield from images.unused(used)


def lines_of(file: SourcePath, split: str) -> Iterator[tuple[str, Any] | Problem]:
    """The lines of a split with their places, parsed; one without a split is a problem of its neighbours' split."""
    ours = first_is_of(file, split)
    for each in filled_lines(file):
        if isinstance(each, Problem):
            if ours:
                yield each
            continue
        where, line = each
        try:
            entry = parse_json(line)
            ours_now = field(entry, "dataset_id", text).endswith(f"_{split}")
        except ValueError as error:
            if ours:
                yield Problem(where, str(error))
            continue
        ours = ours_now
        if ours:
            yield where, entry


def numbered_id(id: str, caption: str, known: dict[str, list[int]]) -> str:
    """The record's id: the second caption under an id gets the suffix "-2"; a repeated caption keeps its id."""
    captions = known.setdefault(id, [])
    if hash(caption) not in captions:
        captions.append(hash(caption))
    number = captions.index(hash(caption)) + 1
    return id if number == 1 else f"{id}-{number}"


def find_narratives(root: SourcePath) -> list[SourcePath]:
    """The narratives files of a folder, in order."""
    files = sorted(root.glob("localized_narratives/*.jsonl")) or sorted(root.glob("*.jsonl"))
    return [file for file in files if not file.stem.endswith("_captions")]


def first_is_of(file: SourcePath, split: str) -> bool:
    """Whether the first line with a split has this one; True if no line has a split, so problems are reported."""
    for each in filled_lines(file):
        try:
            if not isinstance(each, Problem):
                return field(parse_json(each[1]), "dataset_id", text).endswith(f"_{split}")
        except ValueError:
            continue
    return True


class SplitImages:
    """Finds the images of a split in the layouts of COCO and Open Images."""

    def __init__(self, root: SourcePath, split: str):
        self.root, self.split = root, split
        names = (split, *(f"{split}_{digit}" for digit in "0123456789abcdef"))
        self.folders = {name: Files(root / name, root) for name in names if (root / name).is_dir()}
        if not self.folders:
            raise FileNotFoundError(f"{root / split} is missing: the folder of the narratives' images")

    def find(self, image_id: str) -> SourcePath:
        """The file of an image.

        Raises:
            ValueError: if there is no readable file.
        """
        path = self.locate(image_id)
        if path is None:
            names = " nor ".join(f"{folder}/{name}" for folder, name in self.places(image_id))
            raise ValueError(f"image_id is {image_id!r}; neither {names} is a file in {self.root}")
        return path

    def locate(self, image_id: str) -> SourcePath | None:
        """The file of an image; None if there is no readable one."""
        for folder, name in self.places(image_id):
            files = self.folders.get(folder)
            subfolder, _, last = name.rpartition("/")
            if files and last in files.list(subfolder or "."):
                return files.folder / name
        return None

    def unused(self, used: set[str]) -> Iterator[Problem]:
        """A problem for each file in the split's folders whose name is not among these."""
        for files in self.folders.values():
            names = {name for name in below(files.folder) if name.rpartition("/")[2] not in used}
            yield from unused_files(files.folder, names, f"is an image of no narrative of {self.split}")

    def places(self, image_id: str) -> tuple[tuple[str, str], ...]:
        """The possible folders and names of an image's file."""
        if IMAGE_ID.fullmatch(image_id):
            digit, name = image_id[0], f"{image_id}.jpg"
            return (self.split, name), (self.split, f"{digit}/{name}"), (f"{self.split}_{digit}", name)
        name = f"{int(image_id):012d}.jpg"
        return (self.split, name), (self.split, f"COCO_{self.split}_{name}")


def image_name(value: Any) -> str:
    """An image's id: COCO's number without leading zeros, or Open Images' 16 hexadecimal digits."""
    name = text(str(whole_number(value)) if isinstance(value, int) else value)
    if IMAGE_ID.fullmatch(name):
        return name
    if name.isascii() and name.isdigit() and len(name) <= 12:
        return str(int(name))
    raise ValueError(f"is {shown(value)}; it should be COCO's number or Open Images' 16 hexadecimal digits")


def find_boxes(
    root: SourcePath, split: str, images: SplitImages
) -> Generator[Problem, None, Callable[[str], tuple[Box, ...]]]:
    """A function from image id to boxes: from Open Images' table, otherwise from COCO's instances."""
    if file := find_box_file(root, split):
        # Only the images present, so a subset of Open Images needs less memory.
        table = yield from read_box_file(file, lambda image_id: images.locate(image_id) is not None)
        return table.of
    instances = yield from read_instances(root, split)
    return lambda image_id: tuple(instances.get(image_id, ()))


def no_boxes(image_id: str) -> tuple[Box, ...]:
    """No boxes: used when annotations are not requested."""
    return ()


def read_narrative(entry: Any, caption: str) -> Narrative:
    """The narrative of a line, with its times and traces."""
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
