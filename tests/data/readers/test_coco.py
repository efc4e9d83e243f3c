"""COCO's own layout: read as published, and every kind of damage named."""

import json
import os
import random
from pathlib import Path

import pytest
from PIL import Image

from damage import assert_holds, damaged_bytes, damaged_json
from xmcgan.data.images import ImageTransform
from xmcgan.data.readers.coco import read_coco
from xmcgan.data.records import Box, Problem, Record, strict

IMAGES = [
    {"id": 9, "file_name": "COCO_train2014_000000000009.jpg"},
    {"id": 3, "file_name": "COCO_train2014_000000000003.jpg"},
    {"id": 7, "file_name": "COCO_train2014_000000000007.jpg"},  # of which nobody said anything
]
ANNOTATIONS = [
    {"id": 1, "image_id": 9, "caption": "A dog on a beach."},
    {"id": 2, "image_id": 3, "caption": " A  cup\non a table. \n"},
    {"id": 3, "image_id": 9, "caption": "A beach with a dog."},
]


INSTANCES = [
    {"id": 1, "image_id": 9, "category_id": 18, "bbox": [10, 40, 20, 40], "iscrowd": 0, "segmentation": [[1, 2, 3]]},
    {"id": 2, "image_id": 3, "category_id": 1, "bbox": [0, 0, 50.5, 25], "iscrowd": 1, "segmentation": {"counts": [5]}},
    {"id": 3, "image_id": 9, "category_id": 1, "bbox": [90, 0, 20, 100], "iscrowd": 0},
]
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]


def write_coco(root: Path, content: object = None, split: str = "train2014") -> Path:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir(exist_ok=True)
    content = {"images": IMAGES, "annotations": ANNOTATIONS} if content is None else content
    (root / "annotations" / f"captions_{split}.json").write_text(json.dumps(content))
    for image in IMAGES:
        Image.new("RGB", (4, 3)).save(root / split / image["file_name"].replace("train2014", split))
    return root


def write_instances(root: Path, *more: object, images: object = None, categories: object = None) -> Path:
    """The boxes of a data set: one of a dog in image 9, one in image 3, one cut at the right border of image 9."""
    sized = [{**image, "width": 100, "height": 80 if image["id"] == 9 else 50} for image in IMAGES]
    content = {"images": images or sized, "annotations": [*INSTANCES, *more], "categories": categories or CATEGORIES}
    (root / "annotations/instances_train2014.json").write_text(json.dumps(content))
    return root


def read(root: Path, split: str = "train2014") -> list[Record]:
    return list(strict(read_coco(root, split)))


def sorted_out(root: Path, split: str = "train2014") -> tuple[list[Record], list[Problem]]:
    entries = list(read_coco(root, split, annotations=True))
    records = [entry for entry in entries if isinstance(entry, Record)]
    return records, [entry for entry in entries if isinstance(entry, Problem) and not entry.unused]


def test_the_scenes_are_read_as_they_are_written(scenes):
    records = read(scenes)
    assert [record.id for record in records] == [str(number) for number in range(1, 25)]
    said = json.loads((scenes / "annotations/captions_train2014.json").read_text())["annotations"]
    for record in records:
        assert record.image == scenes / "train2014" / f"COCO_train2014_{int(record.id):012d}.jpg"
        assert list(record.captions) == [each["caption"] for each in said if str(each["image_id"]) == record.id]
        assert len(record.captions) == 5


def test_records_are_in_order_of_id_with_their_captions(tmp_path):
    records = read(write_coco(tmp_path))
    folder = tmp_path / "train2014"
    assert records == [
        (folder / "COCO_train2014_000000000003.jpg", ("A cup on a table.",), "3", (), None),
        (folder / "COCO_train2014_000000000009.jpg", ("A dog on a beach.", "A beach with a dog."), "9", (), None),
    ]


def test_coco_2017_names(tmp_path):
    write_coco(tmp_path, split="val2017")
    images = [{"id": 42, "file_name": "000000000042.jpg"}]
    said = [{"image_id": 42, "id": 1, "caption": "A bus."}]
    (tmp_path / "annotations/captions_val2017.json").write_text(json.dumps({"images": images, "annotations": said}))
    Image.new("RGB", (4, 3)).save(tmp_path / "val2017/000000000042.jpg")
    (record,) = read(tmp_path, "val2017")
    assert record == (tmp_path / "val2017/000000000042.jpg", ("A bus.",), "42", (), None)


