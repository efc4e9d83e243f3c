"""Localized Narratives beside COCO's and Open Images' images: read as published, and damage named by line."""

import json
import random
from pathlib import Path

import pytest
from PIL import Image

from damage import assert_holds, damaged_bytes, damaged_json
from xmcgan.data.readers import files
from xmcgan.data.readers.localized_narratives import read_localized_narratives
from xmcgan.data.records import Box, Narrative, Problem, Record, TracePoint, Utterance, strict, without_duplicates

TRUCK = "0a1b2c3d4e5f6789"  # an image of Open Images


def narrative(
    image_id="285", caption="In this image I can see a bear.", dataset_id="mscoco_train2017", annotator_id=1, **more
) -> dict:
    narrative = {"dataset_id": dataset_id, "image_id": image_id, "annotator_id": annotator_id, "caption": caption}
    return {**narrative, "timed_caption": [], "traces": [], **more}


def said(*words: str) -> list[dict]:
    """The utterances of a second each."""
    return [{"utterance": each, "start_time": float(k), "end_time": k + 1.0} for k, each in enumerate(words)]


def write_narratives(root: Path, lines: list, *, split: str = "train2017", name: str = "coco_train.jsonl") -> Path:
    (root / "localized_narratives").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir(exist_ok=True)
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (root / "localized_narratives" / name).write_text(text, encoding="utf-8")
    return root


def add_image(root: Path, name: str, split: str = "train2017") -> None:
    (root / split / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3)).save(root / split / name)


def read(root: Path, split: str = "train2017") -> list[Record]:
    return list(strict(read_localized_narratives(root, split)))


def sorted_out(root: Path, split: str = "train2017") -> tuple[list[Record], list[Problem]]:
    entries = list(read_localized_narratives(root, split, annotations=True))
    records = [entry for entry in entries if isinstance(entry, Record)]
    return records, [entry for entry in entries if isinstance(entry, Problem) and not entry.unused]


