"""WebDataset's tars: images found where they are, samples grouped by name, damage and links named."""

import io
import json
import random
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

from damage import assert_holds, damaged_bytes, damaged_value
from downloads import downloaded
from xmcgan.data.images import image_bytes
from xmcgan.data.layouts import read_entries
from xmcgan.data.readers.webdataset import read_webdataset
from xmcgan.data.records import (
    Box,
    Narrative,
    Problem,
    Record,
    Slice,
    TracePoint,
    Utterance,
    strict,
    without_duplicates,
)


def picture(colour: int = 0) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 3), (colour, 0, 0)).save(content, "png")
    return content.getvalue()


def tar(members: list[tuple[str, bytes | str | tarfile.TarInfo]], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar of these names and contents."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=form) as file:
        for name, content in members:
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            content = content.encode() if isinstance(content, str) else content
            if isinstance(content, bytes):
                member.size = len(content)
            file.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return archive.getvalue()


def write(root: Path, members: list, name: str = "train-000.tar", form: int = tarfile.USTAR_FORMAT) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(tar(members, form))
    return root / name


def read(root: Path) -> list[Record]:
    return list(strict(read_webdataset(root, "train")))


def sorted_out(root: Path) -> tuple[list[Record], list[Problem]]:
    entries = list(read_webdataset(root, "train", annotations=True))
    records = [entry for entry in entries if isinstance(entry, Record)]
    return records, [entry for entry in entries if isinstance(entry, Problem) and not entry.unused]


GOOD = [("0.png", picture()), ("0.txt", "A cat.")]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_images_are_read_in_place(tmp_path, form):
    long = "folder/" * 30 + "Kätzchen"
    members = [
        ("a/0001.png", picture(1)),
        ("a/0001.txt", "A cat.\n\n  A  cat on a mat.\r\n"),
        ("a/0001.seg.png", b"of another suffix"),
        (f"{long}.PNG", picture(2)),
        (f"{long}.caption", "A kitten."),
        ("./b/0001.json", json.dumps({"caption": "A dog.", "url": "http://"})),
        ("./b/0001.jpeg", picture(3)),
    ]
    if form == tarfile.USTAR_FORMAT:
        members = [(name.replace(long, "Katze"), content) for name, content in members]
        long = "Katze"
    file = write(tmp_path, members, form=form)
    records = read(tmp_path)
    assert [(record.id, record.captions) for record in records] == [
        ("a/0001", ("A cat.", "A cat on a mat.")),
        (long, ("A kitten.",)),
        ("b/0001", ("A dog.",)),
    ]
    for record, colour in zip(records, (1, 2, 3), strict=True):
        assert isinstance(record.image, Slice)
        assert record.image.file == file
        assert image_bytes(record) == picture(colour)


def test_shards_are_read_in_order_from_beside_or_below(tmp_path):
    for name in ("train-001.tar", "train/a.tar", "train-000.tar", "val-000.tar"):
        write(tmp_path, [(f"{Path(name).stem}.png", picture()), (f"{Path(name).stem}.txt", "A cat.")], name)
    assert [record.id for record in read(tmp_path)] == ["a", "train-000", "train-001"]


def test_what_writers_other_than_ours_write_is_read(tmp_path):
    write(tmp_path, [("0.jpg", picture()), ("0.txt", "A cat."), ("0.json", '{"key": "0", "caption": "A cat"}')])
    assert read(tmp_path)[0].captions == ("A cat",)  # img2dataset says it twice
    write(tmp_path, [("._0.jpg", b"of a Mac"), ("folder", folder()), ("LICENSE", "free"), *GOOD])
    assert [record.id for record in read(tmp_path)] == ["0"]


def folder() -> tarfile.TarInfo:
    member = tarfile.TarInfo("folder")
    member.type = tarfile.DIRTYPE
    return member


def test_the_same_key_apart_is_a_duplicate(tmp_path):
    write(tmp_path, [*GOOD, ("1.png", picture()), ("1.txt", "A dog."), *GOOD])
    kinds = [type(entry) for entry in without_duplicates(read_webdataset(tmp_path, "train"))]
    assert kinds == [Record, Record, Problem]


DESCRIBED = {
    "id": "285-93",
    "captions": ["A bear.", "A brown  bear."],
    "boxes": [["bear", 0.25, 0.5, 0.5, 0.5], ["tree", 0.75, -0.25, 0.5, 0.5]],
    "narrative": {
        "caption": "A bear.",
        "utterances": [["A", 0, 0.5], ["bear.", 0.5, 1.25]],
        "strokes": [[[0.5, -0.01, 0], [0.5, 0.5, 1]], []],
    },
}


def described(**more: object) -> list:
    """A sample as the exporter writes it."""
    said = "\n".join(DESCRIBED["captions"])
    return [("8.jpg", picture()), ("8.txt", said), ("8.json", json.dumps({**DESCRIBED, **more}))]


def test_what_the_exporter_wrote_is_read_back(tmp_path):
    write(tmp_path, described())
    (record,), problems = sorted_out(tmp_path)
    assert not problems
    assert record[1:] == (
        ("A bear.", "A brown bear."),
        "285-93",
        (Box("bear", 0.25, 0.5, 0.5, 0.5), Box("tree", 0.75, 0, 0.25, 0.25)),
        Narrative(
            "A bear.",
            (Utterance("A", 0, 0.5), Utterance("bear.", 0.5, 1.25)),
            ((TracePoint(0.5, -0.01, 0), TracePoint(0.5, 0.5, 1)),),
        ),
    )
    assert read(tmp_path)[0][1:] == (("A bear.", "A brown bear."), "285-93", (), None)
    write(tmp_path, described(narrative=None, boxes=[]))
    assert sorted_out(tmp_path)[0][0][3:] == ((), None)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"boxes": None}, "boxes is None; it should be a list"),
        ({"boxes": [["bear", 0, 0, 1, 1], ["bear", 0, 0, 1]]}, "boxes[1] is ['bear', 0, 0, 1]; it should be category"),
        ({"boxes": [["bear", 0, 0, 1, 1], [5, 0, 0, 1, 1]]}, "boxes[1] is 5; it should be a text"),
        ({"boxes": [["bear", 0, 0, 1, 1], ["bear", 0, 0, float("nan"), 1]]}, "boxes[1] is nan"),
        ({"boxes": [["bear", 0, 0, 1, 1], ["bear", 0, 0, -1, 1]]}, "boxes[1] is not a box"),
        ({"narrative": []}, "narrative has no 'utterances'"),
        ({"narrative": {**DESCRIBED["narrative"], "caption": "A cat."}}, "narrative says 'A bear.'; its caption is"),
        ({"narrative": {**DESCRIBED["narrative"], "utterances": [["A bear."]]}}, "narrative utterances[0] is ["),
        ({"narrative": {**DESCRIBED["narrative"], "utterances": [["A bear.", 2, 1]]}}, "ends at 1, before its start"),
        ({"narrative": {**DESCRIBED["narrative"], "strokes": [[[0, 0]]]}}, "narrative strokes[0] is not a list"),
        ({"narrative": {**DESCRIBED["narrative"], "strokes": [[[0, 0, "1"]]]}}, "narrative strokes[0] is not a list"),
    ],
)
def test_bad_annotations_are_a_problem_and_the_captions_are_kept(tmp_path, more, message):
    file = write(tmp_path, described(**more))
    (record,), (problem,) = sorted_out(tmp_path)
    assert problem.where == f"{file}, sample 8"
    assert message in problem.reason
    assert record.captions == ("A bear.", "A brown bear.")
    assert (record.boxes == () or len(record.boxes) == 1) if "boxes" in more else record.narrative is None
    assert len(read(tmp_path)) == 1


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("1.png", picture())], "has no captions"),
        ([("1.txt", "A dog.")], "has txt; it should have one image"),
        (
            [("1.png", picture()), ("1.jpg", picture()), ("1.txt", "A dog.")],
            "has png, jpg, txt; it should have one image",
        ),
        (
            [("1.png", picture()), ("1.txt", "A dog."), ("1.txt", "A dog.")],
            "has png, txt, txt; it should have one",
        ),
        ([("1.png", picture()), ("1.txt", " \n")], "has no words"),
        ([("1.png", picture()), ("1.txt", b"caf\xe9")], "is not UTF-8"),
        ([("1.png", picture()), ("1.json", "{")], "is not JSON"),
        ([("1.png", picture()), ("1.json", "[]")], "its json is []; it should be an object"),
        ([("1.png", picture()), ("1.json", '{"text": []}')], "has no captions"),
        ([("1.png", picture()), ("1.json", '{"text": "a", "caption": "b"}')], "its json has caption and text"),
        ([("1.png", picture()), ("1.json", '{"id": null, "text": "A dog."}')], "id is None; it should be a text"),
        ([("1.png", picture()), ("1.json", '{"id": "", "text": "A dog."}')], "id is empty"),
        ([("1.png", picture()), ("1.json", '{"text": 5}')], "caption[0] is 5; it should be a text"),
        ([("1.png", picture()), ("1.json", '{"text": "\\ud800"}')], r"caption[0] is '\ud800', which is not UTF-8"),
    ],
)
def test_a_bad_sample_is_named_and_the_others_are_read(tmp_path, members, message):
    file = write(tmp_path, [("2.jpg", picture()), ("2.txt", "A bus."), *members, *GOOD])
    records, (problem, *rest) = sorted_out(tmp_path)
    assert [record.id for record in records] == ["2", "0"]
    assert [each.reason for each in rest] == (["has no usable caption"] if problem.detail else [])
    assert problem.where == f"{file}, sample 1"
    assert message in problem.reason


