"""Sources behind a URL: every layout reads the same from there as from the folder."""

import io
import json
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from web_folder import web_folder
from xmcgan.data.images import image_bytes, image_size, open_image
from xmcgan.data.layouts import read_entries, read_records
from xmcgan.data.prepared.prepare import prepare
from xmcgan.data.prepared.shards import open_shards
from xmcgan.data.readers.sources import count_entries, describe_split, fingerprint
from xmcgan.data.records import Crop, Problem, Record, Slice
from xmcgan.data.remote import RemotePath, SourcePath, read_together, source_path, walk


def picture(number: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "jpeg")
    return file.getvalue()


PICTURES = [picture(number) for number in range(4)]


def write(root: Path, files: dict[str, bytes | str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def tar(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def parquet(table: dict[str, list]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(pa.table(table), file)
    return file.getvalue()


PAIRS = tar({"0.jpg": PICTURES[0], "0.txt": b"a", "1.jpg": PICTURES[1], "1.json": b'{"caption": "b"}', "2.txt": b"c"})

NARRATIVE = {"dataset_id": "coco_train2017", "image_id": "7", "annotator_id": 1, "caption": "a cat"}

SETS: dict[str, tuple[str, dict[str, bytes | str]]] = {
    "webdataset": ("train", {"train-0.tar": PAIRS, "train_extra-0.tar": PAIRS, "README": "no tar"}),
    "table": (
        "train",
        {
            "train.csv": "path,caption\na.jpg,one\nsub/b c.jpg,two\nmissing.jpg,three\n",
            "a.jpg": PICTURES[0], "sub/b c.jpg": PICTURES[1], "sub/c.jpg": PICTURES[2],
        },
    ),
    "folder": (
        "train",
        {"train/a.jpg": PICTURES[0], "train/a.txt": "one\ntwo", "train/x/b.png": PICTURES[1], "train/x/b.txt": "three",
         "train/x/c.txt": "alone", "train/.hidden": "", "train/note.md": ""},
    ),
    "coco": (
        "train2014",
        {
            "annotations/captions_train2014.json": json.dumps({
                "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
                "annotations": [{"image_id": 1, "caption": "one"}, {"image_id": 2, "caption": "two"}],
            }),
            "train2014/1.jpg": PICTURES[0], "train2014/3.jpg": PICTURES[1],
        },
    ),
    "localized-narratives": (
        "train2017",
        {"localized_narratives/coco_train.jsonl": json.dumps(NARRATIVE), "train2017/000000000007.jpg": PICTURES[0]},
    ),
    "flowers102": (
        "train",
        {"jpg/image_00001.jpg": PICTURES[0], "text_c10/class_00001/image_00001.txt": "a flower", "jpg/x.png": ""},
    ),
    "cub200-cropped": (
        "train",
        {
            "CUB_200_2011/images.txt": "1 A/a.jpg", "CUB_200_2011/bounding_boxes.txt": "1 10 10 10 10",
            "CUB_200_2011/images/A/a.jpg": PICTURES[0], "text_c10/A/a.txt": "a bird",
        },
    ),
    "flickr8k": (
        "train",
        {"Flickr8k.token.txt": "a.jpg#0\ta dog", "Flickr_8k.trainImages.txt": "a.jpg",
         "Flicker8k_Dataset/a.jpg": PICTURES[0]},
    ),
    "flickr30k": ("train", {"results_20130124.token": "11.jpg#0\ta dog", "flickr30k-images/11.jpg": PICTURES[0]}),
}  # fmt: skip


def read(root: SourcePath, layout: str, split: str) -> list[Record | Problem]:
    """The entries, with the bytes of the images instead of their places, and no root in messages."""
    entries = []
    for entry in read_entries(root, layout, split, annotations=True):
        if isinstance(entry, Record):
            entries.append(entry._replace(image=image_bytes(entry)))
        else:
            parts = (part.replace(str(root), "ROOT") for part in entry[:2])
            entries.append(Problem(*parts, *entry[2:]))
    return entries


def describe(root: SourcePath, layout: str, split: str) -> list[str | int | None]:
    rule = describe_split(root, layout, split)
    return [
        rule and rule.replace(str(root), "ROOT"),
        fingerprint(root, layout, [split]),
        count_entries(root, layout, split),
    ]


@pytest.fixture
def memory():
    """The URL of a folder in memory, which is removed in the end."""
    filesystem = fsspec.filesystem("memory")
    yield "memory://sources"
    if filesystem.exists("/sources"):
        filesystem.rm("/sources", recursive=True)


def upload(folder: Path, url: str) -> None:
    filesystem, path = fsspec.core.url_to_fs(url)
    for file in folder.rglob("*"):
        if file.is_file():
            filesystem.pipe_file(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())


@pytest.mark.parametrize("layout", SETS)
def test_every_layout_reads_the_same_from_a_url(tmp_path, memory, layout):
    split, files = SETS[layout]
    write(tmp_path, files)
    upload(tmp_path, memory)
    expected = read(tmp_path, layout, split)
    assert any(isinstance(entry, Record) for entry in expected)
    assert read(RemotePath(memory), layout, split) == expected
    assert describe(RemotePath(memory), layout, split) == describe(tmp_path, layout, split)


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl", ".parquet"])
def test_tables(tmp_path, memory, suffix):
    rows = {"path": ["a.jpg", "b.jpg"], "caption": ["one", "two"]}
    pairs = list(zip(*rows.values(), strict=True))
    text = {
        ".tsv": "path\tcaption\n" + "\n".join("\t".join(pair) for pair in pairs),
        ".jsonl": "\n".join(json.dumps(dict(zip(rows, pair, strict=True))) for pair in pairs),
        ".parquet": parquet(rows),
    }[suffix]
    write(tmp_path, {f"train{suffix}": text, "a.jpg": PICTURES[0], "b.jpg": PICTURES[1]})
    upload(tmp_path, memory)
    expected = read(tmp_path, "table", "train")
    assert read(RemotePath(memory), "table", "train") == expected
    assert read(RemotePath(f"{memory}/train{suffix}"), "table", "train") == expected


@pytest.mark.parametrize("layout", ["webdataset", "table", "folder", "coco"])
def test_a_web_server_with_pages_of_its_folders(tmp_path, layout):
    split, files = SETS[layout]
    write(tmp_path, files)
    with web_folder(tmp_path) as url:
        assert read(RemotePath(url), layout, split) == read(tmp_path, layout, split)
        assert fingerprint(RemotePath(url), layout, [split]) == fingerprint(tmp_path, layout, [split])


def test_a_web_server_without_pages_has_what_is_named(tmp_path):
    write(tmp_path, {"data/00.tar": PAIRS, "data/01.tar": tar({"z.jpg": PICTURES[2], "z.txt": b"z"})})
    write(tmp_path, {"train.csv": "path,caption\na.jpg,one\nno.jpg,two", "a.jpg": PICTURES[3]})
    with web_folder(tmp_path, "--no-pages") as url:
        tars = RemotePath(f"{url}/data")
        assert [each.id for each in read(tars, "webdataset", "{00..01}") if isinstance(each, Record)] == ["0", "1", "z"]
        problem, record = read(RemotePath(f"{url}/train.csv"), "table", "train")
        assert isinstance(problem, Problem)
        assert "no.jpg" in problem.reason
        assert isinstance(record, Record)
        assert record.image == PICTURES[3]


def test_a_page_cannot_lead_out_of_its_folder(tmp_path):
    links = "".join(
        f'<a href="{link}">x</a>' for link in ("/secret.txt", "../up.jpg", "?C=N;O=D", "a.jpg", "sub/b.jpg")
    )
    write(tmp_path, {"set/index.html": links, "set/a.jpg": PICTURES[0], "secret.txt": "no", "up.jpg": PICTURES[1]})
    with web_folder(tmp_path) as url:
        assert [path.name for path in RemotePath(f"{url}/set").iterdir()] == ["a.jpg"]


def test_a_name_cannot_lead_out_of_the_url(memory):
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe_file("/sources/in/train.csv", b"path,caption\n../out.jpg,one\na.jpg,two")
    filesystem.pipe_file("/sources/in/a.jpg", PICTURES[0])
    filesystem.pipe_file("/sources/out.jpg", PICTURES[1])
    problem, record = read_entries(RemotePath(f"{memory}/in"), "table", "train")
    assert isinstance(problem, Problem)
    assert "it should be the name of a file inside memory://sources/in" in problem.reason
    assert isinstance(record, Record)


def test_a_server_that_sends_no_parts_of_files_is_named(tmp_path):
    write(tmp_path, {"train-0.tar": PAIRS})
    with web_folder(tmp_path, "--no-parts") as url:
        with pytest.raises(ConnectionError, match=r"train-0\.tar cannot be read: .* may not send parts of files"):
            image_bytes(Record(Slice(RemotePath(f"{url}/train-0.tar"), 512, 100), ("a",), "a"))
        records = [each for each in read(RemotePath(url), "webdataset", "train") if isinstance(each, Record)]
        assert [record.image for record in records] == PICTURES[:2]  # from the copy that was read through


def test_images_of_a_chunk_are_read_together(tmp_path, memory):
    write(tmp_path, {"a": PICTURES[0], "b": PICTURES[1]})
    upload(tmp_path, memory)
    root = RemotePath(memory)
    whole, part, missing = read_together([(root / "a", None, None), (root / "b", 5, 9), (root / "c", None, None)])
    assert whole == PICTURES[0]
    assert part == PICTURES[1][5:9]
    assert isinstance(missing, FileNotFoundError)
    assert str(missing) == f"{root / 'c'} is not there"
    with pytest.raises(ConnectionError, match=r"sources/b cannot be read: .* bytes came where"):
        read_together([(root / "b", 0, 1 << 20)])


def test_a_path_survives_the_way_to_another_process(memory):
    path = RemotePath(memory) / "sub" / "a.jpg"
    again = pickle.loads(pickle.dumps(Record(Crop(path, 0, 0, 1, 1), ("a",), "a"))).image.file
    assert (again, hash(again), str(again)) == (path, hash(path), "memory://sources/sub/a.jpg")
    assert (again.name, again.stem, again.suffix, str(again.parent)) == ("a.jpg", "a", ".jpg", "memory://sources/sub")
    assert str(RemotePath(f"{memory}/t.csv").parent / "x.jpg") == "memory://sources/x.jpg"


def test_copies_are_made_once_and_given_up(tmp_path, memory, monkeypatch):
    monkeypatch.setattr("xmcgan.data.remote._COPIES", 250)
    write(tmp_path, {name: name.encode() * 100 for name in "abc"})
    upload(tmp_path, memory)
    root = RemotePath(memory)
    for name in "abac":
        with (root / name).open() as file:
            assert file.read() == name.encode() * 100
    assert [len(each) for each in (root._tree._copies,)] == [2]
    fsspec.filesystem("memory").rm("/sources/c")
    assert (root / "c").read_bytes() == b"c" * 100  # from its copy
    assert [(str(place), sorted(names)) for place, _, names in walk(root)] == [(memory, ["a", "b", "c"])]


def test_file_urls_are_folders(tmp_path):
    assert source_path(f"file://{tmp_path}") == tmp_path
    assert source_path(str(tmp_path)) == tmp_path
    with pytest.raises(ValueError, match="nosuch://x cannot be opened: Protocol not known: nosuch"):
        source_path("nosuch://x")
    with pytest.raises(ValueError, match=r"\?token=1 has a query"):
        source_path("https://example.com/train.csv?token=1")


def test_training_from_a_source_by_url_says_what_to_do(tmp_path, memory):
    write(tmp_path, SETS["table"][1])
    upload(tmp_path, memory)
    with pytest.raises(ValueError, match=r"holds no prepared data.* `xmcgan data prepare` wrote"):
        read_records(memory, "table", "train")


@pytest.mark.parametrize(
    ("layout", "executor"),
    [
        ("webdataset", ThreadPoolExecutor(2)),
        ("cub200-cropped", ThreadPoolExecutor(2)),
        ("webdataset", None),  # processes
    ],
)
def test_prepared_by_workers_from_a_server(tmp_path, layout, executor):
    split, files = SETS[layout]
    write(tmp_path / "source", files)
    settings = {"name": "s", "layout": layout, "splits": [split], "size": 16, "workers": 2, "executor": executor}
    with web_folder(tmp_path / "source") as url:
        for root, output in ((tmp_path / "source", "local"), (RemotePath(url), "web")):
            entries = partial(read_entries, root, layout, annotations=True)
            prepare(root, tmp_path / output, entries=entries, most_bad=1.0, progress=False, **settings)
    local, web = (open_shards(tmp_path / output, split, layout=layout) for output in ("local", "web"))
    assert list(local) == list(web)
    assert [each["sha256"] for each in local.manifest["splits"][split]["shards"]] == [
        each["sha256"] for each in web.manifest["splits"][split]["shards"]
    ]


def test_a_network_that_fails_loses_no_image(tmp_path):
    write(tmp_path / "source", {f"{k}.jpg": PICTURES[k] for k in range(4)})
    with web_folder(tmp_path / "source") as url:
        records = [Record(RemotePath(url) / f"{k}.jpg", (f"{k}",), f"{k}") for k in range(4)]
    with pytest.raises(ConnectionError, match=r"/0\.jpg cannot be read: .*; the same command then resumes"):
        prepare(
            RemotePath("http://127.0.0.1:9/"), tmp_path / "out", name="s", layout="table", splits=["train"],
            entries=lambda _: iter(records), size=16, workers=1, most_bad=1.0, progress=False,
        )  # fmt: skip


def raising(error: Exception):
    def call(*_, **__):
        raise error

    return call


def test_a_file_that_is_not_there_has_no_size(memory):
    with pytest.raises(FileNotFoundError, match=r"^memory://sources/none\.jpg is not there, or its size is not known$"):
        (RemotePath(memory) / "none.jpg").stat()


def test_a_copy_that_is_cut_short_is_named_and_not_kept(memory, monkeypatch):
    fsspec.filesystem("memory").pipe_file("/sources/a", b"123456")
    path = RemotePath(memory) / "a"
    with monkeypatch.context() as patched:
        patched.setattr(MemoryFileSystem, "get_file", lambda _, there, here: Path(here).write_bytes(b"123"))
        with pytest.raises(ConnectionError, match=r"^memory://sources/a cannot be read: 3 of 6 bytes came$"):
            path.open()
    with path.open() as file:
        assert file.read() == b"123456"


def test_storage_that_refuses_is_no_empty_folder(memory, monkeypatch):
    monkeypatch.setattr(MemoryFileSystem, "ls", raising(PermissionError("no credentials")))
    with pytest.raises(ConnectionError, match=r"^memory://sources cannot be read: no credentials$"):
        list(RemotePath(memory).iterdir())


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_web_server_without_a_page_has_an_empty_folder_and_one_that_fails_does_not(status):
    error = OSError(f"status {status}")
    error.status = status  # ty: ignore[unresolved-attribute]  # as aiohttp's errors have
    folder = RemotePath("http://example.org/data")
    folder._tree.filesystem = SimpleNamespace(ls=raising(error))  # ty: ignore[invalid-assignment]
    if status != 500:
        assert list(folder.iterdir()) == []
    else:
        with pytest.raises(ConnectionError, match=r"^http://example\.org/data cannot be read: status 500$"):
            list(folder.iterdir())


@pytest.mark.parametrize("pattern", ["*.tar", "**/*.tar", "a/**/*.tar", "*/c.tar", "**/b/*.tar", "a/b/?.tar"])
def test_patterns_find_what_they_find_in_a_folder(tmp_path, memory, pattern):
    write(tmp_path, dict.fromkeys(("c.tar", "c.txt", "a/c.tar", "a/b/c.tar", "a/b/d.tar.gz", "b/c.tar"), "x"))
    upload(tmp_path, memory)
    expected = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob(pattern))
    assert expected
    assert sorted(str(path).removeprefix(f"{memory}/") for path in RemotePath(memory).glob(pattern)) == expected


def test_a_remote_file_is_only_read(memory):
    path = RemotePath(memory) / "a.csv"
    with pytest.raises(ValueError, match=r"^memory://sources/a\.csv can be opened for reading bytes, not as 'w'$"):
        path.open("w")
    assert repr(path) == "RemotePath('memory://sources/a.csv')"


def test_storage_that_fails_is_not_the_images_fault(tmp_path, memory, monkeypatch):
    """Not a ValueError: the preparation would count the image as bad."""
    write(tmp_path, {"a.jpg": PICTURES[0], "b.jpg": PICTURES[1]})
    upload(tmp_path, memory)
    root, failing = RemotePath(memory), MemoryFileSystem.cat_file
    said = r"^memory://sources/b\.jpg cannot be read: timed out$"

    def cat_file(self, path, *arguments, **settings):
        if path.endswith("b.jpg"):
            raise TimeoutError("timed out")
        return failing(self, path, *arguments, **settings)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)
    with pytest.raises(ConnectionError, match=said):
        read_together([(root / "a.jpg", None, None), (root / "b.jpg", None, None)])
    with pytest.raises(ConnectionError, match=said):
        open_image(Record(root / "b.jpg", ("b",), "b"))
    with pytest.raises(ConnectionError, match=said):
        image_size(root / "b.jpg")
    assert image_size(root / "a.jpg") == (40, 30)
