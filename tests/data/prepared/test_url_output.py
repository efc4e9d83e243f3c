"""Prepared data behind a URL: the files are those of a folder, and nothing half-written is ever seen."""

import json
import os
import socket
from contextlib import suppress
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from preparing import prepared
from xmcgan.data.images import ImageTransform
from xmcgan.data.prepared.manifest import is_prepared, read_manifest
from xmcgan.data.prepared.shards import open_shards
from xmcgan.data.prepared.url_output import UrlOutput
from xmcgan.data.prepared.verify import verify
from xmcgan.data.records import Problem, Record
from xmcgan.data.stream import ExampleStream, load_batches

URL = "memory://prepared/out"

FILES = fsspec.filesystem("memory")


@pytest.fixture(autouse=True)
def bucket():
    yield
    for place in ("/prepared", "/other"):
        if FILES.exists(place):
            FILES.rm(place, recursive=True)


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> list[Record | Problem]:
    import numpy as np
    from PIL import Image

    folder, dice, records = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0), []
    for number in range(14):
        Image.fromarray(dice.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        records.append(Record(folder / f"{number}.png", (f"picture {number}", "another"), f"n{number}"))
    (folder / "bad.png").write_bytes(b"bad")
    bad = Record(folder / "bad.png", ("bad",), "bad")
    return [*records[:5], bad, *records[5:], Problem("list, line 9", "is empty", detail=True)]


def content(place: str) -> dict[str, object]:
    """All files of an output, without the time of the manifest."""
    files, root = fsspec.core.url_to_fs(place)
    found = {path.removeprefix(f"{root}/"): files.cat_file(path) for path in files.find(root, withdirs=False)}
    manifest = json.loads(found.pop("manifest.json"))
    return {**found, "manifest.json": {**manifest, "date": ""}}


@pytest.fixture(scope="module")
def expected(records, tmp_path_factory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("local") / "out"
    prepared(records, folder, most_bad=1.0)
    return content(str(folder))


class Stop(Exception):
    pass


class Interrupted:
    """The n-th change of the storage fails."""

    def __init__(self, monkeypatch, at: int, error: Exception):
        self.count, self.at, self.error = 0, at, error
        for name in ("put_file", "pipe_file", "rm_file", "cp_file"):
            monkeypatch.setattr(MemoryFileSystem, name, self.counting(getattr(MemoryFileSystem, name)))

    def counting(self, real):
        def call(*arguments, **settings):
            self.count += 1
            if self.count == self.at:
                raise self.error
            return real(*arguments, **settings)

        return call


def test_the_files_are_those_of_a_folder(records, expected, tmp_path):
    manifest = prepared(records, URL, most_bad=1.0)
    assert content(URL) == expected
    assert read_manifest(URL) == manifest
    assert not list(verify(URL, "all", cache=tmp_path))
    assert open_shards(URL, "all", layout="table", cache=tmp_path).digest() == manifest["splits"]["all"]["texts_sha256"]
    assert prepared(records, URL, most_bad=1.0) == manifest  # nothing is made again


def test_storage_that_shows_files_as_they_grow_gets_them_renamed(records, expected, monkeypatch):
    monkeypatch.setattr("xmcgan.data.prepared.url_output._OBJECT_STORES", frozenset())
    names = []
    real = MemoryFileSystem.put_file
    monkeypatch.setattr(MemoryFileSystem, "put_file", lambda self, *a, **k: (names.append(a[1]), real(self, *a, **k)))
    prepared(records, URL, most_bad=1.0)
    assert content(URL) == expected
    assert all(name.endswith(".partial") for name in names)


def test_interrupted_anywhere_it_resumes_to_the_same_files(records, expected, monkeypatch):
    at = 0
    while True:
        at += 1
        with monkeypatch.context() as patched:
            change = Interrupted(patched, at, Stop())
            with suppress(ConnectionError):
                prepared(records, URL, most_bad=1.0)
            if change.count < at:
                break
            if not FILES.exists("/prepared/out/manifest.json"):
                with pytest.raises((ValueError, FileNotFoundError)):  # a reader sees no set, or an unfinished one
                    open_shards(URL, "all", layout="table")
        prepared(records, URL, most_bad=1.0)
        assert content(URL) == expected, at
        FILES.rm("/prepared", recursive=True)
    assert at > 10


def fail_after(monkeypatch, records: list, shards: int) -> None:
    """Begins a preparation that ends after some shards."""
    real, count = UrlOutput.add, iter(range(100))

    def add(self, entry):
        if next(count) == shards:
            raise Stop
        real(self, entry)

    with monkeypatch.context() as patched:
        patched.setattr(UrlOutput, "add", add)
        with pytest.raises(Stop):
            prepared(records, URL, most_bad=1.0)


def test_finished_shards_are_kept_and_damaged_ones_made_again(records, expected, monkeypatch):
    fail_after(monkeypatch, records, 2)
    with pytest.raises(ValueError, match=r"memory://prepared/out is unfinished"):
        is_prepared(URL)
    shards = ["/prepared/out/all/00000.arrow", "/prepared/out/all/00001.arrow"]
    damaged = bytearray(FILES.cat_file(shards[1]))
    damaged[-300] ^= 1
    FILES.pipe_file(shards[1], bytes(damaged))
    FILES.pipe_file("/prepared/out/all/00002.arrow", b"half")
    kept = FILES.created(shards[0])
    prepared(records, URL, most_bad=1.0)
    assert content(URL) == expected
    assert FILES.created(shards[0]) == kept
    assert FILES.created(shards[1]) > kept


def test_other_settings_and_foreign_content_are_refused(records, monkeypatch):
    fail_after(monkeypatch, records, 1)
    before = FILES.find("/prepared")
    with pytest.raises(ValueError, match=r"was prepared with other settings: size was 32 and is 48"):
        prepared(records, URL, size=48, most_bad=1.0)
    assert FILES.find("/prepared") == before
    FILES.pipe_file("/other/photo.jpg", b"mine")
    with pytest.raises(FileExistsError, match=r"memory://other holds photo\.jpg, which was not prepared"):
        prepared(records, "memory://other")
    assert FILES.find("/other") == ["/other/photo.jpg"]


def test_a_preparation_that_cannot_begin_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="has no usable record"):
        prepared([], URL)
    assert not FILES.find("/prepared")


def lock(**holder: object) -> None:
    FILES.pipe_file("/prepared/out/.lock", json.dumps({"host": socket.gethostname(), **holder}).encode())


@pytest.mark.parametrize("holder", [{"process": os.getppid()}, {"process": 1, "host": "another"}, {"process": "?"}])
def test_another_writer_is_refused(records, holder):
    lock(**holder)
    with pytest.raises(FileExistsError, match=r"is being prepared by process .* on .*; wait for it, or remove "
                                              r"memory://prepared/out/\.lock if it has ended"):  # fmt: skip
        prepared(records, URL, most_bad=1.0)
    assert FILES.find("/prepared") == ["/prepared/out/.lock"]


def test_the_lock_of_a_process_of_this_machine_that_has_ended_is_taken_over(records, expected):
    with os.popen("echo $$") as shell:
        ended = int(shell.read())
    lock(process=ended)
    prepared(records, URL, most_bad=1.0)
    assert content(URL) == expected


@pytest.mark.parametrize("held", [b'{"process": 1' + b"0" * 30 + b"}", b"[" * 100_000])
def test_a_damaged_lock_is_anothers(records, held):
    FILES.pipe_file("/prepared/out/.lock", held.replace(b"{", b'{"host": "%s", ' % socket.gethostname().encode()))
    with pytest.raises(FileExistsError, match="is being prepared by process"):
        prepared(records, URL, most_bad=1.0)


def test_two_that_begin_at_once(records, monkeypatch):
    real = UrlOutput._read

    def read(self, name):  # the other one comes between looking and writing
        found = real(self, name)
        if name == ".lock" and found is None:
            lock(process=1, host="another")
        return found

    monkeypatch.setattr(UrlOutput, "_read", read)
    with pytest.raises(FileExistsError, match="is being prepared by process 1 on another"):
        prepared(records, URL)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://example.com/out", "can only be read"),
        ("zip://out::memory://x.zip", "can only be read"),
        ("nosuch://out", "Protocol not known: nosuch"),
    ],
)
def test_what_cannot_be_written(records, url, message):
    with pytest.raises(ValueError, match=message):
        prepared(records, url)