def test_a_missing_captions_file_names_the_splits_there_are(tmp_path):
    write_coco(tmp_path)
    write_coco(tmp_path, split="val2014")
    with pytest.raises(FileNotFoundError, match=r"captions_train2015\.json is missing.*train2014, val2014"):
        read(tmp_path, "train2015")


def test_a_missing_root_shows_the_layout(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere/annotations/captions_train2014\.json is missing.*layout"):
        read(tmp_path / "nowhere", "train2014")


def test_a_missing_folder_of_images_is_named(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "train2014").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"/train2014 is missing"):
        read(tmp_path)


def test_missing_images_are_problems(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "train2014/COCO_train2014_000000000003.jpg").unlink()
    records, (problem,) = sorted_out(tmp_path)
    assert [record.id for record in records] == ["9"]
    assert str(problem) == (
        f"{tmp_path}/annotations/captions_train2014.json, images[1]: file_name is 'COCO_train2014_000000000003.jpg'; "
        f"it is not in {tmp_path}/train2014"
    )


def test_an_image_without_captions_may_be_missing(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "train2014/COCO_train2014_000000000007.jpg").unlink()
    assert len(read(tmp_path)) == 2


@pytest.mark.parametrize("text", ['{"images": [', "", "\x00\x01", "{'images': []}"])
def test_broken_json_is_named(tmp_path, text):
    write_coco(tmp_path)
    (tmp_path / "annotations/captions_train2014.json").write_text(text)
    with pytest.raises(ValueError, match=r"captions_train2014\.json is not JSON"):
        read(tmp_path)


def test_bytes_that_are_no_text_are_named(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "annotations/captions_train2014.json").write_bytes(b'{"images": "\xff\xfe\xfa"}')
    with pytest.raises(ValueError, match=r"captions_train2014\.json is not JSON"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "top level should be an object"),
        ({"images": IMAGES}, "has no 'annotations'"),
        ({"annotations": ANNOTATIONS}, "has no 'images'"),
        ({"images": IMAGES, "annotations": {}}, "annotations is {}; it should be a list"),
        ({"images": IMAGES, "annotations": []}, "no image with a caption"),
        ({"images": [], "annotations": ANNOTATIONS}, "no image with a caption"),
    ],
)
def test_a_file_that_is_not_cocos_is_named(tmp_path, content, message):
    write_coco(tmp_path, content)
    with pytest.raises(ValueError, match=rf"captions_train2014\.json .*{message}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"image_id": 9}, "has no 'caption'"),
        ({"caption": "A dog."}, "has no 'image_id'"),
        ("A dog.", "has no 'image_id'"),
        (None, "has no 'image_id'"),
        ({"image_id": 9, "caption": ""}, "caption is ''; it should contain words"),
        ({"image_id": 9, "caption": " \n\t"}, r"caption is ' \n\t'; it should contain words"),
        ({"image_id": 9, "caption": None}, "caption is None; it should be a text"),
        ({"image_id": 9, "caption": 5}, "caption is 5; it should be a text"),
        ({"image_id": 9, "caption": "A \ud800."}, r"caption is 'A \ud800.', which is not UTF-8"),
        ({"image_id": [9], "caption": "A dog."}, "image_id is [9]; it should be a whole number"),
        ({"image_id": "9", "caption": "A dog."}, "image_id is '9'; it should be a whole number"),
        ({"image_id": True, "caption": "A dog."}, "image_id is True; it should be a whole number"),
        ({"image_id": 10, "caption": "A dog."}, "image_id is 10, which is not the id of an image"),
    ],
)
def test_a_damaged_annotation_is_named_and_the_images_other_captions_kept(tmp_path, annotation, message):
    write_coco(tmp_path, {"images": IMAGES, "annotations": [ANNOTATIONS[0], annotation, *ANNOTATIONS[1:]]})
    records, problems = sorted_out(tmp_path)
    where = f"{tmp_path}/annotations/captions_train2014.json, annotations[1]"
    assert problems == [Problem(where, message, detail=True)]
    assert [record.captions for record in records] == [
        ("A cup on a table.",),
        ("A dog on a beach.", "A beach with a dog."),
    ]


