"""The boxes of Open Images: official tables and shorter ones, and every bad row named."""

import random
from pathlib import Path

import pytest

from damage import damaged_bytes
from xmcgan.data.readers.open_images import BoxTable, find_box_file, read_box_file
from xmcgan.data.records import Box, Problem

OFFICIAL = """\
ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside
ffffffffffffffff,xclick,/m/011k07,1,0.1,0.2,0.3,0.4,0,0,0,0,0
000002b66c9c498e,xclick,/m/01g317,1,0.012500,0.195312,0.148438,0.587500,0,1,0,0,0
000002b66c9c498e,activemil,/m/011k07,1,0.025000,0.276563,0.714063,0.948438,0,1,1,1,0
"""
SHORT = """LabelName,ImageID,YMax,YMin,XMax,XMin
/m/01g317,000002b66c9c498e,0.5,0.25,1,0
"""


def write(root: Path, table: str, classes: str = "/m/011k07,Tortoise\n/m/01g317,Person\n") -> Path:
    (root / "class-descriptions-boxable.csv").write_text(classes)
    (root / "train-annotations-bbox.csv").write_text(table)
    return root / "train-annotations-bbox.csv"


def read(file: Path, wanted=lambda image_id: True) -> tuple[BoxTable, list[Problem]]:
    problems, reading = [], read_box_file(file, wanted)
    while True:
        try:
            problems.append(next(reading))
        except StopIteration as end:
            return end.value, problems


def test_an_official_table(tmp_path):
    table, problems = read(write(tmp_path, OFFICIAL))
    assert not problems
    person, tortoise = table.of("000002b66c9c498e")
    assert person == Box("Person", 0.0125, 0.148438, pytest.approx(0.182812, abs=1e-9), pytest.approx(0.439062))
    assert tortoise == Box("Tortoise", 0.025, 0.714063, pytest.approx(0.251563), pytest.approx(0.234375))
    assert [box.category for box in table.of("ffffffffffffffff")] == ["Tortoise"]
    assert table.of("0000000000000000") == table.of("285") == ()


def test_columns_are_known_by_their_names(tmp_path):
    table, problems = read(write(tmp_path, SHORT))
    assert not problems
    assert table.of("000002b66c9c498e") == (Box("Person", 0, 0.25, 1, 0.25),)


def test_only_wanted_boxes_are_kept(tmp_path):
    table, problems = read(write(tmp_path, OFFICIAL), {"ffffffffffffffff"}.__contains__)
    assert problems
    assert all(problem.unused and "which is not there" in problem.reason for problem in problems)
    assert len(table.images) == 1
    assert table.of("000002b66c9c498e") == ()


