"""Prepared data as WebDataset's tars."""

import json
import os
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from xmcgan.data.prepared import export
from xmcgan.data.prepared.export import export_webdataset
from xmcgan.data.prepared.prepare import prepare
from xmcgan.data.prepared.shards import open_shards
from xmcgan.data.readers.webdataset import read_webdataset
from xmcgan.data.records import Box, Narrative, Record, TracePoint, Utterance, strict

TOLD = Narrative(
    "A dog.", (Utterance("A dog.", 0.0, 0.5),), ((TracePoint(0.25, 0.5, 0.0), TracePoint(0.5, 1.25, 0.5)),)
)
BOXES = (Box("dog", 0.0, 0.25, 0.5, 0.75), Box("hot dog", 0.125, 0.0, 0.0, 1.0))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Seven records; and a split of two."""

    def entries(split: str) -> Iterator[Record]:
        for number in range(7 if split == "train" else 2):
            encoded = BytesIO()
            Image.new("RGB", (16, 16), (number, 0, 0)).save(encoded, "JPEG")
            captions, narrative = (f"caption {number}", "ein Café"), TOLD if number == 1 else None
            yield Record(encoded.getvalue(), captions, f"id {number}", BOXES[: number % 3], narrative)

    root = tmp_path_factory.mktemp("prepared")
    prepare(
        Path("somewhere"),
        root,
        name="seven",
        layout="table",
        splits=["train", "val"],
        entries=entries,
        size=16,
        shard_records=3,
        workers=1,
        progress=False,
    )
    return root


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # ty: ignore[unresolved-attribute]


def test_every_record_is_three_members(made, tmp_path):
    paths = export_webdataset(made, "train", tmp_path, shard_records=5)
    assert paths == [tmp_path / "train-00000.tar", tmp_path / "train-00001.tar"]
    assert sorted(tmp_path.iterdir()) == paths
    first, second = map(members, paths)
    assert list(first)[:4] == ["000000000.jpg", "000000000.txt", "000000000.json", "000000001.jpg"]
    assert len(first) == 15
    assert list(second) == [f"00000000{number}.{ending}" for number in (5, 6) for ending in ("jpg", "txt", "json")]
    for number, record in enumerate(open_shards(made, "train", layout="table")):
        assert {**first, **second}[f"{number:09d}.jpg"] == record.image
    assert first["000000001.txt"].decode() == "caption 1\nein Café"
    assert json.loads(first["000000001.json"]) == {
        "id": "id 1",
        "captions": ["caption 1", "ein Café"],
        "boxes": [["dog", 0.0, 0.25, 0.5, 0.75]],
        "narrative": {
            "caption": "A dog.",
            "utterances": [["A dog.", 0.0, 0.5]],
            "strokes": [[[0.25, 0.5, 0.0], [0.5, 1.25, 0.5]]],
        },
    }
    assert json.loads(first["000000002.json"])["narrative"] is None


def test_the_same_bytes_every_time(made, tmp_path):
    one, other = (export_webdataset(made, "train", tmp_path / name, shard_records=3) for name in ("one", "other"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_several_splits_in_one_folder_and_nothing_overwritten(made, tmp_path):
    export_webdataset(made, "train", tmp_path)
    export_webdataset(made, "val", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train-00000.tar", "val-00000.tar"]
    with pytest.raises(FileExistsError, match=r"train-00000\.tar exists"):
        export_webdataset(made, "train", tmp_path)


@pytest.mark.parametrize("calls", range(8))
def test_an_interrupted_export_never_looks_finished_and_can_be_done_again(made, tmp_path, monkeypatch, calls):
    def stop(self: Path, target: Path) -> None:
        if not left.pop():
            raise KeyboardInterrupt
        os.replace(self, target)  # noqa: PTH105

    whole = export_webdataset(made, "train", tmp_path / "whole", shard_records=1)
    left = [False, *[True] * calls]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        if calls == 7:
            patch.setattr(Path, "rmdir", lambda self: stop(self, self))
        with pytest.raises(KeyboardInterrupt):
            export_webdataset(made, "train", tmp_path / "out", shard_records=1)
    assert (tmp_path / "out/.train.partial").exists()
    again = export_webdataset(made, "train", tmp_path / "out", shard_records=2)
    assert sorted((tmp_path / "out").iterdir()) == again
    assert members(again[0])["000000000.jpg"] == members(whole[0])["000000000.jpg"]


def test_an_interruption_while_a_tar_is_written(made, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(export, "_described", lambda record: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            export_webdataset(made, "train", tmp_path)
    assert not list(tmp_path.glob("*.tar"))
    export_webdataset(made, "train", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train-00000.tar"]


def test_what_is_refused(made, tmp_path):
    with pytest.raises(ValueError, match="has no split 'test'; there is train, val"):
        export_webdataset(made, "test", tmp_path)
    with pytest.raises(ValueError, match="shard_records must be at least 1"):
        export_webdataset(made, "train", tmp_path, shard_records=0)
    assert not list(tmp_path.iterdir())


def test_our_own_reader_reads_them(made, tmp_path):
    export_webdataset(made, "train", tmp_path, shard_records=4)
    records = list(strict(read_webdataset(tmp_path, "train", annotations=True)))
    prepared = open_shards(made, "train", layout="table")
    assert [(each.captions, each.boxes, each.narrative) for each in records] == [
        (each.captions, each.boxes, each.narrative) for each in prepared
    ]
