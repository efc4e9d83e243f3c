"""The data folder of Scenes: official layouts, the same bytes with any number of workers, nothing half written."""

import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from scene_words import SIDED, captions_of
from xmcgan.scenes import (
    BACKGROUNDS,
    KINDS,
    SPLITS,
    World,
    draw_scene,
    sample_scene,
    write_scenes,
)
from xmcgan.scenes import write as write_module

COUNTS = {"train": 12, "val": 5, "evaluator": 7}


SIZE = 32


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("data") / "scenes", size=SIZE, **COUNTS, workers=1, progress=False)


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_files_have_their_official_names(root):
    first = 1
    for split, count in COUNTS.items():
        names = sorted(path.name for path in (root / f"{split}2014").iterdir())
        assert names == [f"COCO_{split}2014_{first + i:012d}.jpg" for i in range(count)]
        first += count
        assert (root / f"annotations/captions_{split}2014.json").is_file()
        assert (root / f"annotations/instances_{split}2014.json").is_file()
        assert (root / f"localized_narratives/coco_{split}_localized_narratives.jsonl").is_file()
    manifest = json.loads((root / "scenes.json").read_text())
    assert manifest == {
        "name": "scenes",
        "version": 1,
        "seed": 0,
        "size": SIZE,
        "most_objects": 4,
        "backgrounds": list(BACKGROUNDS),
        "kinds": list(KINDS),
        "counts": COUNTS,
    }


def test_the_files_of_open_images_have_their_official_names_and_columns(root, tmp_path):
    settings = {"size": SIZE, **COUNTS, "progress": False}
    other = write_scenes(tmp_path / "open", layout="open-images", workers=2, **settings)
    assert {str(path.relative_to(other)) for path in other.iterdir()} | {
        str(path.relative_to(other)) for path in (other / "localized_narratives").iterdir()
    } == {f"{split}{name}" for split in ("train", "validation", "test") for name in ("", "-annotations-bbox.csv")} | {
        "class-descriptions-boxable.csv",
        "localized_narratives",
        "localized_narratives/open_images_train_v6_localized_narratives-00000-of-00001.jsonl",
        "localized_narratives/open_images_validation_localized_narratives.jsonl",
        "localized_narratives/open_images_test_localized_narratives.jsonl",
        "scenes.json",
    }
    names = [path.name for split in ("train", "validation", "test") for path in (other / split).iterdir()]
    assert len(set(names)) == sum(COUNTS.values())
    assert all(re.fullmatch(r"[0-9a-f]{16}\.jpg", name) for name in names)
    assert {path.read_bytes() for path in other.glob("*/*.jpg")} == {path.read_bytes() for path in root.glob("*/*.jpg")}

    header, *rows = csv.reader((other / "train-annotations-bbox.csv").open(newline=""))
    official = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction"
    assert ",".join(header) == f"{official},IsInside"
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert {row[0] for row in rows} == {path.stem for path in (other / "train").iterdir()}
    assert len(rows) == sum(len(sample_scene(0, "train", i).objects) for i in range(COUNTS["train"]))
    names = dict(csv.reader((other / "class-descriptions-boxable.csv").open(newline="")))
    assert sorted(names.values()) == sorted(KINDS)
    assert names["/m/0k4j"] == "car"

    assert json.loads((other / "scenes.json").read_text())["layout"] == "open-images"
    assert write_scenes(other, layout="open-images", **settings) == other
    with pytest.raises(FileExistsError, match="other settings"):
        write_scenes(other, **settings)


def test_pictures_are_rgb_jpegs_without_chroma_subsampling(root):
    for split in SPLITS:
        for path in (root / f"{split}2014").iterdir():
            with Image.open(path) as picture:
                assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (SIZE, SIZE))
                assert JpegImagePlugin.get_sampling(picture) == 0
    with Image.open(root / f"train2014/COCO_train2014_{3:012d}.jpg") as picture:
        drawn = draw_scene(sample_scene(0, "train", 2), SIZE)
        assert np.abs(np.asarray(picture, int) - np.asarray(drawn, int)).mean() < 4


