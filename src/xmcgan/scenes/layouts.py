"""Writes the annotation files of Scenes in the layouts of COCO 2014 and Open Images, with Localized Narratives.

Pictures and texts are the same in both; file names and annotation formats are those of each data set.
"""

import csv
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xmcgan.data.records import Narrative
from xmcgan.runtime.files import make_folder, write_text
from xmcgan.scenes.draw import Shape
from xmcgan.scenes.scene import KINDS, SPLITS

VERSION = 1  # of the generated pictures and texts: increase it when they change

_MOST_OBJECTS = 4
_DATE = "2014-01-01 00:00:00"


@dataclass(frozen=True)
class Picture:
    """The annotations of one picture, except its narrative."""

    number: int  # from 1, over all splits
    id: str
    captions: tuple[str, ...]
    kinds: tuple[str, ...]  # of its objects
    shapes: tuple[Shape, ...]  # of its objects, in pixels


@dataclass(frozen=True)
class Layout:
    """The file names of a layout, relative to the data set's folder, and how to write its annotations.

    `folders` are the image folders of SPLITS; `files` maps folder and image id to a file name. `identify` maps (seed,
    split, index, number) to an image id. `annotate` writes the annotation files for all pictures, given their side in
    pixels.
    """

    folders: dict[str, str]
    files: Callable[[str, str], str]
    narratives: dict[str, str]
    identify: Callable[[int, str, int, int], str]
    annotate: Callable[[Path, dict[str, list[Picture]], int], None]


def narrative_line(narrative: Narrative, folder: str, image_id: str, annotator: int) -> str:
    """A line of a Localized Narratives file for an image."""
    dataset = f"scenes_{folder}"
    line = {
        "dataset_id": dataset,
        "image_id": image_id,
        "annotator_id": annotator,
        "caption": narrative.caption,
        "timed_caption": [
            {"utterance": spoken.words, "start_time": spoken.start, "end_time": spoken.end}
            for spoken in narrative.utterances
        ],
        "traces": [[{"x": p.x, "y": p.y, "t": p.t} for p in stroke] for stroke in narrative.strokes],
        "voice_recording": f"{dataset}/{dataset}_{image_id:0>12}_{annotator}.ogg",
    }
    return json.dumps(line) + "\n"


def write_json(path: Path, content: dict) -> None:
    write_text(path, json.dumps(content))


# ------------------------------------------------------------------------------------------------- COCO 2014


def _coco_file(folder: str, image_id: str) -> str:
    return f"COCO_{folder}_{image_id:0>12}.jpg"


def _annotate_as_coco(root: Path, pictures: dict[str, list[Picture]], size: int) -> None:
    """Writes `annotations/captions_*.json` and `annotations/instances_*.json`."""
    make_folder(root / "annotations")
    for split, there in pictures.items():
        folder = COCO.folders[split]
        head = {
            "info": _info(split),
            "licenses": _LICENSES,
            "images": [_image(picture, folder, size) for picture in there],
        }
        captions = [entry for picture in there for entry in _captions(picture)]
        instances = [entry for picture in there for entry in _instances(picture)]
        write_json(root / f"annotations/captions_{folder}.json", {**head, "annotations": captions})
        write_json(
            root / f"annotations/instances_{folder}.json",
            {**head, "annotations": instances, "categories": _CATEGORIES},
        )


def _image(picture: Picture, folder: str, size: int) -> dict:
    return {
        "license": 1,
        "file_name": _coco_file(folder, picture.id),
        "coco_url": "",
        "height": size,
        "width": size,
        "date_captured": _DATE,
        "flickr_url": "",
        "id": picture.number,
    }


def _captions(picture: Picture) -> list[dict]:
    before = (picture.number - 1) * len(picture.captions)
    return [
        {"image_id": picture.number, "id": before + k, "caption": caption}
        for k, caption in enumerate(picture.captions, 1)
    ]


def _instances(picture: Picture) -> list[dict]:
    return [
        {
            "segmentation": [[round(value, 2) for value in shape.outline]],
            "area": round(shape.area, 4),
            "iscrowd": 0,
            "image_id": picture.number,
            "bbox": [round(value, 2) for value in shape.box],
            "category_id": KINDS[kind].id,
            "id": (picture.number - 1) * _MOST_OBJECTS + k,
        }
        for k, (kind, shape) in enumerate(zip(picture.kinds, picture.shapes, strict=True), 1)
    ]


