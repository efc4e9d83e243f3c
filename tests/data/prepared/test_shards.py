"""Reading prepared data: the records as they were, wherever they lie, and every kind of damage named."""

import errno
import io
import json
import multiprocessing
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from batches import assert_same_batches
from faults import CODES, faulty_writes
from xmcgan.data.images import ImageTransform, open_image
from xmcgan.data.layouts import read_records
from xmcgan.data.prepared import shard_file, shards
from xmcgan.data.prepared.manifest import is_prepared, read_manifest
from xmcgan.data.prepared.prepare import prepare
from xmcgan.data.prepared.shard_file import Shard, map_file
from xmcgan.data.prepared.shards import ShardedRecords, open_shards
from xmcgan.data.prepared.verify import verify
from xmcgan.data.readers.coco import read_coco
from xmcgan.data.records import Box, Narrative, Record, TracePoint, Utterance, strict
from xmcgan.data.stream import ExampleStream, load_batches
from xmcgan.runtime.files import WriteFailed


def jpeg(shade: int, size: int = 16) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (size, size), (shade, 0, 255 - shade)).save(encoded, "JPEG")
    return encoded.getvalue()


# Numbers that float32 has exactly.
TOLD = Narrative(
    "A dog. A café\u2028on the left.",
    (Utterance("A dog.", 0.0, 0.5), Utterance("A café\u2028on the left.", 0.75, 2.25)),
    ((TracePoint(0.25, 0.5, 0.0), TracePoint(-0.125, 1.25, 0.5)), (), (TracePoint(0.0, 1.0, 2.0),)),
)
RECORDS = [
    Record(
        jpeg(20 * number),
        tuple(f"caption {k} of {number}, ü" for k in range(1 + number % 3)),
        f"id {number}",
        (Box("dog", 0.0, 0.25, 0.5, 0.75), Box("hot dog", 0.125, 0.0, 0.0, 1.0))[: number % 3],
        TOLD if number % 2 else None,
    )
    for number in range(10)
]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Ten records in three shards; and a split of two."""
    root = tmp_path_factory.mktemp("made") / "prepared"
    entries = {"train": RECORDS, "val": RECORDS[:2]}
    prepare(
        Path("somewhere"),
        root,
        name="ten",
        layout="table",
        splits=list(entries),
        entries=lambda split: iter(entries[split]),
        size=16,
        shard_records=4,
        workers=1,
        progress=False,
    )
    return root


@pytest.fixture
def copy(made, tmp_path) -> Path:
    """The same, to be damaged."""
    return shutil.copytree(made, tmp_path / "prepared")


def opened(root: str | Path, split: str = "train", **where: Path) -> ShardedRecords:
    return open_shards(root, split, layout="table", **where)


# ------------------------------------------------------------------------------------------------ the records


def test_records_round_trip(made):
    records = opened(made)
    assert len(records) == 10
    assert list(records) == RECORDS
    assert list(opened(made, "val")) == RECORDS[:2]


def test_sharded_records_are_a_sequence(made):
    records = opened(made)
    assert records[-1] == RECORDS[-1]
    assert records[torch.tensor(5)] == RECORDS[5]  # ty: ignore[invalid-argument-type]
    assert records[2:9:3] == RECORDS[2:9:3]
    assert list(reversed(records)) == RECORDS[::-1]
    for index in (10, -11):
        with pytest.raises(IndexError):
            records[index]
    with pytest.raises(TypeError):
        records["id 1"]  # ty: ignore[invalid-argument-type]


def test_pickling_leaves_out_open_shards(made):
    records = opened(made)
    assert records[7] == RECORDS[7]
    pickled = pickle.dumps(records)
    assert len(pickled) < 5000
    assert list(pickle.loads(pickled)) == RECORDS


@pytest.mark.parametrize(
    ("method", "workers"),
    [("fork", 2), pytest.param("spawn", 1, marks=pytest.mark.slow)],  # a spawned one imports torch anew
)
def test_workers_read_them(made, method, workers):
    records = opened(made)
    assert records[0] == RECORDS[0]  # a shard is open when the workers start
    loader = torch.utils.data.DataLoader(
        records,  # ty: ignore[invalid-argument-type]
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=method,
        collate_fn=tuple,  # as they are: torch would make lists of tuples
    )
    assert list(loader) == RECORDS


def test_records_survive_releasing_pages(made, monkeypatch):
    monkeypatch.setattr(shards, "_RECORDS_HELD", 3)
    records = opened(made)
    for _ in range(3):
        assert list(records) == RECORDS


def test_more_shards_than_may_be_mapped_at_once(made, monkeypatch):
    monkeypatch.setattr(shards, "_MAPPED", 2)
    records = opened(made)
    for _ in range(2):
        assert list(records) == RECORDS
        assert list(records._mapped) == [1, 2]  # the least recently used one is closed
    assert records[5] == RECORDS[5]
    assert records[0] == RECORDS[0]
    assert list(records._mapped) == [1, 0]


def test_arrow_opens_the_files(made):
    with pa.memory_map(str(made / "train/00001.arrow")) as file, pa.ipc.open_stream(file) as reader:
        table = reader.read_all()
    assert table.schema.names == ["id", "image", "captions", "boxes", "narrative", "source"]
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == ["id 4", "id 5", "id 6", "id 7"]
    assert rows[1]["boxes"][0] == {"category": "dog", "left": 0.0, "top": 0.25, "width": 0.5, "height": 0.75}
    assert rows[0]["narrative"] is None
    assert rows[1]["narrative"]["strokes"][0][1] == {"x": -0.125, "y": 1.25, "t": 0.5}
    assert Image.open(io.BytesIO(rows[0]["image"])).size == (16, 16)


# ----------------------------------------------------------------------------------- where they lie, and where not


def test_the_contents_of_a_prepared_folder(made, tmp_path):
    assert is_prepared(made)
    assert is_prepared(str(made))
    assert not is_prepared(tmp_path)
    assert not is_prepared(tmp_path / "nowhere")
    assert not is_prepared(made / "manifest.json")
    (tmp_path / "manifest.json").write_text('{"library": "of another"}')
    assert not is_prepared(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "is empty"), (bytes(700), "is empty"), (b'{\n "libr', "is not JSON")]
)
def test_a_manifest_of_no_bytes_is_named(copy, content, said):
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"manifest\.json is damaged: it {said}"):
        read_records(copy, "coco", "train")


def test_unfinished_preparation_is_refused(copy):
    (copy / "manifest.json").rename(copy / "preparing.jsonl")
    with pytest.raises(ValueError, match=r"is unfinished.*the same command"):
        is_prepared(copy)


def test_another_layout(made):
    with pytest.raises(ValueError, match="was prepared from the layout 'table', not from 'coco'"):
        open_shards(made, "train", layout="coco")


def test_an_unknown_split(made):
    with pytest.raises(ValueError, match=r"has no split 'train2014'; there is train, val"):
        opened(made, "train2014")


def test_no_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        opened(tmp_path)


def test_urls(made, tmp_path):
    url = f"file://{made}"
    assert is_prepared(url)
    assert not is_prepared(f"file://{tmp_path}")
    records = opened(url, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    assert records[5] == RECORDS[5]
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 1  # the touched one alone
    assert list(records) == RECORDS
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 3
    assert not list((tmp_path / "cache").glob("*.partial"))
    assert not list(verify(url, "train", cache=tmp_path / "cache"))


def test_hugging_face_datasets_opens_a_shard(made, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    rows = datasets.Dataset.from_file(str(made / "train/00000.arrow"))
    assert [(row["id"], tuple(row["captions"]), row["image"]) for row in rows] == [
        (record.id, record.captions, record.image) for record in RECORDS[:4]
    ]


def test_memory_url(made, tmp_path):
    import fsspec

    fsspec.filesystem("memory").put(str(made), "/shards-test/prepared", recursive=True)
    assert list(opened("memory://shards-test/prepared", cache=tmp_path)) == RECORDS


def test_a_url_needs_its_shards_only_once(copy, tmp_path):
    cache = tmp_path / "cache"
    assert list(opened(f"file://{copy}", cache=cache)) == RECORDS
    shutil.rmtree(copy / "train")
    assert list(opened(f"file://{copy}", cache=cache)) == RECORDS


def test_the_default_cache(made, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert opened(f"file://{made}")[0] == RECORDS[0]
    assert list(tmp_path.glob("xmcgan/*.arrow"))


def test_unsupported_url():
    with pytest.raises(ValueError, match=r"nothing://here/manifest\.json cannot be opened: .*nothing"):
        is_prepared("nothing://here")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_shard_is_not_fetched(copy, tmp_path, damage):
    shard, cache = copy / "train/00001.arrow", tmp_path / "cache"
    break_shard(shard, damage)
    records = opened(f"file://{copy}", cache=cache)
    assert records[0] == RECORDS[0]
    with pytest.raises((ValueError, FileNotFoundError), match=r"00001\.arrow"):
        records[4]
    assert len(list(cache.glob("*.arrow"))) == 1


@pytest.mark.parametrize("code", CODES)
def test_a_cache_that_cannot_be_written_is_named_and_holds_no_half_shard(made, tmp_path, code):
    cache = tmp_path / "cache"
    with faulty_writes(1, code) as faults, pytest.raises(WriteFailed) as caught:
        opened(f"file://{made}", cache=cache)[0]
    assert Path(faults.failed).parent == cache
    assert str(caught.value).startswith(f"{faults.failed} could not be written: {os.strerror(code)}")
    assert not [*cache.glob("*.arrow"), *cache.glob("*.partial")]
    assert opened(f"file://{made}", cache=cache)[0] == RECORDS[0]


def test_a_disk_that_fills_while_a_shard_is_fetched_is_no_fault_of_the_storage(made, tmp_path, monkeypatch):
    from fsspec.implementations.local import LocalFileSystem

    def full(_self, _remote, _path, **_settings) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    records = opened(f"file://{made}", cache=tmp_path / "cache")
    monkeypatch.setattr(LocalFileSystem, "get_file", full)
    with pytest.raises(WriteFailed, match=rf"^{tmp_path / 'cache'}/\w+\.arrow could not be written: No space left"):
        records[0]
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteFailed, match=rf"^{tmp_path / 'file'}.* could not be written"):
        opened(f"file://{made}", cache=tmp_path / "file")[0]


class Server(NamedTuple):
    """A process that serves a folder on this machine, and the log of what it was asked for."""

    url: str
    log: Path
    stop: Callable[[], None]

    def asked(self) -> list[str]:
        """The paths of the GET requests, in order."""
        return re.findall(r'"GET (\S+)', self.log.read_text())


@pytest.fixture
def server(made, tmp_path):
    # A process and not a thread: one that holds a lock while workers are forked would leave them waiting for ever.
    log, command = tmp_path / "server.log", [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*command, "--directory", str(made)], stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        port = re.search(r"port (\d+)", process.stdout.readline())
        assert port is not None

        def stop() -> None:
            process.terminate()
            process.wait()

        yield Server(f"http://127.0.0.1:{port[1]}", log, stop)
        stop()


@pytest.mark.parametrize("workers", [0, 2])
def test_http_and_concurrent_workers(made, server, tmp_path, workers):
    pytest.importorskip("aiohttp", reason="fsspec reads http:// with it")
    assert is_prepared(server.url)
    stream = ExampleStream(opened(server.url, cache=tmp_path / "cache"), ImageTransform(16), seed=0, flip=True)
    local = ExampleStream(opened(made), ImageTransform(16), seed=0, flip=True)
    assert_same_batches(stream, local, workers=workers, count=20)
    asked = [path for path in server.asked() if path.endswith(".arrow")]
    assert sorted(asked) == [f"/train/{number:05d}.arrow" for number in range(3)]  # each once, whoever came first


@pytest.mark.parametrize("workers", [0, 1])
def test_unreachable_server(made, server, tmp_path, workers):
    pytest.importorskip("aiohttp", reason="fsspec reads http:// with it")
    stream = ExampleStream(opened(server.url, cache=tmp_path / "cache"), ImageTransform(16), seed=0, flip=True)
    server.stop()
    with pytest.raises(ConnectionError, match=r"^http://127\.0\.0\.1:\d+/train/0000\d\.arrow cannot be read: "):
        list(islice(load_batches(stream, start=0, batch_size=2, workers=workers), 1))
    with pytest.raises(ConnectionError, match=r"manifest\.json cannot be read: "):
        is_prepared(server.url)
    assert not list((tmp_path / "cache").glob("*.arrow"))


# ------------------------------------------------------------------------------------------------------ damage


def break_shard(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
        return
    if damage == "truncated":
        content = content[: len(content) // 2]
    else:
        position = content.index(b"\xff\xd8\xff") + 300  # within an image: no structure tells
        content[position] ^= 0xFF
    path.write_bytes(content)


def test_a_missing_shard(copy):
    break_shard(copy / "train/00002.arrow", "missing")
    with pytest.raises(FileNotFoundError, match=r"00002\.arrow is missing: .* of 2 records"):
        opened(copy)
    assert list(opened(copy, "val")) == RECORDS[:2]


def test_a_truncated_shard(copy):
    break_shard(copy / "train/00001.arrow", "truncated")
    with pytest.raises(ValueError, match=r"00001\.arrow is damaged: it has \d+ bytes; the manifest says \d+"):
        opened(copy)


def test_a_shard_that_is_damaged_later(copy):
    records = opened(copy)
    break_shard(copy / "train/00001.arrow", "truncated")
    assert records[0] == RECORDS[0]
    with pytest.raises(ValueError, match=r"00001\.arrow is damaged"):
        records[4]


def test_flipped_bits_are_found_by_verify(copy):
    assert not list(verify(copy, "train"))
    for number in (0, 2):
        break_shard(copy / f"train/{number:05d}.arrow", "flipped")
    assert [(Path(each.shard).name, each.reason[:11]) for each in verify(copy, "train")] == [
        ("00000.arrow", "its SHA-256"),
        ("00002.arrow", "its SHA-256"),
    ]


def test_zeroed_bytes_in_a_shard_name_the_record(copy):
    path = copy / "train/00001.arrow"
    content = bytearray(path.read_bytes())
    start = content.index(RECORDS[5].image)
    content[start : start + 300] = bytes(300)
    path.write_bytes(content)
    (damage,) = verify(copy, "train")
    assert damage.shard == f"{copy}/train/00001.arrow"
    assert damage.reason == "its SHA-256 differs from the manifest's"
    (lost,) = damage.records
    assert lost.startswith("record 1 the image of record id 5 cannot be read as an image")
    said = f"{copy}/train/00001.arrow: the image of record id 5 cannot be read as an image: .*`xmcgan data verify`"
    stream = ExampleStream(opened(copy), ImageTransform(16), seed=0, flip=False)
    with pytest.raises(ValueError, match=f"^{said}"):
        list(map(stream.__getitem__, range(len(RECORDS))))
    record = next(record for record in opened(copy) if record.id == "id 5")
    for other in (record, pickle.loads(pickle.dumps(record))):  # whoever reads it: evaluation, statistics, pages
        with pytest.raises(ValueError, match=f"^{said}"):
            open_image(other)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"no image", "record 1 the image of record id 1 cannot be read as an image: Pillow does not know its format"),
        (jpeg(0, 8), "record 1 the image has 8 x 8 pixels"),
    ],
)
def test_images_that_were_damaged_before_they_were_written_are_found_by_decoding(copy, image, said):
    path = copy / "val/00000.arrow"
    shard_file.write_shard(path, [(RECORDS[0], RECORDS[0].image), (RECORDS[1], image)])
    manifest = json.loads((copy / "manifest.json").read_text())
    (shard,) = manifest["splits"]["val"]["shards"]
    shard |= {"sha256": sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert not list(verify(copy, "val"))
    (damage,) = verify(copy, "val", decode=True)
    assert damage == (
        f"{copy}/val/00000.arrow", "its SHA-256 is the manifest's, but not all of its images can be decoded", (said,)
    )  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), [("truncated", "it has"), ("missing", "is missing")])
def test_shards_that_are_short_or_missing_are_found_by_verify(copy, damage, said):
    break_shard(copy / "train/00001.arrow", damage)
    (found,) = verify(copy, "train")
    assert found.shard.endswith("train/00001.arrow")
    assert said in found.reason


def test_swapped_shards(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    one, _, other = manifest["splits"]["train"]["shards"]
    one["file"], other["file"] = other["file"], one["file"]
    one["bytes"], other["bytes"] = other["bytes"], one["bytes"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"00002\.arrow is damaged: it holds 2 records; the manifest says 4"):
        opened(copy)[0]


def test_a_shard_with_something_between_its_batches(tmp_path):
    path = tmp_path / "0.arrow"
    shard_file.write_shard(path, [(RECORDS[1], jpeg(0))])
    content = path.read_bytes().removesuffix(b"\xff\xff\xff\xff" + bytes(4))  # the end of the stream
    path.write_bytes(content + shard_file.SCHEMA.serialize().to_pybytes())
    with pytest.raises(
        ValueError, match=rf"^{path} is damaged: it holds a schema at byte {len(content)}; it should be"
    ):
        Shard(path, 1)
    with pytest.raises(FileNotFoundError, match=r"gone\.arrow"):  # which is not damage
        Shard(tmp_path / "gone.arrow", 1)


@pytest.mark.parametrize(("kind", "found"), [(0, "unknown"), (3, "record batch"), (161, "unknown")])
def test_a_schema_that_is_marked_as_another_message(copy, kind, found):
    # Arrow reads it all the same, and crashes if more of it is damaged: here the type of a column.
    path = copy / "train/00001.arrow"
    content = bytearray(path.read_bytes())
    assert content[29] == 1  # a schema
    content[29] = kind
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"00001\.arrow is damaged: it holds a {found} at byte 0; it should be a schema"
    ):
        list(opened(copy))


@pytest.mark.parametrize("field", ["id", "captions", "boxes"])
def test_forbidden_null(tmp_path, field):
    row = shard_file._row(RECORDS[1], b"")
    row[field] = {"id": None, "captions": ["a", None], "boxes": [{**row["boxes"][0], "left": None}]}[field]
    path = tmp_path / "0.arrow"
    with path.open("wb") as file, pa.ipc.new_stream(file, shard_file.SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist([row], schema=shard_file.SCHEMA))
    with pytest.raises(ValueError, match="is null where it must not be"):
        Shard(path, 1).record(map_file(path), 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m[:200], "is not JSON"),
        (lambda m: "", "is not JSON"),
        (lambda m: "[" * 100_000, "is not JSON"),
        (lambda m: "[]", "are missing or of a wrong type"),
        (lambda m: m.replace('"xmcgan"', '"other"', 1), "is of other, version 1; this reads xmcgan, version 1"),
        (lambda m: m.replace('"version": 1', '"version": 2'), "is of xmcgan, version 2; this reads xmcgan, version 1"),
        (lambda m: m.replace('"records": 10', '"records": 11'), "train has 11 records, its shards another number"),
        (lambda m: m.replace("00000.arrow", "../../secret"), r"splits\.train has no records, or shards"),
        (lambda m: m.replace('"sha256"', '"md5"'), r"splits\.train has no records, or shards"),
        (lambda m: m.replace('"layout": "table"', '"layout": 3'), "are missing or of a wrong type"),
    ],
)
def test_a_damaged_manifest(copy, change, said):
    path = copy / "manifest.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=said):
        read_manifest(copy)


def read_all(root: Path) -> None:
    """All that reading does: what is wrong has to be a ValueError or an OSError. (Bad pixels may pass: see verify.)"""
    try:
        is_prepared(root)
        for record in opened(root):
            assert isinstance(record.id, str)
            assert all(isinstance(caption, str) for caption in record.captions)
            assert all(isinstance(box.category, str) and isinstance(box.left, float) for box in record.boxes)
            open_image(record)
    except (ValueError, OSError):
        pass


damages = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(["byte", "bit", "zeros", "ones", "cut", "more"])),
    min_size=1,
    max_size=4,
)


def damaged(content: bytes, damage: list[tuple[float, str]]) -> bytes:
    changed = bytearray(content)
    for place, kind in damage:
        position = int(place * len(changed))
        digit = int(place * 1e9)
        if not changed:
            break
        match kind:
            case "byte":
                changed[position] = digit % 256
            case "bit":
                changed[position] ^= 1 << digit % 8
            case "zeros" | "ones":
                changed[position : position + 8] = (b"\0" if kind == "zeros" else b"\xff") * 8
            case "cut":
                del changed[position:]
            case "more":
                changed[position:position] = bytes([digit % 256] * 8)
    return bytes(changed)


ONE_FOLDER = [HealthCheck.function_scoped_fixture]


@settings(max_examples=200, deadline=None, suppress_health_check=ONE_FOLDER)
@given(damages)
def test_damaged_shard_raises_and_does_not_crash(made, copy, damage):
    path = copy / "train/00001.arrow"
    path.write_bytes(damaged((made / "train/00001.arrow").read_bytes(), damage))
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["splits"]["train"]["shards"][1]["bytes"] = path.stat().st_size  # or the size would tell at once
    (copy / "manifest.json").write_text(json.dumps(manifest))
    read_all(copy)


@settings(max_examples=200, deadline=None, suppress_health_check=ONE_FOLDER)
@given(damages)
def test_damaged_manifest_raises_and_does_not_crash(made, copy, damage):
    (copy / "manifest.json").write_bytes(damaged((made / "manifest.json").read_bytes(), damage))
    read_all(copy)


# ------------------------------------------------------------------------- the same batches, whatever happens


@pytest.fixture(scope="module")
def prepared_scenes(scenes, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scenes") / "prepared"
    prepare(
        scenes,
        root,
        name="scenes",
        layout="coco",
        splits=["train2014"],
        entries=partial(read_coco, scenes),
        size=64,
        shard_records=7,
        workers=1,
        progress=False,
    )
    return root


def batches_of(records, count, *, start=0, workers=0, batch_size=5):
    stream = ExampleStream(records, ImageTransform(32), seed=3, flip=True, resize=True)
    return list(islice(load_batches(stream, start=start, batch_size=batch_size, workers=workers), count))


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_give_the_batches_of_the_raw_folder(scenes, prepared_scenes, workers):
    raw = batches_of(list(strict(read_coco(scenes, "train2014"))), 12)
    prepared = batches_of(open_shards(prepared_scenes, "train2014", layout="coco"), 12, workers=workers)
    for one, other in zip(raw, prepared, strict=True):
        assert one.captions == other.captions
        assert one.numbers == other.numbers
        assert torch.equal(one.pixels, other.pixels)


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (ImageTransform(32), "was prepared with --size 64, but image_size is 32"),
        (ImageTransform(64, "crop"), "was prepared with --fit squash, but dataset.fit is crop"),
    ],
)
def test_data_prepared_otherwise_are_refused_unless_resizing_was_asked_for(prepared_scenes, transform, said):
    records = open_shards(prepared_scenes, "train2014", layout="coco")
    with pytest.raises(ValueError, match=f"{said}.*--dataset.resize true"):
        ExampleStream(records, transform, seed=0, flip=False)
    stream = ExampleStream(records, transform, seed=0, flip=False, resize=True)
    assert stream[0].pixels.shape == (3, transform.size, transform.size)


def report(root: Path, seen: Path, workers: int, count: int) -> None:
    """Reads on from where the file ends, and notes each example as it comes."""
    start = len(seen.read_text().splitlines()) if seen.exists() else 0
    records = open_shards(root, "train2014", layout="coco")
    stream = ExampleStream(records, ImageTransform(64), seed=3, flip=True)
    with seen.open("a") as file:
        for batch in load_batches(stream, start=start, batch_size=3, workers=workers):
            for pixels, caption, number in zip(batch.pixels, batch.captions, batch.numbers, strict=True):
                file.write(f"{number} {sha256(pixels.numpy().tobytes()).hexdigest()} {caption}\n")
                file.flush()
                if number + 1 == count:
                    return
                time.sleep(0.001)


@pytest.mark.slow
def test_killed_reading_resumes(prepared_scenes, tmp_path):
    count, dice = 700, random.Random(0)
    report(prepared_scenes, tmp_path / "expected", 0, count)
    context = multiprocessing.get_context("fork")  # joined by its id: its workers live on for some seconds
    seen, kills = tmp_path / "seen", 0
    while kills < 5:
        child = context.Process(target=report, args=(prepared_scenes, seen, dice.choice([1, 2, 3]), count))
        child.start()
        before = seen.stat().st_size if seen.exists() else 0
        while not seen.exists() or seen.stat().st_size == before:
            assert child.is_alive()
            time.sleep(0.005)
        time.sleep(dice.uniform(0, 0.05))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        kills += 1
        # What it had half written it did not report.
        lines = seen.read_text().splitlines(keepends=True)
        seen.write_text("".join(line for line in lines if line.endswith("\n")))
    reached = len(seen.read_text().splitlines())
    assert 10 < reached < count
    report(prepared_scenes, seen, 2, count)
    assert seen.read_text() == (tmp_path / "expected").read_text()


def test_url_without_prepared_data_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no prepared data"):
        read_records(tmp_path.as_uri(), "coco", "train2014")