def test_a_bad_caption_leaves_the_others(tmp_path):
    write(tmp_path, [("1.png", picture()), ("1.json", '{"captions": ["A dog.", " ", "A brown dog."]}')])
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.captions == ("A dog.", "A brown dog.")
    assert problem.reason == "caption[1] is ' '; it should contain words"


def link(name: str, target: str, kind: bytes) -> tuple[str, tarfile.TarInfo]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return name, member


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (link("1.png", "/etc/passwd", tarfile.SYMTYPE), "is a link"),
        (link("1.png", "0.png", tarfile.LNKTYPE), "is a link"),
        (link("1.png", "", tarfile.FIFOTYPE), "special file"),
        (link("1.png", "", tarfile.CHRTYPE), "special file"),
        (("/etc/1.png", picture()), "its name leads out of the archive"),
        (("../1.png", picture()), "its name leads out of the archive"),
        (("a/../../1.png", picture()), "its name leads out of the archive"),
    ],
)
def test_links_and_names_that_lead_out_are_problems(tmp_path, member, message):
    file = write(tmp_path, [member, *GOOD])
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.id == "0"
    assert problem.where == f"{file}, {member[0]}"
    assert message in problem.reason


# ------------------------------------------------------------------------------------- names with several dots


def test_a_name_with_several_dots_is_read(tmp_path):
    write(
        tmp_path,
        [("22.05.png", picture(1)), ("22.05.txt", "A cat."), ("22.06.png", picture(2)), ("22.06.txt", "A dog.")],
    )
    assert [(record.id, record.captions) for record in read(tmp_path)] == [
        ("22.05", ("A cat.",)),
        ("22.06", ("A dog.",)),
    ]