def test_no_wanted_images_give_an_empty_table(tmp_path):
    table, _ = read(write(tmp_path, OFFICIAL), lambda image_id: False)
    assert table.of("ffffffffffffffff") == ()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("/m/01g317,000002b66c9c498e,0.5,0.25,1", "has 5 columns; the first line has 6"),
        ("/m/01g317,285,0.5,0.25,1,0", "ImageID is '285'; it should be 16 hexadecimal digits"),
        ("/m/01g317,../../../../../x,0.5,0.25,1,0", "ImageID is '../../../../../x'"),
        ("/m/99,000002b66c9c498e,0.5,0.25,1,0", "LabelName is '/m/99', which class-descriptions-boxable.csv"),
        ("/m/01g317,000002b66c9c498e,0.5,0.25,1,left", "could not convert string to float: 'left'"),
        ("/m/01g317,000002b66c9c498e,0.5,0.25,nan,0", "is nan; it should be a finite number"),
        ("/m/01g317,000002b66c9c498e,0.5,0.25,1e999,0", "is inf; it should be a finite number"),
        ("/m/01g317,000002b66c9c498e,0.25,0.5,1,0", "its relative width and height are 1 and -0.25"),
        ("/m/01g317,000002b66c9c498e,3,2,1,0", "lies outside the image"),
        ('/m/01g317,000002b66c9c498e,0.5,0.25,"1"0,0', "is not a valid row"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_read(tmp_path, row, message):
    table, (problem,) = read(write(tmp_path, f"{SHORT}{row}\n/m/011k07,000002b66c9c498e,1,0,1,0\n"))
    assert problem.where == f"{tmp_path}/train-annotations-bbox.csv, line 3"
    assert message in problem.reason
    assert [box.category for box in table.of("000002b66c9c498e")] == ["Person", "Tortoise"]


def test_a_box_is_cut_at_the_border(tmp_path):
    table, _ = read(write(tmp_path, f"{SHORT}/m/011k07,000002b66c9c498e,1.5,-0.5,0.5,-0.25\n"))
    assert table.of("000002b66c9c498e")[1] == Box("Tortoise", 0, 0, 0.5, 1)


def test_what_makes_the_table_unreadable_is_raised(tmp_path):
    with pytest.raises(ValueError, match=r"bbox\.csv is not a table of boxes: its first line has no XMax, YMin"):
        read(write(tmp_path, "ImageID,LabelName,XMin,YMax\n"))
    with pytest.raises(ValueError, match=r"its first line has no ImageID"):
        read(write(tmp_path, ""))
    file = write(tmp_path, OFFICIAL)
    (tmp_path / "class-descriptions-boxable.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"class-descriptions-boxable\.csv is missing"):
        read(file)


def test_a_table_of_bad_rows_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("xmcgan.data.readers.open_images._TOO_MANY_BAD", 1)
    file = write(tmp_path, "ImageID,LabelName,XMin,XMax,YMin,YMax\n" + "x,/m/011k07,0,1,0,1\n" * 2)
    with pytest.raises(ValueError, match=r"line 3 ImageID is 'x'; .*; 2 rows are bad and 0 are good"):
        read(file)


def test_version_7_names_its_classes_in_another_file_with_headings(tmp_path):
    file = write(tmp_path, OFFICIAL, "LabelName,DisplayName\n/m/011k07,Tortoise\n/m/01g317,Person\n")
    expected, _ = read(write(tmp_path, OFFICIAL))
    write(tmp_path, OFFICIAL, "LabelName,DisplayName\n/m/011k07,Tortoise\n/m/01g317,Person\n")
    (tmp_path / "class-descriptions-boxable.csv").rename(tmp_path / "oidv7-class-descriptions-boxable.csv")
    table, problems = read(file)
    assert problems == []
    assert list(table.names) == list(expected.names)


def test_a_class_without_a_name_is_named(tmp_path):
    table, problems = read(write(tmp_path, OFFICIAL, "/m/011k07,Tortoise\n/m/01g317\n"))
    assert [str(problem) for problem in problems] == [
        f"{tmp_path}/class-descriptions-boxable.csv, line 2: has 1 columns; it should be a label and a name",
        f"{tmp_path}/train-annotations-bbox.csv, line 3: LabelName is '/m/01g317', which "
        "class-descriptions-boxable.csv does not name",
    ]
    assert len(table.images) == 2


@pytest.mark.parametrize("folder", [".", "annotations"])
@pytest.mark.parametrize("prefix", ["", "oidv6-"])
def test_the_table_is_found_where_it_may_be(tmp_path, folder, prefix):
    assert find_box_file(tmp_path, "validation") is None
    (tmp_path / folder).mkdir(exist_ok=True)
    file = tmp_path / folder / f"{prefix}validation-annotations-bbox.csv"
    file.touch()
    assert find_box_file(tmp_path, "validation") == file


@pytest.mark.parametrize("name", ["train-annotations-bbox.csv", "class-descriptions-boxable.csv"])
def test_random_damage_never_crashes(tmp_path, name):
    file = write(tmp_path, OFFICIAL)
    whole = (tmp_path / name).read_bytes()
    for seed in range(300):
        (tmp_path / name).write_bytes(damaged_bytes(whole, random.Random(seed)))
        try:
            table, problems = read(file)
        except ValueError as error:
            complaint = str(error)
            assert str(tmp_path) in complaint, complaint
            continue
        for problem in problems:
            str(problem).encode()
        boxes = [box for image_id in set(table.images.tolist()) for box in table.of(f"{image_id:016x}")]
        assert len(boxes) == len(table.images)
        assert all(0 <= side <= 1 for box in boxes for side in box[1:])
