"""Oxford Flowers-102 with Reed's captions: each split rule, every caption, and everything amiss named."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from damage import assert_holds, damaged_bytes
from xmcgan.data.readers.flowers102 import describe_split, read_flowers102
from xmcgan.data.records import Problem, Record, strict

CLASSES = {"class_00001": (1, 2, 10), "class_00002": (11, 20, 21), "class_00003": (30,)}


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "jpg").mkdir()
    for name, numbers in CLASSES.items():
        (tmp_path / "text_c10" / name).mkdir(parents=True)
        for number in numbers:
            Image.new("RGB", (8, 8), (8 * number, 90, 90)).save(tmp_path / f"jpg/image_{number:05d}.jpg")
            lines = "".join(f"flower {number}  caption {k} .\n" for k in range(10))
            (tmp_path / f"text_c10/{name}/image_{number:05d}.txt").write_text(lines)
    return tmp_path


def read(root: Path, split: str = "train") -> tuple[list[Record], list[Problem]]:
    entries = list(read_flowers102(root, split))
    records = [entry for entry in entries if isinstance(entry, Record)]
    return records, [entry for entry in entries if isinstance(entry, Problem) and not entry.unused]


def numbers(root: Path, split: str) -> list[int]:
    return [int(record.id.removeprefix("image_")) for record in strict(read_flowers102(root, split))]


def write_setid(root: Path, **arrays: list[int]) -> None:
    savemat(root / "setid.mat", {name: np.array([values], np.uint16) for name, values in arrays.items()})


def write_class_lists(root: Path) -> None:
    (root / "trainvalclasses.txt").write_text("class_00001\nclass_00003\n")
    (root / "testclasses.txt").write_text("class_00002\n")


def test_a_record_has_ten_captions(root):
    record = next(iter(strict(read_flowers102(root, "train"))))
    captions = tuple(f"flower 1 caption {k} ." for k in range(10))
    assert record == (root / "jpg/image_00001.jpg", captions, "image_00001", (), None)


def test_without_any_list_the_numbers_that_end_in_0_are_the_test_split(root):
    assert numbers(root, "train") == [1, 2, 11, 21]
    assert numbers(root, "test") == [10, 20, 30]
    assert "number ends in 0: there is neither setid.mat nor a class list" in describe_split(root, "test")


def test_class_lists_split_by_class(root):
    write_class_lists(root)
    assert numbers(root, "train") == numbers(root, "trainvalclasses") == [1, 2, 10, 30]
    assert numbers(root, "test") == [11, 20, 21]
    assert describe_split(root, "train") == f"the split train is the classes of {root / 'trainvalclasses.txt'}"


def test_the_owners_splits_come_first_and_class_lists_by_their_names(root):
    write_class_lists(root)
    write_setid(root, trnid=[30, 1], valid=[2], tstid=[10, 11, 20, 21])
    assert [numbers(root, split) for split in ("train", "val", "test")] == [[1, 30], [2], [10, 11, 20, 21]]
    assert numbers(root, "testclasses") == [11, 20, 21]
    assert describe_split(root, "val") == f"the split val is that of {root / 'setid.mat'}"


@pytest.mark.parametrize("split", ["val", "nothing", "testclasses", "../x"])
def test_a_split_that_is_not_there_is_named(root, split):
    with pytest.raises(FileNotFoundError, match="has no split"):
        read(root, split)


def test_everything_amiss_is_a_problem(root):
    (root / "jpg/image_00001.jpg").unlink()
    (root / "text_c10/class_00001/image_00002.txt").unlink()
    (root / "jpg/notes.md").write_text("x")
    (root / "text_c10/stray.txt").write_text("x")
    (root / "text_c10/class_00001/other.txt").write_text("x")
    (root / "text_c10/class_00003/image_00011.txt").write_text("a second file\n")
    (root / "text_c10/class_00002/image_00021.txt").write_bytes(b"good\n\ncaf\xe9\nbetter\n")
    (root / "text_c10/class_00001.h5").write_text("Reed's features are no problem")
    records, problems = read(root)
    assert [(record.id, len(record.captions)) for record in records] == [("image_00011", 10), ("image_00021", 2)]
    text = root / "text_c10"
    unused = {each.where for each in read_flowers102(root, "train") if isinstance(each, Problem) and each.unused}
    assert unused >= {str(root / "jpg/notes.md"), str(text / "stray.txt"), str(text / "class_00001.h5")}
    found = {(problem.where, problem.detail) for problem in problems}
    assert found == {
        (str(text / "class_00001/other.txt"), True),
        (str(text / "class_00003/image_00011.txt"), True),
        (str(text / "class_00001/image_00001.txt"), False),
        (str(root / "jpg/image_00002.jpg"), False),
        (f"{text}/class_00002/image_00021.txt, line 2", True),
        (f"{text}/class_00002/image_00021.txt, line 3", True),
    }


def test_what_the_lists_name_and_the_folder_lacks_is_a_problem(root):
    write_class_lists(root)
    (root / "trainvalclasses.txt").write_text("class_00001\nclass_00009\nclass_00001\n")
    wheres = [problem.where for problem in read(root)[1]]
    listed = root / "trainvalclasses.txt"
    assert wheres == [f"{listed}, line 2", f"{listed}, line 3", str(root / "text_c10/class_00003")]
    write_setid(root, trnid=[1, 5], valid=[2, 2], tstid=[10, 11, 20, 21])
    reasons = [problem.reason for problem in read(root)[1]]
    assert reasons == [
        "lists the photograph 2 more than once",
        "does not list the photograph 30, so it is in no split",
        f"has no photograph {root}/jpg/image_00005.jpg",
    ]


def test_a_bad_setid_is_named(root):
    (root / "setid.mat").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"setid.mat is not a MATLAB 5.0 file"):
        read(root)
    write_setid(root, trnid=[1])
    with pytest.raises(ValueError, match=r"setid.mat has no valid, tstid; it has trnid"):
        read(root)


def test_a_missing_folder_is_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="jpg is missing"):
        read(tmp_path / "text_c10")
    (root / "text_c10").rename(root / "text")
    with pytest.raises(
        FileNotFoundError, match=r"text_c10 is missing: Reed's captions, as .*/text_c10/CLASS/NAME\.txt$"
    ):
        read(root)


def test_a_photograph_whose_captions_are_blank_or_go_away_is_a_problem(root):
    first, second = (root / f"text_c10/class_00001/image_{number:05d}.txt" for number in (1, 2))
    first.write_text("\n  \n")
    first.with_name("other.txt").write_text("the problem after which the folder was listed")
    entries = read_flowers102(root, "train")
    assert str(next(entries)).startswith(str(first.with_name("other.txt")))
    second.unlink()
    problems = [str(entry) for entry in entries if isinstance(entry, Problem) and not entry.detail]
    assert problems == [f"{first}: has no usable caption", f"{second}: cannot be read: No such file or directory"]


def test_a_class_list_of_one_split_says_nothing_of_the_other_classes(root):
    write_class_lists(root)
    (root / "testclasses.txt").unlink()
    records, problems = read(root)
    assert [record.id for record in records] == [f"image_{number:05d}" for number in (1, 2, 10, 30)]
    assert problems == []


def test_what_is_no_caption_file_in_the_folder_of_a_class_is_listed(root):
    folder = root / "text_c10/class_00001"
    (folder / "notes.md").write_text("x")
    (folder / "link.txt").symlink_to("/etc/passwd")
    unused = {str(entry) for entry in read_flowers102(root, "train") if isinstance(entry, Problem)}
    assert unused == {
        f"{folder / name}: is not a caption file inside the data set" for name in ("notes.md", "link.txt")
    }


def test_random_damage_never_crashes(root):
    write_class_lists(root)
    write_setid(root, trnid=[1, 2, 30], valid=[10], tstid=[11, 20, 21])
    files = [root / "setid.mat", root / "trainvalclasses.txt", root / "text_c10/class_00001/image_00001.txt"]
    for seed in range(300):
        chance = random.Random(seed)
        file = chance.choice(files)
        content = file.read_bytes()
        file.write_bytes(damaged_bytes(content, chance))
        assert_holds(read_flowers102, root, chance.choice(("train", "trainvalclasses", "val")))
        file.write_bytes(content)