def test_two_pictures_of_one_name_are_named(tmp_path):
    file = write(tmp_path, [("b.left.jpg", picture()), ("b.right.jpg", picture()), ("b.txt", "A dog."), *GOOD])
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.id == "0"
    assert str(problem).startswith(f"{file}, sample b: has left.jpg, right.jpg, txt; it should have one image")
    write(tmp_path, [("b.left.jpg", picture()), ("b.txt", "A dog."), *GOOD])
    (record,), (problem,) = sorted_out(tmp_path)
    assert problem.reason == "has left.jpg; its image should have the name of its captions"


def test_every_other_member_is_listed(tmp_path):
    others = [("0.seg.png", picture()), ("0.cls", "3"), ("LICENSE", "free"), ("._0.jpg", b"of a Mac")]
    file = write(tmp_path, [*GOOD, *others])
    entries = list(read_webdataset(tmp_path, "train"))
    assert [entry.id for entry in entries if isinstance(entry, Record)] == ["0"]
    unused = [entry for entry in entries if isinstance(entry, Problem)]
    assert {entry.where for entry in unused} == {f"{file}, {name}" for name, _ in others}
    assert all(entry.unused and entry.detail for entry in unused)


def test_many_other_members_are_counted(tmp_path):
    write(tmp_path, [*GOOD, *((f"{k}.cls", "3") for k in range(300))])
    problems = [entry for entry in read_webdataset(tmp_path, "train") if isinstance(entry, Problem)]
    assert len(problems) == 101
    assert problems[-1].reason.endswith("; nor are 199 others like it")