def test_annotations_follow_cocos_schema_with_ids_unique_across_splits(root):
    image_ids, caption_ids, instance_ids = [], [], []
    for split, count in COUNTS.items():
        captions = json.loads((root / f"annotations/captions_{split}2014.json").read_text())
        instances = json.loads((root / f"annotations/instances_{split}2014.json").read_text())
        assert list(captions) == ["info", "licenses", "images", "annotations"]
        assert list(instances) == ["info", "licenses", "images", "annotations", "categories"]
        assert captions["images"] == instances["images"]
        assert len(captions["images"]) == count
        for image in captions["images"]:
            assert list(image) == [
                "license", "file_name", "coco_url", "height", "width", "date_captured", "flickr_url", "id"
            ]  # fmt: skip
            assert image["file_name"] == f"COCO_{split}2014_{image['id']:012d}.jpg"
        ids = [image["id"] for image in captions["images"]]
        assert sorted(a["image_id"] for a in captions["annotations"]) == sorted(ids * 5)
        assert all(list(a) == ["image_id", "id", "caption"] for a in captions["annotations"])
        for a in instances["annotations"]:
            assert list(a) == ["segmentation", "area", "iscrowd", "image_id", "bbox", "category_id", "id"]
            x, y, w, h = a["bbox"]
            assert x >= 0
            assert y >= 0
            assert x + w <= SIZE
            assert y + h <= SIZE
            assert 0 < a["area"] <= w * h
            polygon = np.array(a["segmentation"][0]).reshape(-1, 2)
            assert (polygon >= (x - 0.01, y - 0.01)).all()
            assert (polygon <= (x + w + 0.01, y + h + 0.01)).all()
        categories = {c["id"]: c for c in instances["categories"]}
        assert len(categories) == len(KINDS) >= 12
        assert categories[3] == {"supercategory": "vehicle", "id": 3, "name": "car"}
        assert {a["category_id"] for a in instances["annotations"]} <= set(categories)
        image_ids += ids
        caption_ids += [a["id"] for a in captions["annotations"]]
        instance_ids += [a["id"] for a in instances["annotations"]]
    for numbers in (image_ids, caption_ids, instance_ids):
        assert len(numbers) == len(set(numbers))


def test_captions_and_instances_on_disk_are_those_of_their_pictures(root):
    captions = json.loads((root / "annotations/captions_val2014.json").read_text())["annotations"]
    instances = json.loads((root / "annotations/instances_val2014.json").read_text())["annotations"]
    for index in range(COUNTS["val"]):
        image_id = COUNTS["train"] + index + 1
        assert tuple(c["caption"] for c in captions if c["image_id"] == image_id) == captions_of(index, "val")
        kinds = [KINDS[thing.kind].id for thing in sample_scene(0, "val", index).objects]
        assert [a["category_id"] for a in instances if a["image_id"] == image_id] == kinds