def test_image_with_only_bad_captions_is_a_problem(tmp_path):
    write_coco(tmp_path, {"images": IMAGES, "annotations": [ANNOTATIONS[0], {"image_id": 3, "caption": " "}]})
    records, problems = sorted_out(tmp_path)
    assert [record.id for record in records] == ["9"]
    assert [(problem.detail, problem.reason) for problem in problems] == [
        (True, "caption is ' '; it should contain words"),
        (False, "has no usable caption"),
    ]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"id": 3}, "has no 'file_name'"),
        ({"file_name": "x.jpg"}, "has no 'id'"),
        ([], "has no 'id'"),
        (
            {"id": 3, "file_name": "../secret.jpg"},
            "file_name is '../secret.jpg'; it should be the name of a file inside",
        ),
        ({"id": 3, "file_name": "/etc/passwd"}, "file_name is '/etc/passwd'; it should be the name of a file inside"),
        ({"id": 3, "file_name": "sub/x.jpg"}, "file_name is 'sub/x.jpg'; it is not in"),
        ({"id": 3, "file_name": "x" * 300}, "file_name is 'xxx"),
        ({"id": 3, "file_name": "x" * 300 + "/x"}, "it cannot be looked up: File name too long"),
        ({"id": 3, "file_name": None}, "file_name is None"),
        ({"id": 3, "file_name": ""}, "file_name is ''"),
        ({"id": 3, "file_name": ".."}, "file_name is '..'"),
        ({"id": 3, "file_name": "linked.jpg"}, "file_name is 'linked.jpg'; it leads out of the data set"),
        ({"id": 3, "file_name": "folder"}, "file_name is 'folder'; it leads out of the data set, or to no file"),
        ({"id": 3, "file_name": "away/secret.jpg"}, "file_name is 'away/secret.jpg'; it leads out of the data set"),
        ({"id": 3.5, "file_name": "x.jpg"}, "id is 3.5"),
        ({"id": 9, "file_name": "x.jpg"}, "id is 9, the same as that of images[0]"),
    ],
)
def test_a_damaged_image_entry_is_named_and_nothing_outside_is_read(tmp_path, image, message):
    root = tmp_path / "coco"
    write_coco(root, {"images": [IMAGES[0], image], "annotations": ANNOTATIONS})
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (root / "secret.jpg").write_bytes(b"secret")
    (root / "train2014/linked.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "train2014/away").symlink_to(tmp_path)
    (root / "train2014/folder").mkdir()
    records, problems = sorted_out(root)
    assert [record.id for record in records] == ["9"]
    problem = next(problem for problem in problems if ", images[1]" in problem.where)
    assert message in problem.reason


def test_the_folder_of_images_may_be_a_link_and_links_inside_are_followed(tmp_path):
    root = write_coco(tmp_path / "coco")
    (root / "train2014").rename(tmp_path / "elsewhere")
    (root / "train2014").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/COCO_train2014_000000000003.jpg").rename(root / "3.jpg")
    (tmp_path / "elsewhere/COCO_train2014_000000000003.jpg").symlink_to(root / "3.jpg")
    assert [record.id for record in read(root)] == ["3", "9"]


# ------------------------------------------------------------------------------------------------- the boxes


def test_boxes_are_parts_of_the_picture_cut_at_its_border(tmp_path):
    records, problems = sorted_out(write_instances(write_coco(tmp_path)))
    assert not problems
    assert records[0].boxes == (Box("person", 0, 0, 0.505, 0.5),)  # of a crowd, and kept
    dog, person = records[1].boxes
    assert dog == Box("dog", 0.1, 0.5, 0.2, 0.5)
    assert person == Box("person", 0.9, 0, pytest.approx(0.1), 1)


def test_boxes_are_optional(tmp_path):
    write_instances(write_coco(tmp_path))
    assert all(record.boxes == () for record in read(tmp_path))
    (tmp_path / "annotations/instances_train2014.json").unlink()
    records, problems = sorted_out(tmp_path)
    assert [record.boxes for record in records] == [(), ()]
    assert not problems


def test_the_boxes_of_scenes_are_read_as_they_are_written(scenes):
    records, problems = sorted_out(scenes)
    instances = json.loads((scenes / "annotations/instances_train2014.json").read_text())["annotations"]
    assert not problems
    assert sum(len(record.boxes) for record in records) == len(instances) > 24
    x, y, width, height = instances[0]["bbox"]
    assert records[0].boxes[0][1:] == pytest.approx((x / 64, y / 64, width / 64, height / 64))


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        ({"image_id": 8, "category_id": 1, "bbox": [0, 0, 1, 1]}, "image_id is 8, which is not the id of"),
        ({"image_id": 9, "category_id": 2, "bbox": [0, 0, 1, 1]}, "category_id is 2, which is not the id of"),
        ({"image_id": 9, "category_id": 1}, "has no 'bbox'"),
        ({"image_id": 9, "category_id": 1, "bbox": [0, 0, 1]}, "it should be left, top, width and height"),
        ({"image_id": 9, "category_id": 1, "bbox": "0011"}, "bbox is '0011'; it should be a list"),
        ({"image_id": 9, "category_id": 1, "bbox": [0, 0, "1", 1]}, "is '1'; it should be a finite number"),
        ({"image_id": 9, "category_id": 1, "bbox": [0, float("nan"), 1, 1]}, "is nan; it should be a finite number"),
        ({"image_id": 9, "category_id": 1, "bbox": [0, 0, float("inf"), 1]}, "is inf; it should be a finite number"),
        (
            {"image_id": 9, "category_id": 1, "bbox": [5, 0, -1, 1]},
            "its relative width and height are -0.01 and",
        ),
        ({"image_id": 9, "category_id": 1, "bbox": [101, 0, 5, 1]}, "bbox lies outside the image"),
        ({"image_id": 9, "category_id": 1, "bbox": [0, -9, 5, 1]}, "bbox lies outside the image"),
        (None, "has no 'image_id'"),
    ],
)
def test_bad_box_is_a_problem_and_the_others_are_kept(tmp_path, instance, message):
    records, (problem,) = sorted_out(write_instances(write_coco(tmp_path), instance))
    assert problem.where == f"{tmp_path}/annotations/instances_train2014.json, annotations[3]"
    assert message in problem.reason
    assert [len(record.boxes) for record in records] == [1, 2]