def test_a_text_of_three_gigabytes_is_not_read(tmp_path):
    """Its size is in the header: nothing is read or reserved."""
    member = tarfile.TarInfo("1.txt")
    member.size = 3 << 30
    file = tmp_path / "train-000.tar"
    with file.open("wb") as stream:
        stream.write(tar([*GOOD, ("1.png", picture())]).rstrip(b"\0").ljust(6 * 512, b"\0"))
        stream.write(member.tobuf(tarfile.GNU_FORMAT))
        stream.seek(3 << 30, 1)  # a hole: it takes no space on the disk
        stream.write(tar([("2.png", picture()), ("2.txt", "A bus.")]))
    tracemalloc.start()
    records, problems = sorted_out(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
    assert [record.id for record in records] == ["0", "2"]
    assert [str(problem) for problem in problems] == [
        f"{file}, 1.txt: has 3,221,225,472 bytes; it should have at most 16,777,216",
        f"{file}, sample 1: has no captions, neither in a .json nor in a .txt or .caption",
    ]


# ------------------------------------------------------------------------------------------------------ splits


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", ["train-000000", "train-000001", "train_2"]),
        ("val", ["val-0-of-2"]),
        ("validation", ["validation-000000"]),
        ("train_extra-*", ["train_extra-0"]),
        ("{train-000000,val-0-of-2}", ["train-000000", "val-0-of-2"]),
        ("train-{000000..000001}", ["train-000000", "train-000001"]),
        ("train-00000?.tar", ["train-000000", "train-000001"]),
    ],
)
def test_a_split_is_its_name_and_a_number_or_a_pattern(tmp_path, split, expected):
    names = ["train-000000", "train-000001", "train_2", "train_extra-0", "val-0-of-2", "validation-000000"]
    for name in names:
        write(tmp_path, [(f"{name}.png", picture()), (f"{name}.txt", "A cat.")], f"{name}.tar")
    entries = list(read_webdataset(tmp_path, split))
    assert [entry.id for entry in entries if isinstance(entry, Record)] == expected
    mistaken = [Path(entry.where).name for entry in entries if isinstance(entry, Problem)]
    assert mistaken == {"train": ["train_extra-0.tar"], "val": ["validation-000000.tar"]}.get(split, [])


def test_a_pattern_without_tars_or_outside_is_refused(tmp_path):
    write(tmp_path, GOOD, "validation-0.tar")
    with pytest.raises(
        FileNotFoundError, match=r"val-000000\.tar is missing.*there is validation-0\.tar.*validation-\*"
    ):
        list(read_webdataset(tmp_path, "val"))
    with pytest.raises(FileNotFoundError, match=r"no tar in .* matches \{000\.\.002\}; there is validation-0\.tar"):
        list(read_webdataset(tmp_path, "{000..002}"))
    with pytest.raises(ValueError, match="leads out of"):
        list(read_webdataset(tmp_path, "../*"))


# -------------------------------------------------------------------------------------------------- img2dataset


def test_a_pattern_of_too_many_names_is_refused(tmp_path):
    said = r"^\{0\.\.10000000\} stands for more than ten million names$"
    with pytest.raises(ValueError, match=said):
        list(read_webdataset(tmp_path, "{0..10000000}"))


def test_hundreds_of_names_with_one_first_part_find_their_texts(tmp_path):
    """All images come before all texts, and WebDataset would make one sample of them."""
    names = [f"x.{number:03d}" for number in range(200)]
    write(tmp_path, [(f"{name}.png", picture()) for name in names] + [(f"{name}.txt", name) for name in names])
    assert [(record.id, record.captions) for record in read(tmp_path)] == [(name, (name,)) for name in names]


def test_what_img2dataset_writes_is_read(tmp_path):
    for shard in range(3):
        downloaded(tmp_path, shard, 2)
    entries = list(read_entries(tmp_path, "webdataset", "train"))
    records = [entry for entry in entries if isinstance(entry, Record)]
    assert [(record.id, record.captions) for record in records[::3]] == [
        ("000000000", ("cat 000000000",)),
        ("000010001", ("cat 000010001",)),
    ]
    assert len(records) == 6
    problems = [entry for entry in entries if isinstance(entry, Problem)]
    assert [Path(problem.where).name for problem in problems] == [f"{shard:05d}.parquet" for shard in range(3)]
    assert all(problem.unused for problem in problems)
    assert len([e for e in read_entries(tmp_path, "webdataset", "{00001..00002}") if isinstance(e, Record)]) == 4


def test_a_download_that_is_not_whole_is_named(tmp_path):
    for shard in range(3):
        downloaded(tmp_path, shard, 2)
    (tmp_path / "00002_stats.json").unlink()
    (tmp_path / "00001_stats.json").write_text('{"successes": 5}')
    _, problems = sorted_out(tmp_path)
    assert [problem.reason for problem in problems] == [
        "says 5 successes; 00001.tar has 2 samples",
        "has no 00002_stats.json beside it: img2dataset may not have finished it",
    ]


# ---------------------------------------------------------------------------------------------------- damage


def numbered(count: int) -> list:
    """Samples of two members of less than a block each: 2048 bytes a sample."""
    return [entry for k in range(count) for entry in ((f"{k}.png", picture()), (f"{k}.txt", f"Cat {k}."))]