def test_narratives_follow_the_localized_narratives_schema(root):
    first = 1
    for split, count in COUNTS.items():
        text = (root / f"localized_narratives/coco_{split}_localized_narratives.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["image_id"] for line in lines] == [str(first + i) for i in range(count)]
        first += count
        for line in lines:
            assert list(line) == [
                "dataset_id", "image_id", "annotator_id", "caption", "timed_caption", "traces", "voice_recording"
            ]  # fmt: skip
            assert line["dataset_id"] == f"scenes_{split}2014"
            assert isinstance(line["annotator_id"], int)
            assert " ".join(said["utterance"] for said in line["timed_caption"]) == line["caption"]
            assert all(list(said) == ["utterance", "start_time", "end_time"] for said in line["timed_caption"])
            assert all(list(point) == ["x", "y", "t"] for stroke in line["traces"] for point in stroke)


def test_the_bytes_depend_on_the_seed_alone_and_not_on_the_workers(root, tmp_path):
    two = write_scenes(tmp_path / "two", size=SIZE, **COUNTS, workers=2, progress=False)
    assert files_under(two) == files_under(root)
    other = write_scenes(tmp_path / "other", size=SIZE, **COUNTS, seed=1, workers=1, progress=False)
    names = [name for name in files_under(root) if name.endswith(".jpg")]
    assert all(files_under(other)[name] != files_under(root)[name] for name in names)


def test_manifest_records_non_default_settings(root, tmp_path):
    settings = {"size": SIZE, "train": 3, "val": 0, "evaluator": 0, "workers": 1, "progress": False}
    sided = write_scenes(tmp_path / "sided", world=SIDED, **settings)
    manifest = json.loads((sided / "scenes.json").read_text())
    assert (manifest["sides"], manifest["largest"]) == (1.0, 0.8)
    captions = json.loads((sided / "annotations/captions_train2014.json").read_text())["annotations"]
    assert tuple(c["caption"] for c in captions if c["image_id"] == 1) == captions_of(0, world=SIDED)
    assert write_scenes(sided, world=SIDED, **settings) == sided
    for other in (World(), World(sides=1.0), World(largest=0.8), World(colours=("red",), sides=1.0, largest=0.8)):
        with pytest.raises(FileExistsError, match="other settings"):
            write_scenes(sided, world=other, **settings)


def test_finished_data_set_is_kept_and_reported(root, capsys):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write_scenes(root, size=SIZE, train=12, val=5, evaluator=7) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert "already written" in capsys.readouterr().out


def test_other_settings_strange_folders_and_files_are_refused(root, tmp_path):
    before = files_under(root)
    with pytest.raises(FileExistsError, match="other settings"):
        write_scenes(root, size=SIZE * 2, **COUNTS, progress=False)
    assert files_under(root) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match=r"letter\.txt"):
        write_scenes(tmp_path / "mine", size=SIZE, **COUNTS, progress=False)
    with pytest.raises(FileExistsError, match="is a file"):
        write_scenes(tmp_path / "mine/letter.txt", size=SIZE, **COUNTS, progress=False)
    assert files_under(tmp_path) == {"mine/letter.txt": b"dear"}


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    assert write_scenes(tmp_path / "empty", size=16, train=1, val=0, evaluator=0, progress=False).is_dir()
    assert (tmp_path / "empty/scenes.json").is_file()


def test_failed_write_leaves_no_files(tmp_path, monkeypatch):
    write_json = write_module.write_json

    def fail_at_the_manifest(path, content):
        if path.name == "scenes.json":
            raise KeyboardInterrupt
        write_json(path, content)

    monkeypatch.setattr(write_module, "write_json", fail_at_the_manifest)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / "scenes", size=16, train=2, val=1, evaluator=1, workers=1, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_killed_write_never_looks_finished(tmp_path):
    code = (
        "from pathlib import Path; from xmcgan.scenes import write_scenes; "
        f"write_scenes(Path({str(tmp_path / 'scenes')!r}), train=50_000, workers=1, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".partial-scenes/train2014/*.jpg")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "scenes").exists()
    assert not list(tmp_path.glob("*/scenes.json"))
    small = write_scenes(tmp_path / "scenes", size=16, train=2, val=0, evaluator=0, workers=1, progress=False)
    assert (small / "scenes.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]  # what was left has gone


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "openimages"}, "layout must be coco or open-images, not 'openimages'"),
        ({"size": 15}, "size must be at least 16"),
        ({"train": -1}, "train must be at least 0"),
        ({"evaluator": -3}, "evaluator must be at least 0"),
        ({"train": 0, "val": 0, "evaluator": 0}, "nothing to write"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"workers": 0}, "workers must be at least 1"),
    ],
)
def test_invalid_settings_are_refused_before_writing(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        write_scenes(tmp_path / "scenes", **settings)
    assert list(tmp_path.iterdir()) == []