def test_a_file_url_is_a_folder(records, expected, tmp_path):
    prepared(records, f"file://{tmp_path}/out", most_bad=1.0)
    assert content(f"{tmp_path}/out") == expected
    assert [path.name for path in Path(tmp_path).iterdir()] == ["out"]


def test_training_reads_what_was_prepared_there(records, tmp_path):
    prepared(records, URL, most_bad=1.0)
    prepared(records, tmp_path / "local", most_bad=1.0)
    streams = [
        ExampleStream(shards, ImageTransform(32), seed=0, flip=True)
        for shards in (open_shards(root, "all", layout="table", cache=tmp_path) for root in (URL, tmp_path / "local"))
    ]
    pairs = zip(*(load_batches(stream, start=0, batch_size=4, workers=0) for stream in streams), strict=True)
    for (one, other), _ in zip(pairs, range(5), strict=False):
        assert one.pixels.equal(other.pixels)
        assert one.captions == other.captions


@pytest.mark.parametrize("damage", ["gone", "longer"])
def test_a_finished_shard_that_is_gone_or_of_another_size_is_made_again(records, expected, monkeypatch, damage):
    fail_after(monkeypatch, records, 2)
    shard, fetched = "/prepared/out/all/00001.arrow", []
    if damage == "gone":
        FILES.rm_file(shard)
    else:
        FILES.pipe_file(shard, FILES.cat_file(shard) + b"more")
    real = MemoryFileSystem.get_file
    monkeypatch.setattr(MemoryFileSystem, "get_file", lambda self, *a, **k: (fetched.append(a[0]), real(self, *a, **k)))
    prepared(records, URL, most_bad=1.0)
    assert content(URL) == expected
    assert damage == "gone" or shard not in fetched  # its size alone says that it is another


