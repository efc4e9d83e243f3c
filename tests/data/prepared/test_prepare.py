"""Preparing a data set: what comes out, what is left out, and that it can be stopped at any moment."""

import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from preparing import die_at, fall_over, fall_over_once, prepare_scenes, prepared
from xmcgan.data.images import ImageTransform, open_image
from xmcgan.data.prepared import workers as module
from xmcgan.data.prepared.plan import usable_cores
from xmcgan.data.prepared.prepare import prepare
from xmcgan.data.prepared.shards import open_shards
from xmcgan.data.readers.coco import read_coco
from xmcgan.data.records import Problem, Record, Slice, strict, text_digest


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> list[Record]:
    """Pictures of several sizes, modes and formats, each smooth with some noise."""
    folder, dice = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    records = []
    for number in range(20):
        width, height = 40 + 3 * number, 70 - 2 * number
        pixels = np.linspace(0, 200, width * height * 3).reshape(height, width, 3) + dice.integers(0, 50, 3)
        image = Image.fromarray(pixels.astype(np.uint8)).convert("L" if number % 5 == 0 else "RGB")
        path = folder / f"{number}.{'png' if number % 3 == 0 else 'jpg'}"
        image.save(path)
        records.append(Record(path, (f"picture {number}", "another"), f"n{number}"))
    return records


