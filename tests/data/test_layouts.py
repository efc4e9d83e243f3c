"""The same Scenes in the layouts of COCO, Localized Narratives and Open Images, read directly and from shards."""

import json
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from preparing import prepared
from xmcgan.data.images import ImageTransform
from xmcgan.data.layouts import read_entries, read_records
from xmcgan.data.prepared.prepare import prepare
from xmcgan.data.records import Crop, Record, without_duplicates
from xmcgan.data.stream import ExampleBatch, ExampleStream, load_batches
from xmcgan.scenes import write_scenes

COUNTS = {"train": 24, "val": 8, "evaluator": 4}  # of the fixture `scenes`
# By the name of `xmcgan data`: (layout, split).
SETS = {
    "scenes": ("coco", "train2014"),
    "scenes-narratives": ("localized-narratives", "train2014"),
    "scenes-open-images": ("localized-narratives", "train"),
}


@pytest.fixture(scope="module")
def folders(scenes, tmp_path_factory) -> dict[tuple[str, str], Path]:
    """(name, "direct" or "shards") to where it is."""
    root = tmp_path_factory.mktemp("layouts")
    direct = dict.fromkeys(SETS, scenes)
    direct["scenes-open-images"] = root / "open-images"
    write_scenes(root / "open-images", layout="open-images", size=64, **COUNTS, workers=1, progress=False)
    found = {}
    for name, (layout, split) in SETS.items():
        found[name, "direct"] = direct[name]
        found[name, "shards"] = root / name
        prepare(
            direct[name],
            root / name,
            name=name,
            layout=layout,
            splits=[split],
            entries=partial(read_entries, direct[name], layout, annotations=True),
            size=64,
            shard_records=7,
            workers=1,
            progress=False,
        )
    return found


def records_of(folders, name: str, source: str) -> list[Record]:
    return list(read_records(folders[name, source], *SETS[name], annotations=True))


def batches_of(records: list[Record], *, workers: int = 0) -> list[ExampleBatch]:
    stream = ExampleStream(records, ImageTransform(32), seed=3, flip=True, traces=True)
    return list(islice(load_batches(stream, start=0, batch_size=5, workers=workers), 11))


@pytest.mark.parametrize("source", ["direct", "shards"])
def test_pixels_are_the_same_in_all_three(folders, source):
    one, *others = (batches_of(records_of(folders, name, source)) for name in SETS)
    for other in others:
        for a, b in zip(one, other, strict=True):
            assert a.numbers == b.numbers
            assert torch.equal(a.pixels, b.pixels)


@pytest.mark.parametrize(("source", "workers"), [("direct", 0), ("shards", 0), ("shards", 2)])
def test_narratives_and_traces_are_the_same_on_either_images(folders, source, workers):
    one = batches_of(records_of(folders, "scenes-narratives", "direct"))
    other = batches_of(records_of(folders, "scenes-open-images", source), workers=workers)
    pointed = 0
    for a, b in zip(one, other, strict=True):
        assert a.captions == b.captions
        assert torch.equal(a.pixels, b.pixels)
        for here, there in zip(a.traces, b.traces, strict=True):
            # Bit by bit: also of points at the very end of an utterance, which float32 could move across it.
            assert np.array_equal(here.spans_U2, there.spans_U2)
            assert np.array_equal(here.maps_UR, there.maps_UR)
            pointed += len(here.spans_U2)
    assert pointed > 500


@pytest.mark.parametrize("source", ["direct", "shards"])
def test_boxes_are_the_same_to_six_decimals(folders, source):
    one = records_of(folders, "scenes", "direct")
    assert sum(len(record.boxes) for record in one) > 30
    for name in SETS:
        other = records_of(folders, name, source)
        assert len(other) == len(one) == COUNTS["train"]
        for a, b in zip(one, other, strict=True):
            assert [box.category for box in a.boxes] == [box.category for box in b.boxes]
            for box, expected in zip(b.boxes, a.boxes, strict=True):
                assert box[1:] == pytest.approx(expected[1:], abs=2e-6)