def _info(split: str) -> dict:
    return {
        "description": f"Scenes, {split} split, in the layout of COCO 2014",
        "url": "",
        "version": str(VERSION),
        "year": 2014,
        "contributor": "xmcgan",
        "date_created": _DATE[:10].replace("-", "/"),
    }


_LICENSES = [{"url": "https://www.apache.org/licenses/LICENSE-2.0", "id": 1, "name": "Apache License 2.0"}]
_CATEGORIES = [
    {"supercategory": kind.supercategory, "id": kind.id, "name": kind.name}
    for kind in sorted(KINDS.values(), key=lambda kind: kind.id)
]

COCO = Layout(
    folders={split: f"{split}2014" for split in SPLITS},
    files=_coco_file,
    narratives={split: f"localized_narratives/coco_{split}_localized_narratives.jsonl" for split in SPLITS},
    identify=lambda seed, split, index, number: str(number),
    annotate=_annotate_as_coco,
)

# ----------------------------------------------------------------------------------------------- Open Images

# Open Images' class label for each kind of object. Classes get COCO's names, so that categories are the same in both
# layouts.
LABELS: dict[str, str] = {
    "car": "/m/0k4j",
    "airplane": "/m/0cmf2",
    "bus": "/m/01bjv",
    "train": "/m/07jdr",
    "truck": "/m/07r04",
    "boat": "/m/019jd",
    "traffic light": "/m/015qff",
    "fire hydrant": "/m/01pns0",
    "stop sign": "/m/02pv19",
    "bench": "/m/0cvnqh",
    "bird": "/m/015p6",
    "sheep": "/m/07bgp",
    "umbrella": "/m/0hnnb",
    "sports ball": "/m/018xm",
    "kite": "/m/02zt3",
    "cup": "/m/02p5f1q",
    "banana": "/m/09qck",
    "apple": "/m/014j1m",
    "orange": "/m/0cyhj_",
    "donut": "/m/0jy4k",
    "cake": "/m/0fszt",
    "couch": "/m/02crq1",
    "potted plant": "/m/03fp41",
    "clock": "/m/01x3z",
    "vase": "/m/02s195",
    "teddy bear": "/m/0kmg4",
}

_COLUMNS = (
    "ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax", "IsOccluded", "IsTruncated",
    "IsGroupOf", "IsDepiction", "IsInside",
)  # fmt: skip


def _open_images_id(seed: int, split: str, index: int, number: int) -> str:
    """16 hexadecimal digits, a function of (seed, split, index) like the scene itself."""
    return hashlib.blake2b(f"{seed} {split} {index}".encode(), digest_size=8).hexdigest()


def _annotate_as_open_images(root: Path, pictures: dict[str, list[Picture]], size: int) -> None:
    """Writes `*-annotations-bbox.csv`, sorted by image id, and `class-descriptions-boxable.csv`."""
    write_csv(root / "class-descriptions-boxable.csv", sorted((label, kind) for kind, label in LABELS.items()))
    for split, there in pictures.items():
        ordered = sorted(there, key=lambda picture: picture.id)
        rows = itertools.chain.from_iterable(_box_rows(picture, size) for picture in ordered)
        write_csv(root / f"{OPEN_IMAGES.folders[split]}-annotations-bbox.csv", [_COLUMNS, *rows])


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def _box_rows(picture: Picture, size: int) -> list[tuple]:
    rows = []
    for kind, shape in zip(picture.kinds, picture.shapes, strict=True):
        left, top, width, height = (round(value, 2) for value in shape.box)  # to COCO's precision
        sides = (left, left + width, top, top + height)
        x_min, x_max, y_min, y_max = (f"{side / size:.6f}" for side in sides)
        # Occlusion and truncation are unknown, for which Open Images uses -1.
        rows.append((picture.id, "xclick", LABELS[kind], 1, x_min, x_max, y_min, y_max, -1, -1, 0, 1, 0))
    return rows


OPEN_IMAGES = Layout(
    folders={"train": "train", "val": "validation", "evaluator": "test"},
    files=lambda folder, image_id: f"{image_id}.jpg",
    narratives={
        "train": "localized_narratives/open_images_train_v6_localized_narratives-00000-of-00001.jsonl",
        "val": "localized_narratives/open_images_validation_localized_narratives.jsonl",
        "evaluator": "localized_narratives/open_images_test_localized_narratives.jsonl",
    },
    identify=_open_images_id,
    annotate=_annotate_as_open_images,
)

LAYOUTS = {"coco": COCO, "open-images": OPEN_IMAGES}
