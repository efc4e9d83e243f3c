"""CUB-200-2011 with Reed's captions: splits, boxes, the crop to 1.5 times the box, and everything amiss named."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from damage import assert_holds, damaged_bytes
from xmcgan.cli.main import main
from xmcgan.data.images import image_bytes, open_image
from xmcgan.data.layouts import read_records
from xmcgan.data.readers import files
from xmcgan.data.readers.cub200 import around, describe_split, read_cub200, read_cub200_cropped
from xmcgan.data.records import Crop, Problem, Record, strict

NAMES = {1: "001.Auk/Auk_0001_11", 2: "001.Auk/Auk_0002_12", 10: "002.Ani/Ani_0001_13"}
BOXES = {1: (20, 10, 40, 20), 2: (0, 0, 60, 40), 10: (50, 20, 8, 20)}


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "CUB_200_2011"
    for number, name in NAMES.items():
        for path in (folder / "images" / name, tmp_path / "text_c10" / name):
            path.parent.mkdir(parents=True, exist_ok=True)
        picture = np.zeros((40, 60, 3), np.uint8)
        picture[..., 0] = np.arange(60)
        picture[..., 1] = np.arange(40)[:, None]
        Image.fromarray(picture).save(folder / "images" / f"{name}.jpg", quality=100, subsampling=0)
        lines = "".join(f"bird {number} caption {k}\n" for k in range(10))
        (tmp_path / "text_c10" / f"{name}.txt").write_text(lines)
    (folder / "images.txt").write_text("".join(f"{number} {name}.jpg\n" for number, name in NAMES.items()))
    (folder / "train_test_split.txt").write_text("1 1\n2 0\n10 1\n")
    boxes = "".join(f"{number} {' '.join(f'{value}.0' for value in box)}\n" for number, box in BOXES.items())
    (folder / "bounding_boxes.txt").write_text(boxes)
    return tmp_path


def read(root: Path, split: str = "train", **flags) -> tuple[list[Record], list[Problem]]:
    entries = list(read_cub200(root, split, **flags))
    records = [entry for entry in entries if isinstance(entry, Record)]
    return records, [entry for entry in entries if isinstance(entry, Problem) and not entry.unused]


def ids(root: Path, split: str) -> list[str]:
    return [record.id for record in strict(read_cub200(root, split))]


def test_the_owners_split_and_boxes_relative_to_the_image(root):
    first, second = strict(read_cub200(root, "train", annotations=True))
    path, captions = root / f"CUB_200_2011/images/{NAMES[1]}.jpg", tuple(f"bird 1 caption {k}" for k in range(10))
    assert first == (path, captions, NAMES[1], (("bird", 20 / 60, 10 / 40, 40 / 60, 20 / 40),), None)
    assert second.id == NAMES[10]
    assert ids(root, "test") == [NAMES[2]]
    assert not next(iter(strict(read_cub200(root, "test")))).boxes
    assert describe_split(root, "test").endswith("is that of " + str(root / "CUB_200_2011/train_test_split.txt"))


def test_class_lists_and_numbers_split_where_the_owners_file_does_not(root):
    (root / "trainvalclasses.txt").write_text("001.Auk\n")
    (root / "testclasses.txt").write_text("002.Ani\n")
    assert ids(root, "trainvalclasses") == [NAMES[1], NAMES[2]]
    (root / "CUB_200_2011/train_test_split.txt").unlink()
    assert ids(root, "test") == [NAMES[10]]
    for name in ("trainvalclasses.txt", "testclasses.txt"):
        (root / name).unlink()
    assert ids(root, "train") == [NAMES[1], NAMES[2]]
    assert ids(root, "test") == [NAMES[10]]
    assert "number ends in 0" in describe_split(root, "test")


def test_the_crop_is_stackgans(root):
    """Half the side is int(0.75 * max(w, h)), the middle int((2 x + w) / 2), int((2 y + h) / 2), cut at the edges."""
    assert around((20, 10, 40, 20), 60, 40)[1:] == (10, 0, 60, 40)
    assert around((50, 20, 8, 20), 60, 40)[1:] == (39, 15, 60, 40)
    assert around((200, 150, 100, 101), 500, 375)[1:] == (175, 125, 325, 275)


def test_cropped_images_and_boxes(root):
    _, record = strict(read_cub200_cropped(root, "train", annotations=True))
    assert record.image == Crop(root / f"CUB_200_2011/images/{NAMES[10]}.jpg", 39, 15, 60, 40)
    assert record.boxes[0][1:] == pytest.approx(((50 - 39) / 21, (20 - 15) / 25, 8 / 21, 20 / 25))
    picture = np.asarray(open_image(record)).astype(int)
    assert picture.shape == (25, 21, 3)
    assert abs(picture[..., 0] - np.arange(39, 60)).max() < 4
    assert abs(picture[..., 1] - np.arange(15, 40)[:, None]).max() < 4
    assert np.array_equal(np.asarray(open_image(record._replace(image=image_bytes(record)))), picture)


def test_cropped_images_are_prepared_counted_and_shown(root, capsys):
    source, output = ["--source", str(root)], root.parent / "made"
    for name in ("cub200", "cub200-cropped"):
        flags = ["--output", str(output / name), "--size", "21", "--workers", "1"]
        assert main(["data", "prepare", name, *source, *flags]) == 0
        assert main(["data", "stats", name, *source, "--output", str(output / "stats")]) == 0
        assert main(["data", "browse", name, *source, "--output", str(output / f"{name}.html")]) == 0
        assert main(["data", "stats", name, "--source", str(output / name)]) == 0
    assert "train is that of" in capsys.readouterr().out
    _, record = read_records(output / "cub200-cropped", "cub200-cropped", "train")
    red = np.asarray(open_image(record)).astype(int)[..., 0]
    assert abs(red - np.arange(39, 60)).max() < 8


def test_everything_amiss_is_a_problem(root):
    folder, text = root / "CUB_200_2011", root / "text_c10"
    with (folder / "images.txt").open("a") as file:
        file.write("1 001.Auk/again.jpg\nx y.jpg\n12\n13 002.Ani/lost.jpg\n14 ../../secret.jpg\n")
    with (folder / "train_test_split.txt").open("a") as file:
        file.write("13 1\n99 1\n1 0\n2 5\n")
    with (folder / "bounding_boxes.txt").open("a") as file:
        file.write("99 1 1 1 1\n1 1 1 1\n1 0 0 5 5\n13 0 0 nan 5\n")
    (folder / "images/001.Auk/stray.jpg").write_bytes(b"x")
    (text / "001.Auk/stray.txt").write_text("x")
    (text / f"{NAMES[1]}.txt").write_text("a\ufffd\ufffdbird\n \n")
    (folder / f"images/{NAMES[10]}.jpg").write_bytes(b"damaged")
    records, problems = read(root, annotations=True)
    assert [(record.id, record.captions) for record in records] == [(NAMES[1], ("a bird",))]
    wheres = [problem.where.removeprefix(f"{root}/").removeprefix("CUB_200_2011/") for problem in problems]
    assert wheres == [
        *(f"images.txt, line {number}" for number in (4, 5, 6, 8)),
        *(f"train_test_split.txt, line {number}" for number in (5, 6, 7)),
        *(f"bounding_boxes.txt, line {number}" for number in (4, 5, 6, 7)),
        "text_c10/001.Auk/stray.txt",
        f"text_c10/{NAMES[1]}.txt, line 2",
        "images.txt, line 3",
        "images.txt, line 7",
    ]


def test_an_image_without_captions_or_a_box_is_a_problem(root):
    folder, text = root / "CUB_200_2011", root / "text_c10"
    (text / f"{NAMES[1]}.txt").unlink()
    (text / f"{NAMES[10]}.txt").write_text(" \n")
    entries = read_cub200(root, "train")
    assert [str(next(entries)) for _ in range(3)] == [
        f"{folder}/images.txt, line 1: the image is {NAMES[1]}.jpg, which has no captions: "
        f"{text}/{NAMES[1]}.txt is missing",
        f"{text}/{NAMES[10]}.txt, line 1: is ''; it should contain words",
        f"{folder}/images.txt, line 3: the image is {NAMES[10]}.jpg, which has no usable caption in "
        f"{text}/{NAMES[10]}.txt",
    ]
    with pytest.raises(ValueError, match=r"images\.txt has no image with captions in the split train$"):
        next(entries)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", f"the image is {NAMES[10]}.jpg, which has no box in "),
        ("10 100 5 9 9", "it or its box lies outside the image of 60 x 40 pixels, or is empty"),
        ("10 5 -90 9 9", "it or its box lies outside the image of 60 x 40 pixels, or is empty"),
    ],
)
def test_an_image_that_cannot_be_cropped_is_a_problem(root, line, message):
    (root / "CUB_200_2011/bounding_boxes.txt").write_text(f"1 20 10 40 20\n2 0 0 60 40\n{line}\n")
    (record,), (problem,) = read(root, crop=True)
    assert record.id == NAMES[1]
    assert problem.where == f"{root}/CUB_200_2011/images.txt, line 3"
    assert message in problem.reason


def test_a_line_too_long_of_any_list_is_a_problem(root, monkeypatch):
    monkeypatch.setattr(files, "MOST_LINE", 300)
    names = ("images.txt", "train_test_split.txt", "bounding_boxes.txt")
    for name in names:
        with (root / "CUB_200_2011" / name).open("a") as file:
            file.write("9" * 400 + "\n")
    records, problems = read(root, annotations=True)
    assert len(records) == 2
    assert [(str(each), each.detail) for each in problems] == [
        (f"{root}/CUB_200_2011/{name}, line 4: has more than 300 bytes", name != "images.txt") for name in names
    ]


def test_an_image_without_a_line_in_the_split_is_a_problem(root):
    (root / "CUB_200_2011/train_test_split.txt").write_text("1 1\n2 0\n")
    records, (problem,) = read(root)
    assert len(records) == 1
    assert problem.where == f"{root}/CUB_200_2011/images.txt, line 3"


def test_missing_files_are_named(root):
    (root / "CUB_200_2011/bounding_boxes.txt").unlink()
    assert len(read(root, annotations=True)[0]) == 2
    with pytest.raises(FileNotFoundError, match=r"bounding_boxes.txt is missing"):
        read(root, crop=True)
    with pytest.raises(FileNotFoundError, match=r"has no split val; there is train, test"):
        read(root, "val")
    (root / "CUB_200_2011/images.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"images.txt is missing"):
        read(root)


def test_random_damage_never_crashes(root):
    folder = root / "CUB_200_2011"
    files = [folder / "images.txt", folder / "train_test_split.txt", folder / "bounding_boxes.txt"]
    for seed in range(300):
        chance = random.Random(seed)
        file = chance.choice(files)
        content = file.read_bytes()
        file.write_bytes(damaged_bytes(content, chance))
        assert_holds(read_cub200, root, "train")
        file.write_bytes(content)
