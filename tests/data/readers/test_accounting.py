"""Every file and line of a source is either read or named by a problem, in every layout.

Hypothesis makes the sources: good entries among bad ones, stray files, names with several dots, stray quotes. Every
caption has a word of its own, by which it is found again among the records.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from PIL import Image

from accounting import Source
from xmcgan.data.records import Slice

PICTURE = io.BytesIO()
Image.new("RGB", (4, 3)).save(PICTURE, "png")
PICTURE = PICTURE.getvalue()

often = settings(max_examples=10, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))

STRAYS = some.lists(
    some.sampled_from(["README.md", "notes", ".DS_Store", "old.zip", "LICENSE"]), unique=True, max_size=2
)


@pytest.fixture
def fresh(tmp_path):
    """A new folder at every call."""
    count = iter(range(1_000_000))

    def make() -> Path:
        folder = tmp_path / str(next(count))
        folder.mkdir()
        return folder

    return make


def scatter(root: Path, strays: Iterable[str]) -> None:
    for name in strays:
        root.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("neither picture nor caption")


def captions(numbers: Iterable[int], bad: bool) -> bytes:
    """Lines of captions, each with a word of its own; one is bad, if asked for."""
    lines = [f"a picture w{number}".encode() for number in numbers]
    return b"\n".join([*lines, b"caf\xe9 w0"] if bad else lines)


# ------------------------------------------------------------------------------------------------- webdataset

STEMS = some.sampled_from(
    ["0", "1", "22.05", "22.06", "22", "b", "b.left", "b.right", "c.seg", "a/0", "._0", "LICENSE"]
)
SUFFIXES = some.sampled_from([".png", ".txt", ".json", ".caption", ".cls", ".JPG", ".npy", ""])
TARS = ["train-000.tar", "train_extra-0.tar", "trainer.tar", "val-0.tar", "validation-000.tar", "00000.tar"]


@often
@given(
    tars=some.dictionaries(
        some.sampled_from(TARS), some.lists(some.tuples(STEMS, SUFFIXES), max_size=8, unique=True), max_size=3
    ),
    ordered=some.booleans(),
    strays=STRAYS,
)
def test_webdataset(fresh, tars, ordered, strays):
    root, count = fresh(), iter(range(1, 1000))
    texts: dict[tuple[str, str], str] = {}
    tars = {"train-000.tar": [], "val-0.tar": [], **tars}
    for name, members in tars.items():
        members = [*members, ("good", ".png"), ("good", ".txt")]
        with tarfile.open(root / name, "w") as tar:
            for stem, suffix in sorted(members) if ordered else members:
                word = f"w{next(count)}"
                content = json.dumps({"caption": word}).encode() if suffix == ".json" else word.encode()
                texts[name, stem + suffix] = word
                content = PICTURE if suffix in (".png", ".JPG") else content
                member = tarfile.TarInfo(stem + suffix)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    scatter(root, strays)
    source = Source(root, "webdataset", ["train", "val"])
    assert not source.missed()
    slices = {(r.image.file.name, r.image.offset) for r in source.records if isinstance(r.image, Slice)}
    for name in tars:
        if root / name not in source.read:
            assert source.names(str(root / name))
            continue
        with tarfile.open(root / name) as tar:
            for member in tar.getmembers():
                ids = {record.id for record in source.records}
                key = member.name.rpartition(".")[0]
                assert (
                    (name, member.offset_data) in slices
                    or texts[name, member.name] in source.words
                    or (
                        key in ids and member.name.endswith((".txt", ".caption"))
                    )  # the json beside it has the captions
                    or source.names(f"{root / name}, {member.name}")
                    or any(source.names(f"{root / name}, sample {part}") for part in prefixes(member.name))
                    or any(
                        f"record {part}" in problem.where
                        for problem in source.problems
                        for part in prefixes(member.name)
                    )
                ), member.name


def prefixes(name: str) -> list[str]:
    """A name without its last parts between dots."""
    return [name[: match.start()] for match in re.finditer(r"\.", name)]


# ------------------------------------------------------------------------------------------- folder and table


@often
@given(
    files=some.dictionaries(
        some.tuples(
            some.sampled_from(["train", "train/cats", "val"]),
            some.sampled_from(["a", "b", "22.05", ".hidden", "README"]),
            some.sampled_from([".png", ".txt", ".gif", ".json", ".JPG", ""]),
        ),
        some.booleans(),
        max_size=12,
    ),
)
def test_folder(fresh, files):
    root = fresh()
    files = {(folder, "good", suffix): False for folder in ("train", "val") for suffix in (".png", ".txt")} | files
    for number, ((folder, stem, suffix), bad) in enumerate(files.items(), 1):
        (root / folder).mkdir(parents=True, exist_ok=True)
        text = captions([2 * number, 2 * number + 1], bad)
        (root / folder / f"{stem}{suffix}").write_bytes(text if suffix == ".txt" else PICTURE)
    source = Source(root, "folder", ["train", "val"])
    # A text is of its image: where that is a problem, so is the text.
    missed = [each for each in source.missed() if not source.names(each.partition(".txt")[0] + ".")]
    assert not missed


ROWS = some.lists(
    some.tuples(some.sampled_from(["a.png", "b.png", "none.png", "../x.png", "", '"a.png"']), some.sampled_from(
        ["{w}", '"{w}"', '"{w}', '{w} "', "{w} \"quoted\" {w}", "{w}{sep}more", "", '"{w}\n{w}"', "\udce9 {w}"]
    )),
    max_size=9,
)  # fmt: skip


@often
@given(
    rows=ROWS, suffix=some.sampled_from([".csv", ".tsv"]), separator=some.sampled_from([",", "\t", ";"]), strays=STRAYS
)
def test_delimited_table(fresh, rows, suffix, separator, strays):
    root = fresh()
    for name in ("a.png", "b.png", "unused.png"):
        (root / name).write_bytes(PICTURE)
    count = iter(range(1, 1000))
    lines = [f"{path}{separator}{text}" for path, text in rows]
    lines = [re.sub(r"\{w\}", lambda _: f"w{next(count)}", line).replace("{sep}", separator) for line in lines]
    text = "\n".join([f"path{separator}caption", f"a.png{separator}w0", *lines]) + "\n"
    (root / f"train{suffix}").write_bytes(text.encode(errors="surrogateescape"))
    scatter(root, strays)
    source = Source(root, "table", ["train"])
    # An image without a usable caption is named as the table names it.
    assert not [each for each in source.missed() if not source.names(f"train{suffix}, image {Path(each).name}")]


@often
@given(
    rows=some.lists(
        some.sampled_from(
            ['{{"path": "a.png", "text": "{w}"}}', '{{"path": "a.png", "text": ["{w}", 5]}}', "{{", "5", '"{w}"',
             '{{"path": "a.png"}}', '{{"path": 5, "text": "{w}"}}', '{{"path": "no.png", "text": "{w}"}}', "\udce9"]
        ),
        max_size=9,
    )
)  # fmt: skip
def test_json_lines(fresh, rows):
    root = fresh()
    (root / "a.png").write_bytes(PICTURE)
    rows = ['{{"path": "a.png", "text": "{w}"}}', *rows]
    lines = [row.format(w=f"w{number}") for number, row in enumerate(rows, 1)]
    (root / "train.jsonl").write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    assert not Source(root, "table", ["train"]).missed()


# ------------------------------------------------------------------------------------------- coco, narratives


@often
@given(
    images=some.lists(some.sampled_from([1, 2, 3, "x"]), max_size=4),
    annotations=some.lists(some.tuples(some.sampled_from([1, 2, 9, None]), some.booleans()), max_size=6),
    files=some.lists(some.sampled_from(["1.jpg", "2.jpg", "7.jpg", "notes.txt"]), unique=True),
    strays=STRAYS,
)
def test_coco(fresh, images, annotations, files, strays):
    root = fresh()
    (root / "annotations").mkdir()
    (root / "train2014").mkdir()
    images, annotations, files = [*images, 50], [*annotations, (50, True)], [*files, "50.jpg"]
    for name in files:
        (root / "train2014" / name).write_bytes(PICTURE)
    scatter(root, strays)
    listed = [{"image_id": image, "caption": f"w{k}" if good else " "} for k, (image, good) in enumerate(annotations)]
    content = {"images": [{"id": each, "file_name": f"{each}.jpg"} for each in images], "annotations": listed}
    file = root / "annotations/captions_train2014.json"
    file.write_text(json.dumps(content))
    source = Source(root, "coco", ["train2014"])
    assert not [each for each in source.missed(lines=False) if not Path(each).stem.isdigit()]
    for name in files:
        position = next((k for k, each in enumerate(images) if f"{each}.jpg" == name), None)
        assert (
            root / "train2014" / name in source.read
            or source.names(str(root / "train2014" / name))
            or source.names(f"{file}, images[{position}]")
        )
    for position, (image, good) in enumerate(annotations):
        of_image = next((k for k, each in enumerate(images) if each == image), None)
        assert (
            (good and f"w{position}" in source.words)
            or source.names(f"{file}, annotations[{position}]")
            or source.names(f"{file}, images[{of_image}]")
        )


@often
@given(
    lines=some.lists(
        some.tuples(some.sampled_from(["coco_train2017", "coco_val2017", None]), some.sampled_from([1, 2, 9, "x"])),
        min_size=1, max_size=8,
    ),
    junk=some.lists(some.sampled_from([b"{", b"", b"[]", b"\xff"]), max_size=2),
    strays=STRAYS,
)  # fmt: skip
def test_localized_narratives(fresh, lines, junk, strays):
    root = fresh()
    for split in ("train2017", "val2017"):
        (root / split).mkdir()
        for number in (1, 2, 3):
            (root / split / f"{number:012d}.jpg").write_bytes(PICTURE)
    lines = [("coco_train2017", 3), ("coco_val2017", 3), *lines]
    rows = [
        {"dataset_id": split, "image_id": image, "annotator_id": 1, "caption": f"w{number}"}
        for number, (split, image) in enumerate(lines)
    ]
    (root / "localized_narratives").mkdir()
    file = root / "localized_narratives/coco.jsonl"
    file.write_bytes(b"\n".join([*(json.dumps(row).encode() for row in rows), *junk]))
    scatter(root, strays)
    assert not Source(root, "localized-narratives", ["train2017", "val2017"]).missed()


# ------------------------------------------------------------------------------------ flowers, birds and Flickr

TEXT_FILES = some.dictionaries(
    some.tuples(some.sampled_from(["class_00001", "class_00002"]), some.sampled_from([1, 2, 10, 20])),
    some.booleans(),
    max_size=5,
)


@often
@given(
    texts=TEXT_FILES,
    images=some.sets(some.sampled_from([1, 2, 10, 30])),
    odd=some.lists(some.sampled_from(["jpg/x.png", "text_c10/x.txt", "text_c10/class_00001/y.txt", "text_c10/z.h5"])),
    strays=STRAYS,
)
def test_flowers102(fresh, texts, images, odd, strays):
    root = fresh()
    (root / "jpg").mkdir()
    (root / "text_c10/class_00001").mkdir(parents=True)
    texts, images = {("class_00001", 40): False, ("class_00001", 41): False, **texts}, images | {40, 41}
    for number, ((folder, image), bad) in enumerate(texts.items(), 1):
        (root / "text_c10" / folder).mkdir(exist_ok=True)
        (root / "text_c10" / folder / f"image_{image:05d}.txt").write_bytes(captions([2 * number, 2 * number + 1], bad))
    for image in images:
        (root / f"jpg/image_{image:05d}.jpg").write_bytes(PICTURE)
    for name in odd:
        (root / name).write_text("odd")
    scatter(root, strays)
    source = Source(root, "flowers102", ["train", "test"])
    assert not source.missed(lines=bool(source.records))


@often
@given(
    images=some.lists(
        some.sampled_from(["1 A/a.jpg", "2 A/b.jpg", "10 A/c.jpg", "2 A/d.jpg", "x", "5 A/e.png"]), max_size=5
    ),
    files=some.sets(some.sampled_from(["a.jpg", "b.jpg", "c.jpg", "z.jpg"])),
    texts=some.dictionaries(some.sampled_from(["a", "b", "c", "z"]), some.booleans()),
    strays=STRAYS,
)
def test_cub200(fresh, images, files, texts, strays):
    root = fresh()
    (root / "CUB_200_2011/images/A").mkdir(parents=True)
    (root / "text_c10/A").mkdir(parents=True)
    images = ["7 A/good.jpg", "20 A/fine.jpg", *images]
    files, texts = files | {"good.jpg", "fine.jpg"}, {"good": False, "fine": False, **texts}
    (root / "CUB_200_2011/images.txt").write_text("\n".join(images))
    (root / "CUB_200_2011/attributes.txt").write_text("of the owners")
    for name in files:
        (root / "CUB_200_2011/images/A" / name).write_bytes(PICTURE)
    for number, (name, bad) in enumerate(texts.items(), 1):
        (root / f"text_c10/A/{name}.txt").write_bytes(captions([2 * number, 2 * number + 1], bad))
    scatter(root, strays)
    source = Source(root, "cub200", ["train", "test"])
    for each in source.missed(lines=False):
        # An image or text of a bad line of images.txt is named by that line.
        assert source.names(f"A/{Path(each).stem}.jpg"), each


@often
@given(
    lines=some.lists(
        some.sampled_from(
            ["a.jpg#0\t{w}", "b.jpg#1\t{w}", "c.jpg#0\t{w}", "d.jpg#0\t{w}", "a.jpg {w}", "a.jpg#0\t", "\udce9"]
        ),
        max_size=9,
    ),
    listed=some.fixed_dictionaries(
        {split: some.lists(some.sampled_from(["a.jpg", "b.jpg", "n.jpg"]), max_size=3) for split in ("train", "dev")}
    ),
    files=some.sets(some.sampled_from(["a.jpg", "b.jpg", "c.jpg", "z.jpg"])),
    strays=STRAYS,
)  # fmt: skip
def test_flickr8k(fresh, lines, listed, files, strays):
    root = fresh()
    (root / "Flicker8k_Dataset").mkdir()
    lines, files = ["g.jpg#0\t{w}", "h.jpg#0\t{w}", *lines], files | {"g.jpg", "h.jpg"}
    listed = {"train": [*listed["train"], "g.jpg"], "dev": [*listed["dev"], "h.jpg"]}
    for name in files:
        (root / "Flicker8k_Dataset" / name).write_bytes(PICTURE)
    text = "\n".join(line.format(w=f"w{number}") for number, line in enumerate(lines))
    (root / "Flickr8k.token.txt").write_bytes(text.encode(errors="surrogateescape"))
    for split, names in listed.items():
        (root / f"Flickr_8k.{split}Images.txt").write_text("\n".join(names))
    scatter(root, strays)
    source = Source(root, "flickr8k", ["train", "dev"])
    on_lists = {name for names in listed.values() for name in names}
    lost = [problem for problem in source.problems if not problem.detail]
    for each in source.missed():
        name = next(f"{letter}.jpg" for letter in "abcdghnz" if f"{letter}.jpg" in each)
        if "Images.txt, line" in each and root / "Flicker8k_Dataset" / name in source.read:
            continue
        if name in on_lists:  # its lines and file are named by the list's line, which says why it cannot be used
            assert any("Images.txt, line" in problem.where and name in problem.reason for problem in lost), each
        else:  # the first line about it is named
            assert any(problem.reason == f"is about {name}, which is on no list" for problem in source.problems), each


# --------------------------------------------------------------------------- Flickr30k, parquet, Open Images' boxes


@often
@given(
    lines=some.lists(
        some.sampled_from(["a.jpg{sep}{w}", "b.jpg{sep}{w}", "c.jpg{sep}{w}", "a.jpg {w}", "a.jpg{sep}", "\udce9"]),
        max_size=9,
    ),
    listed=some.none()
    | some.fixed_dictionaries(
        {split: some.lists(some.sampled_from(["a", "b", "n.jpg"]), max_size=3) for split in ("train", "val")}
    ),
    bars=some.booleans(),
    files=some.sets(some.sampled_from(["a.jpg", "b.jpg", "c.jpg", "z.jpg"])),
    strays=STRAYS,
)
def test_flickr30k(fresh, lines, listed, bars, files, strays):
    root = fresh()
    (root / "flickr30k-images").mkdir()
    lines, files = ["g.jpg{sep}{w}", "h0.jpg{sep}{w}", *lines], files | {"g.jpg", "h0.jpg"}
    for name in files:
        (root / "flickr30k-images" / name).write_bytes(PICTURE)
    separator, header = ("| 0| ", ["image_name| comment_number| comment"]) if bars else ("#0\t", [])
    rows = [line.format(w=f"w{number}", sep=separator) for number, line in enumerate(lines)]
    table = root / ("results.csv" if bars else "results_20130124.token")
    table.write_bytes("\n".join([*header, *rows]).encode(errors="surrogateescape"))
    if listed is not None:
        listed = {"train": [*listed["train"], "g"], "val": [*listed["val"], "h0"]}
        for split, names in listed.items():
            (root / f"{split}.txt").write_text("\n".join(names))
    scatter(root, strays)
    source = Source(root, "flickr30k", ["train", "val"])
    on_lists = {f"{name.removesuffix('.jpg')}.jpg" for names in (listed or {}).values() for name in names}
    lost = [problem for problem in source.problems if not problem.detail]
    for each in source.missed():
        if bars and each.startswith(f"{table}, line 1:"):
            continue  # the header
        if Path(each.partition(", line")[0]).name in ("train.txt", "val.txt"):
            name = re.sub(r".*: b'(.*?)(\.jpg)?'", r"\1.jpg", each)
            assert root / "flickr30k-images" / name in source.read, each
            continue
        name = next(f"{letter}.jpg" for letter in ("a", "b", "c", "g", "h0", "n", "z") if f"{letter}.jpg" in each)
        if name in on_lists or listed is None:  # named where it is listed or first captioned, which says what is wrong
            assert any(name in problem.reason or name in problem.where for problem in lost), each
        else:  # the first line about it is named
            assert any(problem.reason == f"is about {name}, which is on no list" for problem in source.problems), each


@often
@given(
    rows=some.lists(
        some.tuples(
            some.sampled_from(["a.png", "b.png", "none.png", "../x.png", "", None]),
            some.sampled_from([["{w}"], ["{w}", ""], ["{w}", "{w}"], [""], [], None]),
        ),
        max_size=9,
    ),
    as_lists=some.booleans(),
    strays=STRAYS,
)
def test_parquet_table(fresh, rows, as_lists, strays):
    import pyarrow as pa
    from pyarrow import parquet

    root, count = fresh(), iter(range(1, 1000))
    for name in ("a.png", "b.png", "unused.png"):
        (root / name).write_bytes(PICTURE)
    rows = [("a.png", ["w0"]), *rows]
    texts = [texts and [text.replace("{w}", f"w{next(count)}") for text in texts] for _, texts in rows]
    cells = texts if as_lists else [None if text is None else " ".join(text) for text in texts]
    kind = pa.list_(pa.string()) if as_lists else pa.string()
    table = pa.table({"path": pa.array([path for path, _ in rows], pa.string()), "caption": pa.array(cells, kind)})
    file = root / "train.parquet"
    parquet.write_table(table, file)
    scatter(root, strays)
    source = Source(root, "table", ["train"])
    assert not [each for each in source.missed() if not source.names(f"train.parquet, image {Path(each).name}")]
    for number, (path, cell) in enumerate(zip(table["path"].to_pylist(), texts, strict=True), 1):
        words = {word for text in cell or () for word in text.split()}
        is_read = words and words <= source.words and (not as_lists or all(cell))
        assert (
            is_read
            or source.names(f"{file}, row {number}")
            # Its caption is good, and its image is named as a whole.
            or (path is not None and source.names(f"{file}, image {path}"))
        ), number


@often
@given(
    boxes=some.lists(
        some.tuples(
            some.sampled_from(["000000000000000a", "000000000000000b", "000000000000000c", "no id"]),
            some.sampled_from(["/m/1", "/m/2", "/m/none"]),
            some.sampled_from([".1,.5,.1,.5", ".5,.1,.1,.5", "0,1,0", "x,1,0,1", "2,3,0,1"]),
        ),
        max_size=9,
    ),
    classes=some.lists(some.sampled_from(["/m/3,Cat", "/m/4", "/m/5,", "LabelName,DisplayName"]), max_size=3),
    in_folder=some.booleans(),
    strays=STRAYS,
)
def test_open_images_boxes(fresh, boxes, classes, in_folder, strays):
    root = fresh()
    place = root / "annotations" if in_folder else root
    for folder in (root / "train", root / "localized_narratives", place):
        folder.mkdir(exist_ok=True)
    narratives = []
    for number, image in enumerate(("000000000000000a", "000000000000000b")):
        (root / f"train/{image}.jpg").write_bytes(PICTURE)
        spoken = {"dataset_id": "open_images_train", "image_id": image, "annotator_id": 1, "caption": f"w{number}"}
        narratives.append(json.dumps(spoken))
    (root / "localized_narratives/open_images_train.jsonl").write_text("\n".join(narratives))
    names = place / "class-descriptions-boxable.csv"
    names.write_text("\n".join(["/m/1,Dog", "/m/2,Tree", *classes]))
    file = place / "train-annotations-bbox.csv"
    header = "ImageID,LabelName,XMin,XMax,YMin,YMax"
    file.write_text("\n".join([header, *(",".join(row) for row in boxes)]))
    scatter(root, strays)
    source = Source(root, "localized-narratives", ["train"])
    kept = [(record.id.partition("-")[0], box) for record in source.records for box in record.boxes]
    good = 0
    for number, (image, label, sides) in enumerate(boxes, 2):
        is_good = image[-1] in "ab" and label != "/m/none" and sides == ".1,.5,.1,.5"
        good += is_good
        if is_good:
            name = {"/m/1": "Dog", "/m/2": "Tree"}[label]
            assert any(found == image and box.category == name for found, box in kept)
        else:
            assert source.names(f"{file}, line {number}"), number
    assert len(kept) == good
    for number, line in enumerate(classes, 3):
        assert line in ("/m/3,Cat", "LabelName,DisplayName") or source.names(f"{names}, line {number}"), line
    known = {file, names}
    assert not [each for each in source.missed(lines=False) if Path(each) not in known]