def content(folder: Path) -> dict[str, bytes | dict]:
    """All that is in a folder, but the time at which it was made."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    manifest = json.loads(files.pop("manifest.json"))
    del manifest["date"]
    return {**files, "manifest.json": manifest}


def ids(folder: Path, split: str = "all") -> list[str]:
    return [record.id for record in open_shards(folder, split, layout="table")]


# ----------------------------------------------------------------------------------------------- what comes out


def test_the_manifest_and_the_files(photographs, tmp_path):
    manifest = prepared(photographs, tmp_path / "out")
    assert json.loads((tmp_path / "out/manifest.json").read_text()) == manifest
    assert manifest["library"] == "xmcgan"
    assert (manifest["name"], manifest["layout"], manifest["source"]) == ("photographs", "table", "photographs")
    assert manifest["settings"] == {"size": 32, "fit": "squash", "quality": 92, "shard_records": 6}
    split = manifest["splits"]["all"]
    assert (split["records"], split["captions"], split["problems"]) == (20, 40, 0)
    assert [shard["records"] for shard in split["shards"]] == [6, 6, 6, 2]
    sizes = [(tmp_path / "out/all" / shard["file"]).stat().st_size for shard in split["shards"]]
    assert [shard["bytes"] for shard in split["shards"]] == sizes
    assert split["bytes"] == sum(sizes)
    assert sorted(content(tmp_path / "out")) == [
        *(f"all/{number:05d}.arrow" for number in range(4)),
        "manifest.json",
        "problems.jsonl",
    ]
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]  # nothing beside it


@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_images_are_resized_once(photographs, tmp_path, fit):
    prepared(photographs, tmp_path, fit=fit, quality=95)
    records = open_shards(tmp_path, "all", layout="table")
    assert [(record.id, record.captions) for record in records] == [(each.id, each.captions) for each in photographs]
    transform = ImageTransform(32, fit)
    for record, original in zip(records, photographs, strict=True):
        kept = open_image(record)
        assert kept.size == (32, 32)
        # What JPEG loses; measured up to 1.6.
        difference = np.abs(np.array(kept, int) - np.array(transform.square(open_image(original)), int)).mean()
        assert difference < 3


def test_an_image_of_the_right_size_is_kept_byte_for_byte(tmp_path):
    encoded = {}
    for name, mode, format, size in (
        ("as it is", "RGB", "JPEG", 32),
        ("grey", "L", "JPEG", 32),
        ("no jpeg", "RGB", "PNG", 32),
        ("large", "RGB", "JPEG", 33),
        ("turned", "RGB", "JPEG", 32),
    ):
        file, exif = io.BytesIO(), Image.Exif()
        if name == "turned":
            exif[ExifTags.Base.Orientation] = 6
        Image.new(mode, (size, size)).save(file, format, exif=exif)
        encoded[name] = file.getvalue()
    path = tmp_path / "several"
    path.write_bytes(b"before" + encoded["as it is"] + b"after")
    records = [Record(content, ("a",), name) for name, content in encoded.items()]
    records.append(Record(Slice(path, 6, len(encoded["as it is"])), ("a",), "slice"))
    prepared(records, tmp_path / "out")
    images = {record.id: record.image for record in open_shards(tmp_path / "out", "all", layout="table")}
    assert images["as it is"] == images["slice"] == encoded["as it is"]
    for name in ("grey", "no jpeg", "large", "turned"):
        assert images[name] != encoded[name]
        with Image.open(io.BytesIO(images[name])) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (32, 32))
            assert ExifTags.Base.Orientation not in image.getexif()


def test_scenes_with_their_annotations(scenes, tmp_path):
    splits = ["train2014", "val2014"]
    prepared([], tmp_path, layout="coco", splits=splits, entries=partial(read_coco, scenes, annotations=True), size=64)
    for split in splits:
        raw = list(strict(read_coco(scenes, split, annotations=True)))
        kept = open_shards(tmp_path, split, layout="coco")
        assert len(kept) == len(raw)
        for one, other in zip(kept, raw, strict=True):
            assert isinstance(other.image, Path)
            assert one.image == other.image.read_bytes()
            assert (one.id, one.captions) == (other.id, other.captions)
            for box, expected in zip(one.boxes, other.boxes, strict=True):
                assert box.category == expected.category
                assert box[1:] == pytest.approx(expected[1:], abs=1e-7)


def test_files_do_not_depend_on_workers(photographs, tmp_path):
    bad = [*photographs[:9], Problem("somewhere", "something"), *photographs[9:]]
    for workers in (1, 2, 3):
        prepared(bad, tmp_path / str(workers), workers=workers, most_bad=0.1)
    assert content(tmp_path / "1") == content(tmp_path / "2") == content(tmp_path / "3")


def test_memory_is_bounded(photographs, tmp_path):
    """Of a reader without end, no more is taken than the workers can be given."""
    taken = 0

    def entries(_split: str) -> Iterator[Record]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            written = len(list((tmp_path / "all").glob("*.arrow"))) * 6
            assert taken - written < 60
            yield photographs[1]._replace(id=str(number))
            if number == 200:
                raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        prepared([], tmp_path, entries=entries)


# ------------------------------------------------------------------------------------------------ what is left out


def with_bad(photographs: list[Record], tmp_path: Path) -> list[Record | Problem]:
    (tmp_path / "truncated.jpg").write_bytes(photographs[1].image.read_bytes()[:400])
    (tmp_path / "text.jpg").write_text("no image")
    return [
        Problem("annotations.json, line 1", "caption is empty"),
        *photographs[:5],
        Record(tmp_path / "truncated.jpg", ("a",), "cut"),
        Record(tmp_path / "missing.jpg", ("a",), "gone"),
        *photographs[5:],
        Record(tmp_path / "text.jpg", ("a",), "text"),
    ]


def test_bad_entries_are_counted_and_listed(photographs, tmp_path):
    manifest = prepared(with_bad(photographs, tmp_path), tmp_path / "out", most_bad=0.2)
    assert manifest["splits"]["all"]["problems"] == 4
    assert ids(tmp_path / "out") == [record.id for record in photographs]
    # A shard is a range of entries, not of records.
    assert [shard["records"] for shard in manifest["splits"]["all"]["shards"]] == [5, 4, 6, 5]
    problems = [json.loads(line) for line in (tmp_path / "out/problems.jsonl").read_text().splitlines()]
    assert [(each["split"], each["where"]) for each in problems] == [
        ("all", "annotations.json, line 1"),
        ("all", "record cut"),
        ("all", "record gone"),
        ("all", "record text"),
    ]
    assert problems[0]["reason"] == "caption is empty"
    for problem, name in zip(problems[1:], ("truncated.jpg", "missing.jpg", "text.jpg"), strict=True):
        assert name in problem["reason"]


def test_unused_files_are_listed_and_are_no_problems(photographs, tmp_path):
    readme = Problem("photographs/README.md", "is not read", detail=True, unused=True)
    manifest = prepared([*photographs, readme], tmp_path / "out", most_bad=0.0)
    split = manifest["splits"]["all"]
    assert (split["records"], split["problems"], split["unused"]) == (20, 0, 1)
    (line,) = (tmp_path / "out/problems.jsonl").read_text().splitlines()
    assert json.loads(line) == {"split": "all", **readme._asdict()}


def test_the_rule_of_a_split_is_in_the_manifest(photographs, tmp_path):
    manifest = prepared(photographs, tmp_path / "out", rules={"all": "the split all is what there is"})
    assert manifest["splits"]["all"]["rule"] == "the split all is what there is"


def test_the_manifest_knows_the_texts(photographs, tmp_path):
    manifest = prepared(photographs, tmp_path / "out")
    expected = text_digest((record.id, record.captions) for record in photographs)
    assert manifest["splits"]["all"]["texts_sha256"] == expected
    records = open_shards(tmp_path / "out", "all", layout="table")
    assert records.digest() == expected
    del records.manifest["splits"]["all"]["texts_sha256"]  # as of an older version
    assert records.digest() == expected


def test_too_many_bad_entries(photographs, tmp_path):
    entries = with_bad(photographs, tmp_path)
    with pytest.raises(ValueError, match="4 of 24 entries of all are bad") as error:
        prepared(entries, tmp_path / "out", most_bad=0.1)
    said = str(error.value)
    assert "16.67%, more than the 10.00% allowed" in said
    assert said.count("annotations.json, line 1: caption is empty; record cut: ") == 1
    assert "missing.jpg" in said
    assert "text.jpg" not in said  # the first three
    assert str(tmp_path / "out/problems.jsonl") in said
    assert len((tmp_path / "out/problems.jsonl").read_text().splitlines()) == 4
    # The same command with the limit it names goes on.
    most_bad = float(said.rsplit("--max-bad-share ")[-1].partition(";")[0])
    assert prepared(entries, tmp_path / "out", most_bad=most_bad)["splits"]["all"]["records"] == 20


def test_preparation_stops_early_when_too_many_entries_are_bad(photographs, tmp_path):
    def entries(_split: str) -> Iterator[Record | Problem]:
        for number in range(5000):
            assert number < 1100
            yield Problem(f"entry {number}", "bad") if number % 50 == 0 else photographs[1]._replace(id=str(number))

    with pytest.raises(ValueError, match="20 of 1000 entries of all are bad"):
        prepared([], tmp_path, entries=entries, shard_records=700)
    assert len((tmp_path / "problems.jsonl").read_text().splitlines()) == 21


def test_split_without_usable_records_is_refused(photographs, tmp_path):
    with pytest.raises(ValueError, match="the split all has no usable record"):
        prepared([], tmp_path / "none")
    with pytest.raises(ValueError, match="the split all has no usable record"):
        prepared([Problem("a", "b")], tmp_path / "bad", most_bad=1.0)


def test_reader_error_leaves_a_reusable_folder(photographs, tmp_path):
    def entries(split: str) -> Iterator[Record]:
        raise FileNotFoundError(f"{split} is missing")
        yield

    with pytest.raises(FileNotFoundError, match="typo is missing"):
        prepared([], tmp_path / "out", splits=["typo"], entries=entries)
    prepared(photographs, tmp_path / "out")
    prepared(photographs, tmp_path / "fresh")
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


# ----------------------------------------------------------------------------------------------- what is there already


def test_finished_output_is_kept(photographs, tmp_path):
    manifest = prepared(photographs, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}

    def never(_split: str) -> Iterator[Record]:
        raise AssertionError("it was read again")
        yield

    assert prepared([], tmp_path / "out", entries=never, workers=2) == manifest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"size": 16}, "size was 32 and is 16"),
        ({"fit": "crop"}, "fit was 'squash' and is 'crop'"),
        ({"quality": 80, "shard_records": 5}, "quality was 92 and is 80; shard_records was 6 and is 5"),
        ({"layout": "coco"}, "layout was 'table' and is 'coco'"),
        ({"splits": ["all", "more"]}, r"splits was \['all'\] and is \['all', 'more'\]"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_are_refused(photographs, tmp_path, setting, said, finished):
    if finished:
        prepared(photographs, tmp_path)
    else:
        interrupted(photographs, tmp_path, 10)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=said):
        prepared(photographs, tmp_path, **setting)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_other_content_is_refused(photographs, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"holds thesis\.tex, which was not prepared"):
        prepared(photographs, tmp_path)
    with pytest.raises(FileExistsError, match="is a file"):
        prepared(photographs, tmp_path / "thesis.tex")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(FileExistsError, match=r"holds manifest\.json, thesis\.tex"):
        prepared(photographs, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_concurrent_preparation_is_refused(photographs, tmp_path):
    def entries(_split: str) -> Iterator[Record]:
        with pytest.raises(FileExistsError, match="is being prepared by process"):
            prepared(photographs, tmp_path)
        yield from photographs

    prepared([], tmp_path, entries=entries)
    assert len(ids(tmp_path)) == 20


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"splits": []}, "splits is"),
        ({"splits": ["a", "a"]}, "each only once"),
        ({"splits": ["../a"]}, "name of a folder"),
        ({"size": 0}, "size must be 1 to 4096 pixels, not 0"),
        ({"size": 100_000}, "size must be 1 to 4096 pixels, not 100000"),
        ({"fit": "stretch"}, "fit is 'stretch'"),
        ({"quality": 0}, "quality must be 1 to 100"),
        ({"shard_records": 0}, "shard_records must be at least 1"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"most_bad": 1.5}, "most_bad is a share"),
    ],
)
def test_invalid_settings_are_refused(photographs, tmp_path, setting, said):
    with pytest.raises(ValueError, match=said):
        prepared(photographs, tmp_path / "out", **setting)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------ interruptions


def interrupted(entries: list[Record | Problem], output: Path, after: int) -> None:
    """Prepares until so many entries were read."""

    def some(_split: str) -> Iterator[Record | Problem]:
        yield from entries[:after]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepared(entries, output, entries=some)


@pytest.fixture(scope="module")
def expected(photographs, tmp_path_factory) -> dict[str, bytes | dict]:
    """What an uninterrupted preparation makes."""
    folder = tmp_path_factory.mktemp("expected")
    prepared(photographs, folder)
    return content(folder)


@pytest.mark.parametrize("after", range(21))
def test_preparation_resumes_after_an_interruption(photographs, expected, tmp_path, after):
    interrupted(photographs, tmp_path, after)
    (tmp_path / "all").mkdir(exist_ok=True)
    (tmp_path / "all/00003.arrow").write_text("renamed, and not yet noted")
    (tmp_path / "all/00007.arrow.partial").write_text("a leftover")
    prepared(photographs, tmp_path)
    assert content(tmp_path) == expected


def test_finished_shards_are_not_rewritten(photographs, expected, tmp_path):
    interrupted(photographs, tmp_path, 20)
    shards = sorted((tmp_path / "all").glob("*.arrow"))
    assert shards
    before = [path.stat().st_mtime_ns for path in shards]
    prepared(photographs, tmp_path)
    assert [path.stat().st_mtime_ns for path in shards] == before


@pytest.mark.parametrize("damage", ["flipped", "gone", "torn journal"])
def test_damaged_shard_is_rewritten_on_resume(photographs, expected, tmp_path, damage):
    interrupted(photographs, tmp_path, 20)
    shard, journal = tmp_path / "all/00000.arrow", tmp_path / "preparing.jsonl"
    match damage:
        case "flipped":
            shard.write_bytes(shard.read_bytes()[:-9] + b"different")
        case "gone":
            shard.unlink()
        case "torn journal":
            journal.write_bytes(journal.read_bytes()[:-20])
    prepared(photographs, tmp_path)
    assert content(tmp_path) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda records: records[1:],
        lambda records: [records[0]._replace(captions=("something else",)), *records[1:]],
        lambda records: records[:3],
    ],
)
def test_changed_source_entries_are_prepared_again(photographs, tmp_path, change: Callable[[list], list]):
    interrupted(photographs, tmp_path / "out", 20)
    prepared(change(photographs), tmp_path / "out")
    prepared(change(photographs), tmp_path / "fresh")
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_a_source_that_is_never_the_same_is_refused(photographs, tmp_path):
    times = iter(range(9))

    def entries(_split: str) -> Iterator[Record]:
        time = next(times)
        yield from (record._replace(captions=(f"read {time} times",)) for record in photographs)

    interrupted(photographs, tmp_path, 20)
    with pytest.raises(ValueError, match=r"^the source yields different entries of all each time it is read$"):
        prepared([], tmp_path, entries=entries)


@pytest.mark.parametrize(("allowed", "cores", "usable"), [({0, 3}, 8, 2), (None, 8, 8), (None, None, 1)])
def test_workers_are_as_many_as_the_cores_that_may_be_used(monkeypatch, allowed, cores, usable):
    """A container may allow fewer CPUs than there are; macOS and some other systems do not tell."""
    if allowed is None:
        monkeypatch.delattr(os, "sched_getaffinity")
    else:
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: allowed)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert usable_cores() == usable


def test_preparation_resumes_after_bad_entries_are_fixed(photographs, tmp_path):
    """An entry, and an image that could not be read and now can: its entry is the same."""
    source = with_bad(photographs, tmp_path)
    with pytest.raises(ValueError, match="entries of all are bad"):
        prepared(source, tmp_path / "out", most_bad=0.1)
    for name in ("truncated.jpg", "missing.jpg", "text.jpg"):
        shutil.copy(photographs[0].image, tmp_path / name)
    mended = [entry for entry in source if isinstance(entry, Record)]
    prepared(mended, tmp_path / "out", most_bad=0.1)
    prepared(mended, tmp_path / "fresh", most_bad=0.0)
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_details_and_leading_problems_do_not_stop_early(photographs, tmp_path):
    """15 bad captions before the first image, and later a bad image: 0.7 % of what there is in the end."""

    def entries(_split: str) -> Iterator[Record | Problem]:
        yield from (Problem(f"line {number}", "bad") for number in range(7))
        yield from (Problem(f"box {number}", "outside", detail=True) for number in range(400))
        for number in range(1100):
            yield Problem("image", "bad") if number == 1005 else photographs[1]._replace(id=str(number))

    manifest = prepared([], tmp_path, entries=entries, shard_records=400)
    split = manifest["splits"]["all"]
    assert (split["records"], split["problems"], split["lost"]) == (1099, 408, 8)
    assert len((tmp_path / "problems.jsonl").read_text().splitlines()) == 408


# Processes that are killed. They import tests/support/preparing.py; what takes long is imported once, before.


def in_a_process(target: Callable, *arguments: object) -> multiprocessing.process.BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["xmcgan.data.prepared.prepare", "xmcgan.data.readers.coco", "pytest"])
    child = context.Process(target=target, args=arguments)
    child.start()
    return child


def test_death_at_every_step(photographs, expected, tmp_path):
    for step in range(1, 100):
        output = tmp_path / str(step)
        child = in_a_process(die_at, step, photographs, output)
        child.join()
        prepared(photographs, output)
        assert content(output) == expected
        if child.exitcode == 0:
            break
        assert child.exitcode == 9
    assert 25 < step < 99  # every one of them was tried


def test_killed_at_random_moments(scenes, tmp_path):
    prepare_scenes(scenes, tmp_path / "expected")
    output, dice, kills = tmp_path / "out", random.Random(0), 0
    for _ in range(15):
        child = in_a_process(prepare_scenes, scenes, output)
        while not (output / ".lock").exists() and child.is_alive():
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.06))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += child.exitcode == -signal.SIGKILL
    assert kills >= 10
    prepare_scenes(scenes, output)
    assert content(output) == content(tmp_path / "expected")
    numbers = [record.id for record in open_shards(output, "train2014", layout="coco")]
    assert sorted(map(int, numbers)) == list(range(1, 25))  # everything, once


SCRIPT = """
import signal, sys, time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