@pytest.mark.parametrize(
    ("length", "whole"),
    [(8 * 2048, 7), (8 * 2048 + 512, 7), (8 * 2048 - 1, 7), (8 * 2048 - 511, 7), (3 * 2048 - 513, 2)],
)
def test_truncated_tar_yields_its_complete_samples(tmp_path, length, whole):
    file = write(tmp_path, numbered(8))
    file.write_bytes(file.read_bytes()[:length])
    records, problems = sorted_out(tmp_path)
    # One that ends at a sample's end still lacks its mark of the end, and more of that sample may have followed.
    expected = 8 if length > 8 * 2048 else whole
    assert [record.id for record in records] == [str(k) for k in range(expected)]
    assert [problem.where for problem in problems] == ([] if length > 8 * 2048 else [str(file)])


def test_a_damaged_header_in_the_middle_is_not_the_end(tmp_path):
    file = write(tmp_path, numbered(8))
    content = bytearray(file.read_bytes())
    content[4 * 2048 + 10] ^= 1
    file.write_bytes(content)
    records, (problem,) = sorted_out(tmp_path)
    assert [record.id for record in records] == ["0", "1", "2"]
    assert str(problem) == f"{file}: is damaged or truncated at byte 8192; the rest is skipped"


@pytest.mark.parametrize(
    ("size", "at", "member", "whole"),
    [
        (-2048, 4096, "2.png", ["0"]),  # what follows the member would be the sample before it
        (2**62, 4096, "2.png", ["0"]),
        (2**62, 5120, "2.txt", ["0", "1"]),  # a text is read at once
    ],
)
def test_impossible_size_is_damage(tmp_path, size, at, member, whole):
    file = write(tmp_path, numbered(4))
    content = bytearray(file.read_bytes())
    header = content[at : at + 512]
    header[124:136] = (b"\xff" if size < 0 else b"\x80") + size.to_bytes(11, "big", signed=True)  # in base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content[at : at + 512] = header
    file.write_bytes(content)
    records, (problem,) = sorted_out(tmp_path)
    assert [record.id for record in records] == whole
    assert str(problem) == f"{file}: is damaged or truncated at its member {member}; the rest is skipped"


def test_another_shard_is_read_behind_a_damaged_one(tmp_path):
    write(tmp_path, GOOD, "train-000.tar").write_bytes(b"no tar at all" * 100)
    write(tmp_path, GOOD, "train-001.tar")
    (tmp_path / "train-002.tar").touch()
    (record,), problems = sorted_out(tmp_path)
    assert record.image.file == tmp_path / "train-001.tar"
    assert [Path(problem.where).name for problem in problems] == ["train-000.tar", "train-002.tar"]
    assert all("is damaged or not a tar" in problem.reason for problem in problems)


def test_what_makes_the_set_unreadable_is_raised(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"/train-000000\.tar is missing, and so is .*/train/\*\.tar"):
        sorted_out(tmp_path)
    write(tmp_path, [])
    with pytest.raises(ValueError, match=r"train-000\.tar: no sample is usable"):
        sorted_out(tmp_path)


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar.zst"])
def test_compressed_shards_are_refused(tmp_path, suffix):
    (tmp_path / f"train-000{suffix}").write_bytes(b"packed")
    with pytest.raises(ValueError, match="no sample is usable"):
        sorted_out(tmp_path)
    with pytest.raises(ValueError, match="no sample is usable"):
        read(tmp_path)
    write(tmp_path, GOOD)
    (record,), (problem,) = sorted_out(tmp_path)
    assert record.id == "0"
    assert problem.reason == "is compressed; it should be a plain .tar, from which images are read in place"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_random_damage_never_crashes(tmp_path, form):
    name = "x" * 120 if form != tarfile.USTAR_FORMAT else "x"
    content = tar([*described(), (f"{name}.png", picture()), (f"{name}.txt", "A cat."), *numbered(2)], form)
    content = content.rstrip(b"\0") + bytes(1024 - len(content.rstrip(b"\0")) % 512)
    for seed in range(250):
        (tmp_path / "train.tar").write_bytes(damaged_bytes(content, random.Random(seed)))
        assert_holds(read_webdataset, tmp_path, "train")


def test_random_descriptions_never_crash(tmp_path):
    for seed in range(250):
        content = json.dumps(damaged_value(DESCRIBED, random.Random(seed)))
        write(tmp_path, [("8.jpg", picture()), ("8.json", content), *GOOD])
        assert_holds(read_webdataset, tmp_path, "train")