def test_captions_of_coco_are_the_same_from_shards(folders):
    for a, b in zip(
        *(batches_of(records_of(folders, "scenes", source)) for source in ("direct", "shards")), strict=True
    ):
        assert a.captions == b.captions
        assert a.traces == b.traces == [None] * 5


def test_every_split_of_open_images_is_read(folders):
    root = folders["scenes-open-images", "direct"]
    for split, count in (("train", 24), ("validation", 8), ("test", 4)):
        records = read_records(root, "localized-narratives", split, annotations=True)
        assert len(records) == count
        assert all(record.boxes and record.narrative for record in records)
    assert json.loads((root / "scenes.json").read_text())["counts"] == COUNTS


def test_where_no_entry_is_good_the_first_problem_is_named(tmp_path):
    """Also in training, which ends at the first problem."""
    (tmp_path / "train.jsonl").write_text('{"path": "a.jpg", "caption": "a car"}\n' * 2)
    said = r"has no image with a caption; the first problem is .*train\.jsonl, line 1: the image's path is 'a\.jpg'"
    for read in (read_records, lambda *where: list(read_entries(*where))):
        with pytest.raises(ValueError, match=said):
            read(tmp_path, "table", "train")


def test_an_error_without_an_earlier_problem_names_none(tmp_path):
    (tmp_path / "train.csv").write_text("path,caption\n")
    with pytest.raises(ValueError, match=rf"^{tmp_path}/train\.csv has no image with a caption$"):
        list(read_entries(tmp_path, "table", "train"))


def test_training_names_the_first_bad_entry_and_counts_the_others(tmp_path):
    (tmp_path / "train.csv").write_text("path,caption\na.png,one\nb.png,two\nc.png,three\n")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    said = rf"^{tmp_path}/train\.csv, line 3: the image's path is 'b\.png'; it is not in .* \(1 more entries have"
    with pytest.raises(ValueError, match=said):
        read_records(tmp_path, "table", "train")


def test_a_second_record_of_an_id_says_where_its_image_is(tmp_path):
    record = Record(Crop(tmp_path / "b.png", 0, 0, 4, 4), ("a",), "7")
    first, second = without_duplicates([record._replace(image=tmp_path / "a.png"), record])
    assert first.image == tmp_path / "a.png"
    assert (
        str(second) == f"record 7: its id occurs twice in the set, again with {tmp_path}/b.png; the first one is kept"
    )


def test_prepared_data_have_no_dialect(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    prepared([Record(tmp_path / "a.png", ("a",), "a")], tmp_path / "out")
    with pytest.raises(ValueError, match=r"^the dialect is tab, but .*/out is prepared data, which is no table$"):
        read_records(tmp_path / "out", "table", "all", dialect="tab")


def test_a_table_to_train_from_is_read_by_the_dialect_that_is_named(tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    (tmp_path / "train.tsv").write_text('path\tcaption\na.jpg\t"one"\n')
    assert read_records(tmp_path, "table", "train")[0].captions == ("one",)
    assert read_records(tmp_path, "table", "train", dialect="tab-unquoted")[0].captions == ('"one"',)
    with pytest.raises(ValueError, match="the layout folder has no dialect"):
        read_records(tmp_path, "folder", "train", dialect="tab")


def test_an_unknown_layout_is_named(tmp_path):
    with pytest.raises(ValueError, match="the layout is 'cub'; it should be one of coco, localized-narratives, "):
        read_records(tmp_path, "cub", "train")


@pytest.mark.parametrize(
    ("files", "layout"),
    [
        (("train/a.jpg", "train/a.txt"), "folder"),
        (("b.PNG", "b.txt"), "folder"),
        (("train.tsv",), "table"),
        (("train-000.tar",), "webdataset"),
        (("train/a.jpg",), None),
    ],
)
def test_data_read_in_another_layout_says_what_it_looks_like(tmp_path, files, layout):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a red car")
    with pytest.raises(FileNotFoundError, match=r"captions_train2014\.json is missing") as error:
        read_records(tmp_path, "coco", "train2014")
    hint = f"It was read in the layout coco, but looks like {layout}"
    assert (hint in str(error.value)) == (layout is not None)