def slowly(scenes, split):
    for entry in read_coco(scenes, split):
        time.sleep(0.05)
        yield entry

if __name__ == "__main__":
    # Where the tests run in the background, the shell has them ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from xmcgan.data.readers.coco import read_coco
    from xmcgan.data.prepared.prepare import prepare
    scenes, output = map(Path, sys.argv[1:])
    prepare(scenes, output, name="scenes", layout="coco", splits=["train2014"], entries=partial(slowly, scenes),
            size=48, shard_records=4, workers=2, progress=False)
"""


def processes_that_name(text: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text in folder.joinpath("environ").read_bytes().decode(errors="ignore"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_command_with_workers_that_is_stopped(scenes, tmp_path, how):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(scenes), str(tmp_path / "out")]
    mark = f"{tmp_path}-{how}"
    with subprocess.Popen(command, env={**os.environ, "MARK": mark}, stderr=subprocess.PIPE) as process:
        while not (tmp_path / "out/train2014/00001.arrow").exists():
            assert process.poll() is None
            time.sleep(0.01)
        assert len(processes_that_name(mark)) >= 3  # it has workers
        process.send_signal(how)
    assert process.returncode == -how or (how == signal.SIGINT and process.returncode)
    deadline = time.monotonic() + 20
    while processes_that_name(mark):
        assert time.monotonic() < deadline, "workers live on"
        time.sleep(0.05)
    assert not (tmp_path / "out/manifest.json").exists()

    settings = {"name": "scenes", "layout": "coco", "splits": ["train2014"], "size": 48, "shard_records": 4}
    for output in (tmp_path / "out", tmp_path / "whole"):
        prepare(scenes, output, **settings, entries=partial(read_coco, scenes), workers=1, progress=False)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_worker_that_dies_once_loses_only_its_images(photographs, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_encode_all", partial(fall_over_once, tmp_path / "dead"))
    prepared(photographs, tmp_path / "out", workers=2)
    assert (tmp_path / "dead").exists()
    assert content(tmp_path / "out") == expected


def test_any_executor_makes_the_same_files(photographs, expected, tmp_path):
    with ThreadPoolExecutor(3) as threads:
        prepared(photographs, tmp_path / "out", executor=threads, workers=3)
        assert threads.submit(int).result() == 0  # it is left as it was
    assert content(tmp_path / "out") == expected


def test_a_worker_that_dies(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_encode_all", fall_over)
    with pytest.raises(ChildProcessError, match="a worker process died"):
        prepared(photographs, tmp_path, workers=2)
    monkeypatch.undo()
    prepared(photographs, tmp_path)
    assert len(ids(tmp_path)) == 20