def test_a_box_without_an_area_is_kept(tmp_path):
    flat = {"image_id": 3, "category_id": 1, "bbox": [10, 10, 0, 5]}  # official instances have such
    records, problems = sorted_out(write_instances(write_coco(tmp_path), flat))
    assert not problems
    assert records[0].boxes[1] == Box("person", 0.1, 0.2, 0, 0.1)


def test_invalid_image_size_and_category_name_are_problems(tmp_path):
    images = [{"id": 3, "width": 0, "height": 50}, {"id": 9, "width": 100, "height": 80}]
    write_instances(write_coco(tmp_path), images=images, categories=[CATEGORIES[0], {"id": 18}])
    records, problems = sorted_out(tmp_path)
    file = f"{tmp_path}/annotations/instances_train2014.json"
    assert [str(problem) for problem in problems] == [
        f"{file}, images[0]: width is 0; it should be at least 1 pixel",
        f"{file}, categories[1]: has no 'name'",
        f"{file}, annotations[0]: category_id is 18, which is not the id of a category",
        f"{file}, annotations[1]: image_id is 3, which is not the id of an image",
    ]
    assert [len(record.boxes) for record in records] == [0, 1]


def test_broken_instances_are_named(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "annotations/instances_train2014.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(ValueError, match=r"instances_train2014\.json has no 'categories'"):
        sorted_out(tmp_path)


# ---------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("damage", [damaged_bytes, damaged_json])
@pytest.mark.parametrize("name", ["captions", "instances"])
def test_random_damage_never_crashes(tmp_path, damage, name):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    root = write_instances(write_coco(tmp_path / "coco"))
    file = root / f"annotations/{name}_train2014.json"
    whole = file.read_bytes()
    for seed in range(200):
        file.write_bytes(damage(whole, random.Random(seed)))
        assert_holds(read_coco, root, "train2014")


def test_brackets_without_end_are_named(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "annotations/captions_train2014.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"captions_train2014\.json is not JSON"):
        read(tmp_path)


@pytest.mark.skipif(
    "XMCGAN_COCO" not in os.environ,
    reason="XMCGAN_COCO is not set: the folder of COCO 2014, with annotations/ and its folders of images",
)
@pytest.mark.parametrize("split", ["train2014", "val2014"])
def test_real_coco_2014(split):
    root = Path(os.environ["XMCGAN_COCO"])
    if not (root / split).is_dir():
        pytest.skip(f"XMCGAN_COCO has no {split}")
    entries = list(read_coco(root, split, annotations=True))
    records = [entry for entry in entries if isinstance(entry, Record)]
    assert records == entries
    assert len({record.id for record in records}) == len(records)
    assert [int(record.id) for record in records] == sorted(int(record.id) for record in records)
    assert all(record.image.name == f"COCO_{split}_{int(record.id):012d}.jpg" for record in records)
    captions = [caption for record in records for caption in record.captions]
    assert all(5 <= len(record.captions) <= 7 for record in records)
    assert all(caption.strip() == caption and "\n" not in caption for caption in captions)
    for record in records[:: max(1, len(records) // 8)]:
        assert ImageTransform(64)(record).shape == (3, 64, 64)
