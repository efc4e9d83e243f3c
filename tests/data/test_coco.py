"""COCO's own layout: read as published, and every kind of damage named."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from xmcgan.data.captions import ImageTransform
from xmcgan.data.coco import read_coco_captions
from xmcgan.data.layouts import read_records

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


def write_coco(root: Path, content: object = None, split: str = "train2014") -> Path:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir(exist_ok=True)
    content = {"images": IMAGES, "annotations": ANNOTATIONS} if content is None else content
    (root / "annotations" / f"captions_{split}.json").write_text(json.dumps(content))
    for image in IMAGES:
        Image.new("RGB", (4, 3)).save(root / split / image["file_name"].replace("train2014", split))
    return root


def test_the_scenes_are_read_as_they_are_written(scenes):
    records = read_records(scenes, "coco", "train2014")
    assert [record.id for record in records] == [str(number) for number in range(1, 25)]
    said = json.loads((scenes / "annotations/captions_train2014.json").read_text())["annotations"]
    for record in records:
        assert record.image == scenes / "train2014" / f"COCO_train2014_{int(record.id):012d}.jpg"
        assert list(record.captions) == [each["caption"] for each in said if str(each["image_id"]) == record.id]
        assert len(record.captions) == 5


def test_records_are_in_order_of_id_with_their_captions(tmp_path):
    records = read_coco_captions(write_coco(tmp_path), "train2014")
    folder = tmp_path / "train2014"
    assert records == [
        (folder / "COCO_train2014_000000000003.jpg", ("A cup on a table.",), "3"),
        (folder / "COCO_train2014_000000000009.jpg", ("A dog on a beach.", "A beach with a dog."), "9"),
    ]


def test_coco_2017_names(tmp_path):
    write_coco(tmp_path, split="val2017")
    images = [{"id": 42, "file_name": "000000000042.jpg"}]
    said = [{"image_id": 42, "id": 1, "caption": "A bus."}]
    (tmp_path / "annotations/captions_val2017.json").write_text(json.dumps({"images": images, "annotations": said}))
    Image.new("RGB", (4, 3)).save(tmp_path / "val2017/000000000042.jpg")
    (record,) = read_coco_captions(tmp_path, "val2017")
    assert record == (tmp_path / "val2017/000000000042.jpg", ("A bus.",), "42")


def test_a_missing_captions_file_names_the_splits_there_are(tmp_path):
    write_coco(tmp_path)
    write_coco(tmp_path, split="val2014")
    with pytest.raises(FileNotFoundError, match=r"captions_train2015\.json is missing.*train2014, val2014"):
        read_coco_captions(tmp_path, "train2015")


def test_a_missing_root_shows_the_layout(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere/annotations/captions_train2014\.json is missing.*layout"):
        read_coco_captions(tmp_path / "nowhere", "train2014")


def test_a_missing_folder_of_images_is_named(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "train2014").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"/train2014 is missing"):
        read_coco_captions(tmp_path, "train2014")


def test_missing_images_are_counted_and_the_first_named(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "train2014/COCO_train2014_000000000003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images are not in .*the first is COCO_train2014_000000000003"):
        read_coco_captions(tmp_path, "train2014")


def test_an_image_without_captions_may_be_missing(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "train2014/COCO_train2014_000000000007.jpg").unlink()
    assert len(read_coco_captions(tmp_path, "train2014")) == 2


@pytest.mark.parametrize("text", ['{"images": [', "", "\x00\x01", "{'images': []}"])
def test_broken_json_is_named(tmp_path, text):
    write_coco(tmp_path)
    (tmp_path / "annotations/captions_train2014.json").write_text(text)
    with pytest.raises(ValueError, match=r"captions_train2014\.json is not JSON"):
        read_coco_captions(tmp_path, "train2014")


def test_bytes_that_are_no_text_are_named(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "annotations/captions_train2014.json").write_bytes(b'{"images": "\xff\xfe\xfa"}')
    with pytest.raises(ValueError, match=r"captions_train2014\.json is not JSON"):
        read_coco_captions(tmp_path, "train2014")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "top level is no object"),
        ({"images": IMAGES}, "no list 'annotations'"),
        ({"annotations": ANNOTATIONS}, "no list 'images'"),
        ({"images": IMAGES, "annotations": {}}, "no list 'annotations'"),
        ({"images": IMAGES, "annotations": []}, "no image with a caption"),
        ({"images": [], "annotations": ANNOTATIONS}, "no image with a caption"),
    ],
)
def test_a_file_that_is_not_cocos_is_named(tmp_path, content, message):
    write_coco(tmp_path, content)
    with pytest.raises(ValueError, match=rf"captions_train2014\.json .*{message}"):
        read_coco_captions(tmp_path, "train2014")


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"image_id": 9}, r"annotations\[1\] has no 'caption'"),
        ({"caption": "A dog."}, r"annotations\[1\] has no 'image_id'"),
        ("A dog.", r"annotations\[1\] has no 'image_id'"),
        (None, r"annotations\[1\] has no 'image_id'"),
        ({"image_id": 9, "caption": ""}, r"annotations\[1\]\.caption is ''"),
        ({"image_id": 9, "caption": " \n\t"}, r"annotations\[1\]\.caption is "),
        ({"image_id": 9, "caption": None}, r"annotations\[1\]\.caption is None"),
        ({"image_id": 9, "caption": 5}, r"annotations\[1\]\.caption is 5"),
        ({"image_id": [9], "caption": "A dog."}, r"annotations\[1\]\.image_id is \[9\]"),
        ({"image_id": "9", "caption": "A dog."}, r"annotations\[1\]\.image_id is '9'"),
    ],
)
def test_a_damaged_annotation_is_named(tmp_path, annotation, message):
    write_coco(tmp_path, {"images": IMAGES, "annotations": [ANNOTATIONS[0], annotation, ANNOTATIONS[1]]})
    with pytest.raises(ValueError, match=rf"captions_train2014\.json: {message}"):
        read_coco_captions(tmp_path, "train2014")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"id": 3}, r"images\[1\] has no 'file_name'"),
        ({"file_name": "x.jpg"}, r"images\[1\] has no 'id'"),
        ([], r"images\[1\] has no 'id'"),
        ({"id": 3, "file_name": "../x.jpg"}, r"images\[1\]\.file_name is '\.\./x\.jpg'; it should be a bare file name"),
        ({"id": 3, "file_name": "/etc/x.jpg"}, r"images\[1\]\.file_name is '/etc/x\.jpg'"),
        ({"id": 3, "file_name": "sub/x.jpg"}, r"images\[1\]\.file_name is 'sub/x\.jpg'"),
        ({"id": 3, "file_name": None}, r"images\[1\]\.file_name is None"),
        ({"id": 3, "file_name": ""}, r"images\[1\]\.file_name is ''"),
        ({"id": 3, "file_name": ".."}, r"images\[1\]\.file_name is '\.\.'"),
        ({"id": [3], "file_name": "x.jpg"}, r"images\[1\]\.id is \[3\]"),
    ],
)
def test_a_damaged_image_entry_is_named(tmp_path, image, message):
    write_coco(tmp_path, {"images": [IMAGES[0], image], "annotations": ANNOTATIONS})
    with pytest.raises(ValueError, match=rf"captions_train2014\.json: {message}"):
        read_coco_captions(tmp_path, "train2014")


def test_a_path_trick_is_refused_even_where_the_file_exists(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "secret.jpg")
    images = [{"id": 3, "file_name": "../secret.jpg"}]
    write_coco(tmp_path, {"images": images, "annotations": ANNOTATIONS[1:2]})
    with pytest.raises(ValueError, match="bare file name"):
        read_coco_captions(tmp_path, "train2014")


@pytest.mark.skipif(
    "XMCGAN_COCO" not in os.environ,
    reason="XMCGAN_COCO is not set: the folder of COCO 2014, with annotations/ and its folders of images",
)
@pytest.mark.parametrize("split", ["train2014", "val2014"])
def test_real_coco_2014(split):
    root = Path(os.environ["XMCGAN_COCO"])
    if not (root / split).is_dir():
        pytest.skip(f"XMCGAN_COCO has no {split}")
    records = read_coco_captions(root, split)
    assert len({record.id for record in records}) == len(records)
    assert [int(record.id) for record in records] == sorted(int(record.id) for record in records)
    assert all(record.image.name == f"COCO_{split}_{int(record.id):012d}.jpg" for record in records)
    captions = [caption for record in records for caption in record.captions]
    assert all(5 <= len(record.captions) <= 7 for record in records)
    assert all(caption.strip() == caption and "\n" not in caption for caption in captions)
    for record in records[:: max(1, len(records) // 8)]:
        assert ImageTransform(64)(record.image).shape == (3, 64, 64)