def test_shards_that_the_source_no_longer_fills_are_removed(records, tmp_path, monkeypatch):
    fail_after(monkeypatch, records, 2)
    prepared(records[:4], URL)
    prepared(records[:4], tmp_path / "fresh")
    assert content(URL) == content(str(tmp_path / "fresh"))


def test_an_upload_that_is_cut_short_is_named_and_resumed(records, expected, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(
            MemoryFileSystem, "put_file", lambda self, here, there: self.pipe_file(there, Path(here).read_bytes()[:5])
        )
        with pytest.raises(
            ConnectionError, match=r"out/preparing\.jsonl cannot be written: 5 of its \d+ bytes are there"
        ):
            prepared(records, URL, most_bad=1.0)
    prepared(records, URL, most_bad=1.0)
    assert content(URL) == expected


@pytest.mark.parametrize("other_is_faster", [False, True])
def test_storage_that_cannot_write_only_what_is_new(records, expected, monkeypatch, other_is_faster):
    """Storage without exclusive writes: the lock is overwritten, then read back."""
    real = MemoryFileSystem.pipe_file

    def pipe_file(self, path, value, **settings):
        if settings:
            raise NotImplementedError
        real(self, path, value)
        if other_is_faster and path.endswith(".lock"):
            real(self, path, json.dumps({"process": 1, "host": "another"}).encode())

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)
    if other_is_faster:
        with pytest.raises(FileExistsError, match="is being prepared by process 1 on another; wait for it"):
            prepared(records, URL, most_bad=1.0)
        assert FILES.find("/prepared") == ["/prepared/out/.lock"]
    else:
        prepared(records, URL, most_bad=1.0)
        assert content(URL) == expected


@pytest.mark.parametrize("held", [b"", b'{"host":', b"[]"])
def test_a_lock_that_cannot_be_read_is_somebodys(records, held):
    FILES.pipe_file("/prepared/out/.lock", held)
    with pytest.raises(FileExistsError, match=r"is being prepared by process \? on \?; wait for it, or remove"):
        prepared(records, URL)
    assert FILES.cat_file("/prepared/out/.lock") == held


def test_a_process_of_another_user_may_still_hold_the_lock(records, monkeypatch):
    def kill(*_):
        raise PermissionError

    lock(process=12345)
    monkeypatch.setattr(os, "kill", kill)
    with pytest.raises(FileExistsError, match="is being prepared by process 12345 on"):
        prepared(records, URL)
