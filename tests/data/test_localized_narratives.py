"""Localized Narratives beside COCO's images: read as published, and damaged lines named by number."""

import json
from pathlib import Path

import pytest
from PIL import Image

from xmcgan.data.layouts import read_records
from xmcgan.data.localized_narratives import read_localized_narratives


def narrative(image_id="285", caption="In this image I can see a bear.", dataset_id="mscoco_train2017", **more) -> dict:
    return {"dataset_id": dataset_id, "image_id": image_id, "annotator_id": 1, "caption": caption, **more}


def write_narratives(root: Path, lines: list, *, split: str = "train2017", name: str = "coco_train.jsonl") -> Path:
    (root / "localized_narratives").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir(exist_ok=True)
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (root / "localized_narratives" / name).write_text(text, encoding="utf-8")
    return root


def add_image(root: Path, name: str, split: str = "train2017") -> None:
    (root / split).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3)).save(root / split / name)


def test_the_scenes_are_read_as_they_are_written(scenes):
    records = read_records(scenes, "localized-narratives", "val2014")
    lines = (scenes / "localized_narratives/coco_val_localized_narratives.jsonl").read_text().splitlines()
    assert [record.id for record in records] == [json.loads(line)["image_id"] for line in lines]
    assert [record.captions for record in records] == [(json.loads(line)["caption"],) for line in lines]
    assert [record.image.name for record in records] == [f"COCO_val2014_{int(r.id):012d}.jpg" for r in records]
    assert len(records) == 8


def test_ids_without_zero_padding_and_both_years_names(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    write_narratives(tmp_path, [narrative()])
    (record,) = read_localized_narratives(tmp_path, "train2017")
    assert record == (tmp_path / "train2017/000000000285.jpg", ("In this image I can see a bear.",), "285")

    add_image(tmp_path, "COCO_val2014_000000000042.jpg", "val2014")
    write_narratives(tmp_path, [narrative(42, "A  bus.\n", "mscoco_val2014")], split="val2014", name="val.jsonl")
    (record,) = read_localized_narratives(tmp_path, "val2014")
    assert record == (tmp_path / "val2014/COCO_val2014_000000000042.jpg", ("A bus.",), "42")


def test_an_image_can_have_several_narratives_and_files_are_read_in_order(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    add_image(tmp_path, "000000000007.jpg")
    write_narratives(tmp_path, [narrative(caption="third")], name="b.jsonl")
    write_narratives(tmp_path, [narrative(caption="first"), narrative("7", "second")], name="a.jsonl")
    records = read_localized_narratives(tmp_path, "train2017")
    assert [(record.id, record.captions) for record in records] == [
        ("285", ("first",)),
        ("7", ("second",)),
        ("285", ("third",)),
    ]


def test_lines_of_other_splits_and_data_sets_are_left_out(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    lines = [
        narrative(dataset_id="mscoco_val2017"),
        narrative(),
        narrative("ADE_train_00000001", dataset_id="ADE20k_train"),
    ]
    assert len(read_localized_narratives(write_narratives(tmp_path, lines), "train2017")) == 1


def test_text_beyond_ascii_is_kept(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    write_narratives(tmp_path, [json.dumps(narrative(caption="A café 🪁"), ensure_ascii=False)])
    assert read_localized_narratives(tmp_path, "train2017")[0].captions == ("A café 🪁",)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "",
        "not JSON",
        "[]",
        "5",
        "null",
        narrative(image_id="12x"),
        narrative(image_id=None),
        narrative(image_id=[1]),
        narrative(caption=None),
        narrative(caption=5),
        narrative(caption=""),
        narrative(caption=" \n"),
        narrative(dataset_id=None),
        narrative(dataset_id=3),
        {"image_id": "285", "caption": "no data set"},
        {"dataset_id": "mscoco_train2017", "caption": "no image"},
        {"dataset_id": "mscoco_train2017", "image_id": "285"},
    ],
    ids=repr,
)
def test_a_damaged_line_is_named_by_file_and_number(tmp_path, line):
    add_image(tmp_path, "000000000285.jpg")
    write_narratives(tmp_path, [narrative(), narrative(), line, narrative()])
    with pytest.raises(ValueError, match=r"coco_train\.jsonl, line 3 is not a narrative"):
        read_localized_narratives(tmp_path, "train2017")


def test_a_file_that_is_no_text_is_named(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    write_narratives(tmp_path, [])
    (tmp_path / "localized_narratives/coco_train.jsonl").write_bytes(b'{"caption": "\xff\xfe"}\n')
    with pytest.raises(ValueError, match=r"coco_train\.jsonl"):
        read_localized_narratives(tmp_path, "train2017")


def test_a_missing_image_is_named_with_its_line(tmp_path):
    add_image(tmp_path, "000000000007.jpg")
    write_narratives(tmp_path, [narrative("7"), narrative("285")])
    with pytest.raises(
        FileNotFoundError,
        match=r"line 2: neither 000000000285\.jpg nor COCO_train2017_000000000285\.jpg is in .*train2017",
    ):
        read_localized_narratives(tmp_path, "train2017")


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"localized_narratives/\*\.jsonl is missing"):
        read_localized_narratives(tmp_path, "train2017")
    write_narratives(tmp_path, [narrative()], split="val2017")
    with pytest.raises(FileNotFoundError, match=r"/train2017 is missing"):
        read_localized_narratives(tmp_path, "train2017")


def test_a_split_nobody_talked_about_is_named(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    write_narratives(tmp_path, [narrative(dataset_id="mscoco_val2017")])
    with pytest.raises(ValueError, match=r"no line of .*localized_narratives is about train2017"):
        read_localized_narratives(tmp_path, "train2017")