def test_the_scenes_are_read_as_they_are_written(scenes):
    records, problems = sorted_out(scenes, "val2014")
    text = (scenes / "localized_narratives/coco_val_localized_narratives.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert not problems
    assert [record.id for record in records] == [f"{line['image_id']}-{line['annotator_id']}" for line in lines]
    assert [record.captions for record in records] == [(line["caption"],) for line in lines]
    assert [record.image.name for record in records] == [
        f"COCO_val2014_{int(line['image_id']):012d}.jpg" for line in lines
    ]
    assert len(records) == 8
    for record, line in zip(records, lines, strict=True):
        assert record.boxes
        assert [said.words for said in record.narrative.utterances] == [u["utterance"] for u in line["timed_caption"]]
        assert [[point._asdict() for point in stroke] for stroke in record.narrative.strokes] == line["traces"]


def test_ids_without_zero_padding_and_both_years_names(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    write_narratives(tmp_path, [narrative()])
    (record,) = read(tmp_path)
    assert record == (tmp_path / "train2017/000000000285.jpg", ("In this image I can see a bear.",), "285-1", (), None)

    add_image(tmp_path, "COCO_val2014_000000000042.jpg", "val2014")
    write_narratives(tmp_path, [narrative(42, "A  bus.\n", "mscoco_val2014")], split="val2014", name="val.jsonl")
    (record,) = read(tmp_path, "val2014")
    assert record == (tmp_path / "val2014/COCO_val2014_000000000042.jpg", ("A bus.",), "42-1", (), None)


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("place", ["{split}/", "{split}/0/", "{split}_0/"])
@pytest.mark.parametrize("folder", ["localized_narratives", "."])
def test_open_images_in_each_of_its_arrangements(tmp_path, split, place, folder):
    place = place.format(split=split)
    add_image(tmp_path, f"{TRUCK}.jpg", place)
    name = {
        "train": "open_images_train_v6_localized_narratives-00003-of-00010.jsonl",
        "validation": "open_images_validation_localized_narratives.jsonl",
    }[split]
    (tmp_path / folder).mkdir(exist_ok=True)
    line = json.dumps(narrative(TRUCK, "A truck.", f"open_images_{split}", 93))
    (tmp_path / folder / name).write_text(line + "\n")
    (tmp_path / folder / f"open_images_{split}_captions.jsonl").write_text('{"image_id": "x", "caption": "A truck."}\n')
    (record,) = read(tmp_path, split)
    assert record == (tmp_path / place / f"{TRUCK}.jpg", ("A truck.",), f"{TRUCK}-93", (), None)


def test_an_image_can_have_several_narratives_and_files_are_read_in_order(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    add_image(tmp_path, "000000000007.jpg")
    write_narratives(tmp_path, [narrative(caption="third", annotator_id=2)], name="b.jsonl")
    write_narratives(tmp_path, [narrative(caption="first"), narrative("7", "second")], name="a.jsonl")
    assert [(record.id, record.captions) for record in read(tmp_path)] == [
        ("285-1", ("first",)),
        ("7-1", ("second",)),
        ("285-2", ("third",)),
    ]


def test_second_caption_is_numbered_and_duplicate_is_detected(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    captions = ("one", "two", "one ", "three", "two")
    write_narratives(tmp_path, [narrative(caption=caption) for caption in captions])
    entries = list(read_localized_narratives(tmp_path, "train2017"))
    assert [record.id for record in entries] == ["285-1", "285-1-2", "285-1", "285-1-3", "285-1-2"]
    kinds = [type(entry) for entry in without_duplicates(entries)]
    assert kinds == [Record, Record, Problem, Record, Problem]


def test_lines_of_other_splits_and_data_sets_are_left_out(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    lines = [
        narrative(dataset_id="mscoco_val2017"),
        narrative(),
        narrative("ADE_train_00000001", dataset_id="ADE20k_train"),
    ]
    assert len(read(write_narratives(tmp_path, lines))) == 1


def test_blank_lines_are_skipped(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    write_narratives(tmp_path, ["", narrative(), " ", ""])
    entries = list(read_localized_narratives(tmp_path, "train2017"))
    assert len(entries) == 1
    assert isinstance(entries[0], Record)


def test_text_beyond_ascii_is_kept(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    write_narratives(tmp_path, [json.dumps(narrative(caption="A café 🪁"), ensure_ascii=False)])
    assert read(tmp_path)[0].captions == ("A café 🪁",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON"),
        ("not JSON", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "has no 'dataset_id'"),
        ("5", "has no 'dataset_id'"),
        ("null", "has no 'dataset_id'"),
        (narrative(image_id="12x"), "image_id is '12x'; it should be COCO's number or Open Images' 16"),
        (narrative(image_id="../../etc/passwd"), "image_id is '../../etc/passwd'"),
        (narrative(image_id="٣"), "image_id is '٣'"),
        (narrative(image_id=None), "image_id is None"),
        (narrative(image_id=[1]), "image_id is [1]"),
        (narrative(image_id=True), "image_id is True"),
        (narrative(image_id=-5), "image_id is -5"),
        (narrative(annotator_id="5"), "annotator_id is '5'; it should be a whole number"),
        (narrative(caption=None), "caption is None"),
        (narrative(caption=5), "caption is 5"),
        (narrative(caption=""), "caption is ''; it should contain words"),
        (narrative(caption=" \n"), r"caption is ' \n'; it should contain words"),
        (narrative(caption="\ud800"), r"caption is '\ud800', which is not UTF-8"),
        (narrative(dataset_id=None), "dataset_id is None"),
        (narrative(dataset_id=3), "dataset_id is 3"),
        ({"image_id": "285", "caption": "no data set"}, "has no 'dataset_id'"),
        ({"dataset_id": "mscoco_train2017", "caption": "no image"}, "has no 'image_id'"),
        ({"dataset_id": "mscoco_train2017", "image_id": "285", "caption": "no annotator"}, "has no 'annotator_id'"),
        ({"dataset_id": "mscoco_train2017", "image_id": "285", "annotator_id": 1}, "has no 'caption'"),
        (narrative("7"), "neither train2017/000000000007.jpg nor train2017/COCO_train2017_000000000007.jpg is a file"),
        (narrative(TRUCK), f"neither train2017/{TRUCK}.jpg nor train2017/0/{TRUCK}.jpg nor train2017_0/{TRUCK}.jpg"),
        (narrative("8"), "train2017/000000000008.jpg"),  # a link out of the data set
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_damaged_line_is_named_by_file_and_number(tmp_path, line, message):
    root = tmp_path / "set"
    add_image(root, "000000000285.jpg")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (root / "train2017/000000000008.jpg").symlink_to(tmp_path / "secret.jpg")
    write_narratives(root, [narrative(), narrative(caption="two"), line, narrative(caption="three")])
    entries = list(read_localized_narratives(root, "train2017"))
    records = [entry for entry in entries if isinstance(entry, Record)]
    problems = [entry for entry in entries if isinstance(entry, Problem) and not entry.unused]
    assert [problem.where for problem in problems] == [f"{root}/localized_narratives/coco_train.jsonl, line 3"]
    assert message in problems[0].reason
    assert [record.captions[0] for record in records[1:]] == ["two", "three"]


@pytest.mark.parametrize(("split", "found"), [("train2017", 1), ("val2017", 0)])
def test_a_line_too_long_is_a_problem_of_its_neighbours_split(tmp_path, monkeypatch, split, found):
    monkeypatch.setattr(files, "MOST_LINE", 1000)
    for each in ("train2017", "val2017"):
        add_image(tmp_path, "000000000285.jpg", each)
    write_narratives(tmp_path, [narrative(), narrative(caption="bear " * 400), narrative(annotator_id=2)])
    write_narratives(tmp_path, [narrative(dataset_id="mscoco_val2017")], name="coco_val.jsonl")
    entries = read_localized_narratives(tmp_path, split)
    problems = [entry for entry in entries if isinstance(entry, Problem) and not entry.unused]
    where = f"{tmp_path}/localized_narratives/coco_train.jsonl, line 2"
    assert [str(each) for each in problems] == [f"{where}: has more than 1,000 bytes"] * found


def test_a_file_that_is_no_text_is_named(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    write_narratives(tmp_path, [])
    (tmp_path / "localized_narratives/coco_train.jsonl").write_bytes(b'{"caption": "\xff\xfe"}\n')
    with pytest.raises(ValueError, match=r"no line of .*localized_narratives/\*\.jsonl is about an image of train2017"):
        read(tmp_path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"localized_narratives/\*\.jsonl is missing"):
        read(tmp_path)
    write_narratives(tmp_path, [narrative()], split="val2017")
    with pytest.raises(FileNotFoundError, match=r"/train2017 is missing"):
        read(tmp_path)


def test_split_without_narratives_is_refused(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    write_narratives(tmp_path, [narrative(dataset_id="mscoco_val2017")])
    with pytest.raises(ValueError, match=r"no line of .*localized_narratives.* is about an image of train2017"):
        read(tmp_path)


# ------------------------------------------------------------------------------------------ times and traces


def test_a_narrative_has_its_times_and_traces(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    traces = [[{"x": 0.2086, "y": -0.0533, "t": 0.022}, {"x": 1, "y": 1.04, "t": 3}], [], [{"x": 0, "y": 0, "t": 5.5}]]
    line = narrative(caption="A brown bear.", timed_caption=said("A  brown ", "bear."), traces=traces)
    (record,), problems = sorted_out(write_narratives(tmp_path, [line]))
    assert not problems
    assert record.captions == ("A brown bear.",)
    assert record.narrative == Narrative(
        "A brown bear.",
        (Utterance("A brown", 0, 1), Utterance("bear.", 1, 2)),
        ((TracePoint(0.2086, -0.0533, 0.022), TracePoint(1, 1.04, 3)), (TracePoint(0, 0, 5.5),)),
    )
    assert read(tmp_path)[0].narrative is None


GOOD = {"caption": "A bear.", "timed_caption": said("A", "bear."), "traces": [[{"x": 0.5, "y": 0.5, "t": 1}]]}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"timed_caption": None}, "timed_caption is None; it should be a list"),
        ({"timed_caption": []}, "says ''; its caption is 'A bear.'"),
        ({"timed_caption": said("A", "cat.")}, "says 'A cat.'; its caption is 'A bear.'"),
        ({"timed_caption": [*said("A"), "bear."]}, "timed_caption[1] has no 'utterance'"),
        ({"timed_caption": said("A", 5)}, "timed_caption[1] is 5; it should be a text"),
        ({"timed_caption": said("A bear.", " ")}, "timed_caption[1] is ' '; it should contain words"),
        (
            {"timed_caption": [{"utterance": "A bear.", "start_time": 2, "end_time": 1}]},
            "timed_caption[0] ends at 1, before its start at 2",
        ),
        (
            {"timed_caption": [{"utterance": "A bear.", "start_time": float("nan"), "end_time": 1}]},
            "timed_caption[0] is nan; it should be a finite number",
        ),
        ({"timed_caption": [{"utterance": "A bear.", "start_time": 0}]}, "timed_caption[0] has no 'end_time'"),
        ({"traces": 5}, "traces is 5; it should be a list"),
        ({"traces": [5]}, "traces[0] should be a list of points with x, y and t"),
        ({"traces": [[{"x": 0, "y": 0}]]}, "traces[0] should be a list of points with x, y and t"),
        ({"traces": [[[0, 0, 0]]]}, "traces[0] should be a list of points with x, y and t"),
        ({"traces": [[], [{"x": 0, "y": float("inf"), "t": 0}]]}, "traces[1] is not a list of points x, y, t: is inf"),
        ({"traces": [[{"x": 0, "y": "0", "t": 0}]]}, "traces[0] is not a list of points x, y, t: is '0'"),
        ({"traces": []}, "has no trace: there is no point in any stroke"),
        ({"traces": [[], []]}, "has no trace: there is no point in any stroke"),
        ({"traces": [[{"x": 1e30, "y": 0, "t": 0}]]}, "traces[0] has its point 0 at 1e+30, 0; it should be in or near"),
        ({"traces": [[{"x": 0, "y": 0, "t": 1e30}]]}, "is 1e+30; it should be a time in seconds"),
        (
            {"traces": [[{"x": 0, "y": 0, "t": 1}, {"x": 0, "y": 0, "t": 0.5}]]},
            "traces[0] runs backwards in time: its point 1 is at 0.5 s, after one at 1 s",
        ),
        (
            {"traces": [[{"x": 0, "y": 0, "t": 1}], [{"x": 0, "y": 0, "t": 0.5}]]},
            "runs backwards in time: a stroke begins at 0.5 s, after one that ends at 1 s",
        ),
    ],
)
def test_bad_times_or_traces_are_a_problem_and_the_caption_is_kept(tmp_path, more, message):
    add_image(tmp_path, "000000000285.jpg")
    lines = [narrative(**GOOD), narrative(annotator_id=2, **{**GOOD, **more})]
    records, (problem,) = sorted_out(write_narratives(tmp_path, lines))
    assert problem.where.endswith("coco_train.jsonl, line 2")
    assert message in problem.reason
    assert [record.captions for record in records] == [("A bear.",), ("A bear.",)]
    assert [record.narrative is None for record in records] == [False, True]


# ------------------------------------------------------------------------------------------------- the boxes


def write_open_images(root: Path, rows: str, place: str = "annotations") -> Path:
    add_image(root, f"{TRUCK}.jpg", "train/0")
    line = narrative(TRUCK, "A truck.", "open_images_train", timed_caption=said("A", "truck."))
    write_narratives(root, [line], split="train", name="open_images_train_v6_localized_narratives-00000-of-00010.jsonl")
    (root / place).mkdir(exist_ok=True)
    (root / place / "oidv6-train-annotations-bbox.csv").write_text(rows)
    (root / place / "class-descriptions-boxable.csv").write_text("/m/07r04,Truck\n/m/0k4j,Car\n")
    return root


BOXES = f"""\
ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside
0000000000000001,xclick,/m/0k4j,1,0.1,0.2,0.3,0.4,0,0,0,0,0
{TRUCK},xclick,/m/07r04,1,0.012500,0.195312,0.148438,0.587500,0,1,1,0,0
{TRUCK},xclick,/m/0k4j,1,0,1,0.5,0.75,0,1,0,0,0
"""


@pytest.mark.parametrize("place", ["annotations", "."])
def test_open_images_boxes_come_with_their_images(tmp_path, place):
    (record,), problems = sorted_out(write_open_images(tmp_path, BOXES, place), "train")
    assert [problem.reason[:12] for problem in problems] == ["has no trace"]
    assert record.boxes == (
        Box("Truck", 0.0125, 0.148438, pytest.approx(0.182812), pytest.approx(0.439062)),
        Box("Car", 0, 0.5, 1, 0.25),
    )
    assert read(tmp_path, "train")[0].boxes == ()


def test_cocos_boxes_come_with_their_images(tmp_path):
    add_image(tmp_path, "000000000285.jpg")
    write_narratives(tmp_path, [narrative(**GOOD)])
    instances = {
        "images": [{"id": 285, "width": 4, "height": 2}],
        "categories": [{"id": 23, "name": "bear"}],
        "annotations": [
            {"image_id": 285, "category_id": 23, "bbox": [1, 0, 2, 1]},
            {"image_id": 286, "category_id": 23, "bbox": [1, 0, 2, 1]},
        ],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_train2017.json").write_text(json.dumps(instances))
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.boxes == (Box("bear", 0.25, 0, 0.5, 0.5),)
    assert str(problem).endswith("annotations[1]: image_id is 286, which is not the id of an image")


# ---------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("damage", [damaged_bytes, damaged_json])
@pytest.mark.parametrize("data", ["coco", "open-images"])
def test_random_damage_never_crashes(tmp_path, damage, data):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    root, split = tmp_path / "set", {"coco": "train2017", "open-images": "train"}[data]
    if data == "coco":
        add_image(root, "000000000285.jpg")
        write_narratives(root, [narrative(**GOOD), narrative("7"), narrative(annotator_id=4, **GOOD)])
    else:
        write_open_images(root, BOXES)
    (file,) = root.glob("localized_narratives/*.jsonl")
    whole = file.read_bytes()
    for seed in range(200):
        file.write_bytes(damage(whole, random.Random(seed)))
        assert_holds(read_localized_narratives, root, split)
