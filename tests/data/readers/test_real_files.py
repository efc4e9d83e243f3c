"""The files as their owners publish them, where they are at hand: through every step, and in the numbers stated.

XMCGAN_COCO is a folder of COCO 2014 (also a part of it), XMCGAN_COCO_2017 one with annotations/captions_val2017.json,
XMCGAN_OPEN_IMAGES one with Open Images' tables of boxes and class-descriptions-boxable.csv.
"""

import csv
import json
import os
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image

from xmcgan.cli.main import main
from xmcgan.data.images import ImageTransform
from xmcgan.data.layouts import read_entries, read_records
from xmcgan.data.readers.open_images import read_box_file
from xmcgan.data.records import Problem
from xmcgan.data.stream import ExampleStream, load_batches

SPLITS = ("train2014", "val2014")


def real(variable: str) -> Path:
    """The folder of real files that a variable names."""
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set: a folder of real files")
    return Path(os.environ[variable])


def batches_of(records, size: int):
    stream = ExampleStream(records, ImageTransform(size, "crop"), seed=0, flip=True)
    return list(islice(load_batches(stream, start=0, batch_size=8, workers=0), 6))


@pytest.mark.slow
def test_coco_2014_through_every_step(tmp_path, encoder_folder, capsys):
    root = real("XMCGAN_COCO")
    source = ["--source", str(root)]
    for fit in ("squash", "crop"):
        flags = ["--output", str(tmp_path / fit), "--size", "128", "--fit", fit, "--workers", "1"]
        assert main(["data", "prepare", "coco14", *source, *flags]) == 0
    assert (tmp_path / "crop/problems.jsonl").read_text() == ""

    for split in SPLITS:
        direct = read_records(root, "coco", split, annotations=True)
        squashed, cropped = (list(read_records(tmp_path / fit, "coco", split)) for fit in ("squash", "crop"))
        assert len(direct) == len(squashed) == len(cropped) > 0
        for one, whole, square in zip(direct, squashed, cropped, strict=True):
            assert (one.id, one.captions) == (whole.id, whole.captions) == (square.id, square.captions)
            assert [box.category for box in one.boxes] == [box.category for box in whole.boxes]
            for box, expected in zip(whole.boxes, one.boxes, strict=True):
                assert box[1:] == pytest.approx(expected[1:], abs=1e-7)
            assert len(square.boxes) <= len(one.boxes)
            for _, left, top, width, height in square.boxes:
                assert min(left, top, width, height) >= 0
                assert max(left + width, top + height) <= 1 + 1e-6
        # Most of what is in a photograph is in its middle.
        assert sum(len(each.boxes) for each in cropped) > 0.75 * sum(len(each.boxes) for each in direct)
        for one, other in zip(batches_of(direct, 128), batches_of(cropped, 128), strict=True):
            assert (one.captions, one.numbers) == (other.captions, other.numbers)
            # What JPEG loses.
            assert (one.pixels.float() - other.pixels.float()).abs().mean() < 4
            assert one.pixels.dtype == other.pixels.dtype == torch.uint8

    for folder in (root, tmp_path / "squash"):
        flags = ["--source", str(folder), "--encoder", str(encoder_folder), "--output", str(tmp_path / "stats")]
        assert main(["data", "stats", "coco14", *flags]) == 0
    numbers = json.loads((tmp_path / "stats/stats.json").read_text())
    assert list(numbers) == list(SPLITS)
    # The paper's Table 1 has 10.5 words a caption.
    assert numbers["val2014"]["words"]["mean"] == pytest.approx(10.5, abs=0.3)
    assert main(["data", "browse", "coco14", *source, "--output", str(tmp_path / "page.html"), "--count", "12"]) == 0
    assert (
        main(["data", "export", str(tmp_path / "squash"), "--split", "val2014", "--output", str(tmp_path / "tars")])
        == 0
    )
    capsys.readouterr()


def test_the_captions_of_coco_2017_are_as_many_as_stated(tmp_path):
    """5,000 images and 25,014 captions of the validation split; the photographs stand in by one of a pixel."""
    annotations = real("XMCGAN_COCO_2017") / "annotations"
    (tmp_path / "annotations").symlink_to(annotations)
    (tmp_path / "val2017").mkdir()
    Image.new("RGB", (1, 1)).save(tmp_path / "pixel.jpg")
    content = (tmp_path / "pixel.jpg").read_bytes()
    for image in json.loads((annotations / "captions_val2017.json").read_bytes())["images"]:
        (tmp_path / "val2017" / image["file_name"]).write_bytes(content)
    entries = list(read_entries(tmp_path, "coco", "val2017"))
    assert not [entry for entry in entries if isinstance(entry, Problem) and not entry.unused]
    assert len(entries) == 5000
    assert sum(len(record.captions) for record in entries) == 25_014


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_boxes_of_open_images_are_as_they_stand(split, tmp_path):
    root = real("XMCGAN_OPEN_IMAGES")
    (file,) = root.glob(f"*{split}-annotations-bbox*.csv")
    reading, problems = read_box_file(file, lambda image_id: True), []
    while True:
        try:
            problems.append(next(reading))
        except StopIteration as end:
            table = end.value
            break
    assert not problems
    names = dict(csv.reader((root / "class-descriptions-boxable.csv").open(newline="", encoding="utf-8")))
    assert len(names) == 601
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(table.images) == len(rows)
    told: dict[str, list[tuple]] = {}
    for row in rows:
        sides = (float(row[name]) for name in ("XMin", "YMin", "XMax", "YMax"))
        told.setdefault(row["ImageID"], []).append((names[row["LabelName"]], *sides))
    for image_id, expected in told.items():
        found = table.of(image_id)
        assert [box.category for box in found] == [name for name, *_ in expected]
        for (_, left, top, width, height), (_, *sides) in zip(found, expected, strict=True):
            assert (left, top, left + width, top + height) == pytest.approx(sides, abs=1e-6)
