"""Images with a text file beside each: every caption read, and what is missing or leads out named."""

import os
import random
from pathlib import Path

import pytest
from PIL import Image

from damage import assert_holds, damaged_bytes
from xmcgan.data.readers.folder import read_folder
from xmcgan.data.records import Problem, Record, strict, without_duplicates


def add(root: Path, name: str, captions: str | bytes | None = "A cat.\n") -> Path:
    """An image of a data folder and, beside it, its captions."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3)).save(path)
    if captions is not None:
        path.with_suffix(".txt").write_bytes(captions if isinstance(captions, bytes) else captions.encode())
    return path


def sorted_out(root: Path) -> tuple[list[Record], list[Problem]]:
    entries = list(read_folder(root, "train", annotations=True))
    records = [entry for entry in entries if isinstance(entry, Record)]
    return records, [entry for entry in entries if isinstance(entry, Problem) and not entry.unused]


def test_images_of_any_depth_and_kind_in_order(tmp_path):
    names = ["b.jpg", "a.png", "c.JPEG", "z/2.webp", "z/1.bmp", "m/n.o/p.q.jpg"]
    paths = {name: add(tmp_path, f"train/{name}", f"{name} one\n\n  two  words \r\n") for name in names}
    add(tmp_path, "val/other.jpg")
    (tmp_path / "train/README.txt").write_text("of no image")
    (tmp_path / "train/notes.md").write_text("of no image either")
    records = list(strict(read_folder(tmp_path, "train")))
    order = ["a.png", "b.jpg", "c.JPEG", "m/n.o/p.q.jpg", "z/1.bmp", "z/2.webp"]
    assert records == [(paths[n], (f"{n} one", "two words"), n.rpartition(".")[0], (), None) for n in order]


def test_a_byte_order_mark_and_text_beyond_ascii(tmp_path):
    add(tmp_path, "train/a.jpg", "\ufeffEin Kätzchen 🐈\u2028im Garten".encode())
    (record,), _ = sorted_out(tmp_path)
    assert record.captions == ("Ein Kätzchen 🐈 im Garten",)


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        (None, "'bad.txt'; it is not in"),
        ("", "has no words"),
        (" \n\t\n", "has no words"),
        (b"A caf\xe9", "is not UTF-8: its byte 6 is 0xe9, as in Latin-1 for 'é'"),
        (b"A cat.\nA caf\xe9", "is not UTF-8: its byte 6 of line 2 is 0xe9, as in Latin-1 for 'é'"),
        (b"A \xed\xa0\x80 cat", "is not UTF-8: its byte 3 is 0xed"),  # a lone surrogate
        ("A cat".encode("utf-16"), "is UTF-16 or UTF-32; it should be UTF-8"),
    ],
)
def test_an_image_without_captions_is_named_and_the_others_come(tmp_path, captions, message):
    add(tmp_path, "train/good.jpg")
    bad = add(tmp_path, "train/bad.jpg", captions)
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.id == "good"
    assert problem.where == str(bad)
    assert message in problem.reason


def test_nothing_outside_of_the_data_folder_is_read(tmp_path):
    secret, root = add(tmp_path, "secret.jpg"), tmp_path / "set"
    add(root, "train/good.jpg")
    (root / "train/image.jpg").symlink_to(secret)
    (root / "train/image.txt").write_text("A secret.")
    add(root, "train/text.jpg", None)
    (root / "train/text.txt").symlink_to(secret.with_suffix(".txt"))
    (root / "train/lost.jpg").symlink_to(root / "train/nowhere.jpg")
    (root / "train/loop.jpg").symlink_to(root / "train/loop.jpg")
    (root / "train/folder").symlink_to(tmp_path)
    (root / "train/up").symlink_to(root / "train")
    records, problems = sorted_out(root)
    assert [record.id for record in records] == ["good"]
    names = ["folder", "up", "image.jpg", "loop.jpg", "lost.jpg", "text.jpg"]
    assert [Path(problem.where).name for problem in problems] == names
    assert all("link to a folder" in problem.reason for problem in problems[:2])
    assert all("leads out of the data set, or to no file" in problem.reason for problem in problems[2:])


def test_links_inside_the_data_folder_are_followed(tmp_path):
    shared = add(tmp_path, "pool/7.jpg", "A bus.")
    (tmp_path / "train").mkdir()
    (tmp_path / "train/7.jpg").symlink_to(shared)
    (tmp_path / "train/7.txt").symlink_to(shared.with_suffix(".txt"))
    (record,), problems = sorted_out(tmp_path)
    assert record == (tmp_path / "train/7.jpg", ("A bus.",), "7", (), None)
    assert not problems


def test_two_images_of_one_name_are_a_duplicate(tmp_path):
    add(tmp_path, "train/a.jpg")
    add(tmp_path, "train/a.png")
    kinds = [type(entry) for entry in without_duplicates(read_folder(tmp_path, "train"))]
    assert kinds == [Record, Problem]


def test_a_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"/train is missing"):
        sorted_out(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=r"/train has no image with captions"):
        sorted_out(tmp_path)


def test_images_directly_inside_are_the_split_train_and_folders_beside_them_are_named(tmp_path):
    add(tmp_path, "a.jpg")
    add(tmp_path, "more/b.jpg")
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.id == "a"
    assert str(problem) == f"{tmp_path}/more: is skipped, because there are images beside it"


def test_captions_of_an_image_of_another_format_say_which_are_read(tmp_path):
    add(tmp_path, "train/good.jpg")
    (tmp_path / "train/a.gif").write_bytes(b"GIF89a")
    (tmp_path / "train/a.txt").write_text("A cat.")
    _, (problem,) = sorted_out(tmp_path)
    assert str(problem) == f"{tmp_path}/train/a.txt: its image is a.gif; it can be .jpg, .jpeg, .png, .webp, .bmp"


def test_a_folder_that_cannot_be_listed_is_no_empty_one(tmp_path, monkeypatch):
    add(tmp_path, "train/good.jpg")
    add(tmp_path, "train/closed/a.jpg")
    real = os.scandir

    def scandir(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="train/closed"):
        sorted_out(tmp_path)


def test_file_name_that_is_not_utf_8_is_a_problem(tmp_path):
    add(tmp_path, "train/good.jpg")
    path = os.fsencode(tmp_path / "train") + b"/caf\xe9.jpg"
    try:
        os.close(os.open(path, os.O_CREAT))
    except OSError:
        pytest.skip("this file system has no such names")
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.id == "good"
    assert problem.where.endswith(r"caf\udce9.jpg")
    assert "not UTF-8" in problem.reason


def test_random_damage_never_crashes(tmp_path):
    """Captions of any bytes, images of any names, and links to anywhere."""
    root = tmp_path / "set"
    add(tmp_path, "secret.jpg")
    add(root, "train/good.jpg")
    whole = "A cat on a mat.\nA dög.\n".encode()
    for seed in range(300):
        chance = random.Random(seed)
        text = root / "train/good.txt"
        text.write_bytes(damaged_bytes(whole, chance))
        extra = root / "train" / chance.choice(("more.jpg", "more.PNG", "m\udce9.jpg", ".jpg", "a b.webp", "good.png"))
        match chance.randrange(3):
            case 0:
                extra.write_bytes(chance.randbytes(8))
            case 1:
                extra.symlink_to(chance.choice((tmp_path, tmp_path / "secret.jpg", text, extra, Path("/etc/passwd"))))
            case 2:
                extra.mkdir()
        assert_holds(read_folder, root, "train")
        if extra.is_dir() and not extra.is_symlink():
            extra.rmdir()
        else:
            extra.unlink()
