"""Flickr8k and Flickr30k: token files, lists of splits, and everything amiss named."""

import random
from pathlib import Path

import pytest
from PIL import Image

from damage import assert_holds, damaged_bytes
from xmcgan.data.readers import flickr8k, flickr30k
from xmcgan.data.readers.flickr8k import read_flickr8k
from xmcgan.data.readers.flickr30k import read_flickr30k
from xmcgan.data.records import Problem, Record, strict


def add_images(folder: Path, names: list[str]) -> None:
    folder.mkdir()
    for name in names:
        Image.new("RGB", (4, 3)).save(folder / name)


@pytest.fixture
def small(tmp_path) -> Path:
    """Flickr8k of four photographs, of which one is on no list."""
    names = ["11_a.jpg", "12_b.jpg", "13_c.jpg", "14_d.jpg"]
    add_images(tmp_path / "Flicker8k_Dataset", names)
    lines = [f"{name}#{k}\tCaption {k} of  {name[:2]} .\n" for name in names for k in range(5)]
    (tmp_path / "Flickr8k.token.txt").write_text("".join(lines) + "15_e.jpg.1#0\tOf no photograph .\n")
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("12_b.jpg\n11_a.jpg\n")
    (tmp_path / "Flickr_8k.devImages.txt").write_text("13_c.jpg")
    return tmp_path


@pytest.fixture
def large(tmp_path) -> Path:
    """Flickr30k of three photographs."""
    add_images(tmp_path / "flickr30k-images", ["36.jpg", "37.jpg", "40.jpg"])
    lines = [f"{number}.jpg#{k}\tCaption {k} of {number} .\n" for number in (36, 37, 40) for k in range(5)]
    (tmp_path / "results_20130124.token").write_text("".join(lines))
    return tmp_path


def sorted_out(reader, root: Path, split: str) -> tuple[list[Record], list[Problem]]:
    entries = list(reader(root, split))
    records = [entry for entry in entries if isinstance(entry, Record)]
    return records, [entry for entry in entries if isinstance(entry, Problem) and not entry.unused]


def ids(reader, root: Path, split: str) -> list[str]:
    return [record.id for record in strict(reader(root, split))]


def test_flickr8k_has_the_order_of_its_list(small):
    first, second = strict(read_flickr8k(small, "train"))
    captions = tuple(f"Caption {k} of 12 ." for k in range(5))
    assert first == (small / "Flicker8k_Dataset/12_b.jpg", captions, "12_b", (), None)
    assert second.id == "11_a"
    assert ids(read_flickr8k, small, "dev") == ["13_c"]
    described = flickr8k.describe_split(small, "dev")
    assert described.endswith("Flickr_8k.devImages.txt; 2 images with captions are on no list")


def test_flickr30k_without_captions_names_both_files(large):
    (large / "results_20130124.token").unlink()
    said = r"results_20130124\.token is missing, and so is results\.csv: the captions$"
    with pytest.raises(FileNotFoundError, match=said):
        sorted_out(read_flickr30k, large, "train")


def test_everything_amiss_in_flickr8k_is_a_problem(small):
    token, listed = small / "Flickr8k.token.txt", small / "Flickr_8k.trainImages.txt"
    token.write_bytes(
        token.read_bytes() + b"no tab\n11_a.jpg#9\t\xe9\n\n12_b.jpg#7\t  \n12_b.jpg\tx\n16_f.jpg#0\tx y\n"
    )
    listed.write_text("12_b.jpg\n11_a.jpg\n11_a.jpg\n16_f.jpg\n17_g.jpg\n../secret.jpg\n")
    Image.new("RGB", (4, 3)).save(small / "Flicker8k_Dataset/99_z.jpg")
    records, problems = sorted_out(read_flickr8k, small, "train")
    unused = [str(each) for each in read_flickr8k(small, "train") if isinstance(each, Problem) and each.unused]
    assert str(small / "Flicker8k_Dataset/99_z.jpg") in "".join(unused)
    assert [(record.id, len(record.captions)) for record in records] == [("12_b", 5), ("11_a", 5)]
    assert [(problem.where, problem.detail) for problem in problems] == [
        (f"{listed}, line 3", True),
        (f"{token}, line 22", True),
        (f"{token}, line 23", True),
        (f"{token}, line 25", True),
        (f"{token}, line 26", True),
        (f"{listed}, line 4", False),
        (f"{listed}, line 5", False),
        (f"{listed}, line 6", False),
    ]


def test_missing_files_of_flickr8k_are_named(small):
    with pytest.raises(FileNotFoundError, match=r"Flickr_8k.testImages.txt is missing.*there is dev, train"):
        ids(read_flickr8k, small, "test")
    (small / "Flicker8k_Dataset").rename(small / "other")
    with pytest.raises(FileNotFoundError, match=r"Flicker8k_Dataset is missing"):
        ids(read_flickr8k, small, "train")
    (small / "Flickr8k.token.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"Flickr8k.token.txt is missing"):
        ids(read_flickr8k, small, "train")


def test_flickr30k_without_lists_is_split_by_name(large):
    assert ids(read_flickr30k, large, "train") == ["36", "37"]
    assert ids(read_flickr30k, large, "val") == ["40"]
    assert "whose name ends in 0: there is no list" in flickr30k.describe_split(large, "val")
    with pytest.raises(FileNotFoundError, match=r"has no split test; there is train, val"):
        ids(read_flickr30k, large, "test")


def test_flickr30k_by_lists_with_and_without_suffix(large):
    (large / "train.txt").write_text("40\n36\n")
    (large / "test.txt").write_text("37.jpg\n")
    assert ids(read_flickr30k, large, "train") == ["40", "36"]
    assert ids(read_flickr30k, large, "test") == ["37"]
    assert flickr30k.describe_split(large, "test").endswith(f"the images of {large / 'test.txt'}")


def test_results_csv_and_its_row_without_the_second_bar(large):
    expected = list(strict(read_flickr30k(large, "train")))
    lines = ["image_name| comment_number| comment"]
    lines += [f"{number}.jpg| {k}| Caption {k} of {number} ." for number in (36, 37, 40) for k in range(5)]
    lines[5] = "36.jpg| 4   Caption 4 of 36 ."
    (large / "results_20130124.token").unlink()
    (large / "results.csv").write_text("\n".join(lines))
    assert list(strict(read_flickr30k(large, "train"))) == expected
    (large / "results.csv").write_text("\n".join([*lines, "36.jpg"]))
    _, (problem,) = sorted_out(read_flickr30k, large, "train")
    assert problem.where == f"{large}/results.csv, line 17"
    (large / "results.csv").write_text("\n".join(lines[1:]))
    with pytest.raises(ValueError, match=r"results.csv, line 1 should be image_name"):
        ids(read_flickr30k, large, "train")


def test_random_damage_never_crashes(small):
    files = [small / "Flickr8k.token.txt", small / "Flickr_8k.trainImages.txt"]
    for seed in range(300):
        chance = random.Random(seed)
        file = chance.choice(files)
        content = file.read_bytes()
        file.write_bytes(damaged_bytes(content, chance))
        assert_holds(read_flickr8k, small, "train")
        file.write_bytes(content)
