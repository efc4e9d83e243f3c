"""The verbs of `xmcgan data` on Scenes, and mistakes."""

import io
import json
import tarfile
from contextlib import contextmanager
from dataclasses import replace

import pytest
from PIL import Image

from downloads import downloaded
from tiny import logged, run
from xmcgan.cli.data.prepare import executor_of
from xmcgan.cli.main import main
from xmcgan.data.prepared import cluster
from xmcgan.data.prepared.manifest import read_manifest
from xmcgan.data.prepared.shards import open_shards


def png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 3)).save(content, "png")
    return content.getvalue()


def test_prepare_stats_browse_export(scenes, tmp_path, capsys):
    source, prepared = ["--source", str(scenes)], tmp_path / "prepared"
    assert (
        main(["data", "prepare", "scenes", *source, "--output", str(prepared), "--size", "64", "--workers", "1"]) == 0
    )
    assert "train2014: 24 images, 120 captions" in capsys.readouterr().out

    for folder in (scenes, prepared):  # the same numbers, wherever they are read from
        output = tmp_path / f"stats-{folder.name}"
        assert main(["data", "stats", "scenes", "--source", str(folder), "--output", str(output)]) == 0
        assert "captions an image" in capsys.readouterr().out
        assert (output / "stats.png").read_bytes().startswith(b"\x89PNG")
    counted = [json.loads((tmp_path / f"stats-{name}/stats.json").read_text()) for name in ("scenes", "prepared")]
    assert counted[0] == counted[1]

    page = tmp_path / "page.html"
    browse = ["data", "browse", "scenes-narratives", *source, "--output", str(page), "--count", "3"]
    assert main(browse) == 0
    page.write_text("mine")
    assert main(browse) == 2  # what is there stays, unless it may go
    assert page.read_text() == "mine"
    assert main([*browse, "--overwrite", "true"]) == 0
    assert "3 records of train2014" in capsys.readouterr().out
    assert page.read_text().startswith("<!doctype html>")

    assert main(["data", "export", str(prepared), "--split", "val2014", "--output", str(tmp_path / "tars")]) == 0
    assert len(list((tmp_path / "tars").glob("*.tar"))) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prepair"], "unknown command of xmcgan data 'prepair'; did you mean 'prepare'?"),
        (["stats", "coco15", "--source", "x"], "unknown data set 'coco15'; did you mean 'coco14'?"),
        (["stats", "coco14", "--source", "x", "--splits", ","], "--splits is ','; it should be names with commas"),
        (
            ["prepare", "coco14", "--source", "memory://y", "--output", "z"],
            "memory://y/annotations/captions_train2014.json",
        ),
        (["prepare", "coco14", "--source", "s3x://y", "--output", "z"], "cannot be opened: Protocol not known: s3x"),
        (["prepare", "coco14", "--source", "x", "--output", "https://y"], "https://y can only be read"),
        (["stats", "coco14", "--source", "x", "--output", "s3://y"], "--output is s3://y, a URL; it should be a path"),
        (["stats", "folder", "--source", "x", "--dialect", "tab"], "only the data set table has one"),
        (["browse", "folder", "--source", "x", "--output", "y", "--dialect", "tab"], "only the data set table has one"),
        (
            ["prepare", "folder", "--source", "x", "--output", "z", "--dialect", "tab"],
            "only the data set table has one",
        ),
        (["stats", "coco14", "--source", "nowhere"], "captions_train2014.json is missing"),
        (["export", "nowhere", "--split", "train", "--output", "tars"], "nowhere is not a prepared folder"),
        (["browse", "coco14", "--source", "x", "--output", "p.html", "--count", "0"], "--count 0"),
        (["stats", "coco14", "--source", "x", "--splits", "a=b"], "--splits has a=b; only webdataset has patterns"),
    ],
)
def test_a_mistake_is_one_line(arguments, said, capsys):
    assert main(["data", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.rstrip().splitlines()[-1].startswith("xmcgan: ")


def test_a_cropped_set_has_the_boxes_and_traces_of_the_square(scenes, tmp_path):
    """Scenes are square: a crop of them is all of them."""
    from xmcgan.data.layouts import read_records

    flags = ["--source", str(scenes), "--size", "32", "--workers", "1"]
    for fit in ("squash", "crop"):
        output = tmp_path / fit
        assert main(["data", "prepare", "scenes-narratives", *flags, "--output", str(output), "--fit", fit]) == 0
    squashed, cropped = (
        list(read_records(tmp_path / fit, "localized-narratives", "train2014")) for fit in ("squash", "crop")
    )
    assert all(record.boxes and record.narrative.strokes for record in cropped)
    for one, other in zip(squashed, cropped, strict=True):
        for box, expected in zip(one.boxes, other.boxes, strict=True):
            assert box[1:] == pytest.approx(expected[1:], abs=1e-6)
        assert len(one.narrative.strokes) == len(other.narrative.strokes)


@pytest.fixture
def mine(tmp_path):
    """A flat folder of pictures with texts beside them: one picture is damaged, one text has none."""
    from PIL import Image

    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (40, 30), (60 * number, 0, 0)).save(folder / f"{number}.jpg")
        (folder / f"{number}.txt").write_text(f"picture {number}\n")
    (folder / "1.jpg").write_bytes(b"no picture")
    (folder / "lone.txt").write_text("nothing to see")
    return folder


def test_ones_own_folder_from_preparing_to_a_command_that_trains(mine, tmp_path, capsys):
    output = tmp_path / "prepared"
    flags = ["data", "prepare", "folder", "--source", str(mine), "--output", str(output), "--size", "16"]
    assert main([*flags, "--workers", "1", "--splits", "train"]) == 2
    assert "Fix them" in capsys.readouterr().err
    assert main([*flags, "--workers", "1", "--max-bad-share", "0.5"]) == 0
    said = capsys.readouterr().out
    assert "train: 3 images, 3 captions, 0.0 MB; problems: 2" in said
    assert f"every problem, with its place and reason: {output / 'problems.jsonl'}" in said
    sized = f"--data {output} --output runs/prepared --dataset.resize true"  # no model draws 16 px
    assert f"{sized} --dataset.layout folder --dataset.split train" in said
    assert main([*flags, "--workers", "1", "--max-bad-share", "0.5"]) == 0
    assert "was prepared already; nothing was made" in capsys.readouterr().out
    (mine / "2.txt").write_text("another text\n")
    assert main([*flags, "--workers", "1", "--max-bad-share", "0.5"]) == 2
    assert "was prepared from another mine, or this one has changed" in capsys.readouterr().err


def test_prepared_data_are_verified_and_damage_is_named(mine, tmp_path, capsys):
    output = tmp_path / "prepared"
    flags = ["data", "prepare", "folder", "--source", str(mine), "--output", str(output), "--size", "16"]
    assert main([*flags, "--workers", "1", "--max-bad-share", "0.5"]) == 0
    assert main(["data", "verify", str(output)]) == 0
    assert "train: 1 shards, 3 records: all as the manifest says" in capsys.readouterr().out
    shard = output / "train/00000.arrow"
    content = bytearray(shard.read_bytes())
    at = content.index(b"\xff\xd8\xff\xe0")
    content[at : at + 200] = bytes(200)
    shard.write_bytes(content)
    assert main(["data", "verify", str(output)]) == 1
    said = capsys.readouterr()
    assert "its SHA-256 differs from the manifest's; record 0 the image of record" in said.err
    assert "train: 1 shards, 3 records: 1 damaged" in said.out
    assert main(["data", "verify", str(output), "--splits", "val"]) == 2


def test_a_pattern_has_a_name(tmp_path, capsys):
    flags = ["data", "prepare", "webdataset", "--source", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main([*flags, "--splits", "{00000..00003}"]) == 2
    assert "give it a name, such as train={00000..00003}" in capsys.readouterr().err
    for name in ("00000", "00001", "00002"):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            for suffix, text in ((".png", png()), (".txt", b"a cat")):
                member = tarfile.TarInfo(name + suffix)
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text))
    assert main([*flags, "--size", "16", "--workers", "1", "--splits", "train={00000,00001},val=00002"]) == 0
    said = capsys.readouterr().out
    assert "the split train is 2 tars" in said
    assert "train: 2 images" in said
    assert "val: 1 images" in said
    assert (tmp_path / "out/train/00000.arrow").is_file()


def test_the_command_that_trains_names_what_the_recipe_does_not():
    from xmcgan.cli.data.prepare import training_command
    from xmcgan.cli.data.sets import chosen_set

    prepared = "my data/p"
    said = {
        (name, splits): training_command(name, chosen_set(name, splits and [splits]), prepared)
        for name, splits in (("coco14", None), ("coco14", "val2014"), ("scenes-open-images", None))
    }
    whole = "xmcgan train coco14-256 --data 'my data/p' --output runs/p"
    assert said["coco14", None] == whole
    assert said["coco14", "val2014"] == f"{whole} --dataset.split val2014"
    assert said["scenes-open-images", None] == (
        "xmcgan train scenes-narratives-64 --data 'my data/p' --output runs/p --image-size 256 --dataset.split train "
        "--dataset.validation-split validation"
    )


@pytest.mark.parametrize(
    ("name", "size", "recipe"),
    [
        ("folder", 256, "coco14-256"),
        ("folder", 64, "flowers-64-plus"),
        ("flowers102", 64, "flowers-64-plus"),
        ("coco14", 64, "coco14-256"),
        ("scenes", 64, "scenes-64"),
        ("scenes-narratives", 64, "scenes-narratives-64"),
    ],
)
def test_the_recipe_suits_the_data(name, size, recipe):
    from xmcgan.cli.data.prepare import training_command
    from xmcgan.cli.data.sets import chosen_set

    assert training_command(name, chosen_set(name, None), "p", size=size).split()[2] == recipe


def test_stats_of_a_url(mine, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    output = tmp_path / "prepared"
    flags = ["--output", str(output), "--size", "16", "--workers", "1", "--max-bad-share", "0.5"]
    assert main(["data", "prepare", "folder", "--source", str(mine), *flags]) == 0
    capsys.readouterr()
    assert main(["data", "stats", "folder", "--source", f"file://{output}"]) == 0
    assert "captions an image" in capsys.readouterr().out


def test_a_source_that_is_missing_leaves_nothing(tmp_path, capsys):
    output = tmp_path / "prepared"
    assert main(["data", "prepare", "folder", "--source", str(tmp_path / "none"), "--output", str(output)]) == 2
    assert "none/train is missing" in capsys.readouterr().err
    assert not output.exists()


def test_a_page_leaves_out_what_cannot_be_read(mine, tmp_path, capsys):
    page = tmp_path / "page.html"
    flags = ["data", "browse", "folder", "--source", str(mine), "--count", "2"]
    assert main([*flags, "--output", str(page)]) == 0
    said = capsys.readouterr().out
    assert "left out: " in said
    assert "1.jpg cannot be read as an image" in said
    assert "2 records of train" in said
    assert main([*flags, "--output", str(tmp_path)]) == 2
    assert "is a folder; it should be the page to write" in capsys.readouterr().err
    assert not list(tmp_path.parent.glob(".partial-*"))


def test_a_page_that_begins_after_the_last_record_is_refused(mine, tmp_path, capsys):
    page = tmp_path / "page.html"
    flags = ["data", "browse", "folder", "--source", str(mine), "--output", str(page)]
    assert main([*flags, "--start", "9"]) == 2
    assert capsys.readouterr().err == f"xmcgan: {mine} has no record 9 in train\n"
    assert not page.exists()


def test_a_scheduler_brings_its_workers(monkeypatch):
    @contextmanager
    def dask_executor(address):
        yield address, 7

    monkeypatch.setattr(cluster, "dask_executor", dask_executor)
    with executor_of("tcp://10.0.0.1:8786") as found:
        assert found == ("tcp://10.0.0.1:8786", 7)
    with executor_of(None) as found:
        assert found == (None, None)


def test_a_max_length_of_zero_is_refused(mine, capsys):
    assert main(["data", "stats", "folder", "--source", str(mine), "--max_length", "0"]) == 2
    assert "--max-length is 0; it should be at least 1" in capsys.readouterr().err


def test_a_table_is_read_by_the_dialect_that_is_named(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(png())
    # By itself, tabs with well formed quotes are read as quoted.
    (tmp_path / "train.tsv").write_text('path\tcaption\na.png\t"a sign"\n')
    arguments = ["data", "prepare", "table", "--source", str(tmp_path / "train.tsv"), "--size", "8", "--workers", "1"]
    found = {}
    for name in ("found", "tab-unquoted"):
        dialect = [] if name == "found" else ["--dialect", name]
        assert main([*arguments, "--output", str(tmp_path / name), *dialect]) == 0
        rule = capsys.readouterr().out.splitlines()[0].split("read as ")[1]
        manifest = read_manifest(tmp_path / name)
        assert manifest["splits"]["train"]["rule"].endswith(rule)
        found[rule] = open_shards(tmp_path / name, "train", layout="table")[0].captions
    assert found == {
        "tab-separated, quotation marks enclose cells": ("a sign",),
        "tab-separated, quotation marks are part of the text": ('"a sign"',),
    }
    assert main([*arguments, "--output", str(tmp_path / "found"), "--dialect", "tab-unquoted"]) == 2
    assert "the dialect of its table" in capsys.readouterr().err
    assert main([*arguments, "--output", str(tmp_path / "comma"), "--dialect", "comma"]) == 2
    assert "train.tsv, line 1 has none of the columns path, image" in capsys.readouterr().err


def test_what_img2dataset_downloaded_is_prepared_and_trained_from(config, tmp_path, capsys):
    for shard in range(2):
        downloaded(tmp_path / "laion", shard, 4)
    prepared = tmp_path / "prepared"
    source = ["--source", str(tmp_path / "laion"), "--splits", "train={00000..00000},val={00001..00001}", "--workers=1"]
    assert main(["data", "prepare", "webdataset", *source, "--output", str(prepared), "--size", "64"]) == 0
    said = capsys.readouterr().out
    assert "train: 4 images, 4 captions" in said
    assert "val: 4 images, 4 captions" in said
    assert "--dataset.layout webdataset" in said
    records = open_shards(prepared, "val", layout="webdataset")
    assert [record.captions for record in records] == [(f"cat 00001000{number}",) for number in range(4)]

    dataset = replace(config.dataset, layout="webdataset", split="train", validation_split="val")
    training = replace(config.training, steps=1)
    assert run(replace(config, data=str(prepared), dataset=dataset, training=training), tmp_path / "run") == 1
    assert [line["step"] for line in logged(tmp_path / "run")] == [1]


def test_one_dialect_for_every_command_that_reads_a_table(tmp_path, capsys):
    from PIL import Image

    Image.new("RGB", (20, 20)).save(tmp_path / "a.jpg")
    Image.new("RGB", (20, 20)).save(tmp_path / "b.jpg")
    # Found out as quoted: every mark encloses a whole cell.
    (tmp_path / "train.tsv").write_text('path\tcaption\na.jpg\t"one"\nb.jpg\t"two"\n')
    source = ["table", "--source", str(tmp_path)]
    for verb, flags in (
        ("prepare", ["--output", str(tmp_path / "prepared"), "--size", "16", "--workers", "1"]),
        ("stats", []),
        ("browse", ["--output", str(tmp_path / "page.html")]),
    ):
        assert main(["data", verb, *source, *flags, "--dialect", "tab-unquoted"]) == 0
        assert "is read as tab-separated, quotation marks are part of the text" in capsys.readouterr().out
    assert '\\"one\\"' in (tmp_path / "page.html").read_text()
    prepared = ["table", "--source", str(tmp_path / "prepared"), "--dialect", "tab"]
    assert main(["data", "stats", *prepared]) == 2
    assert "is prepared data, which is no table" in capsys.readouterr().err


def test_from_url_to_url(mine, tmp_path, capsys):
    import fsspec

    files = fsspec.filesystem("memory")
    for file in mine.iterdir():
        files.pipe_file(f"/cli/mine/{file.name}", file.read_bytes())
    flags = ["--size", "16", "--max-bad-share", "0.5"]
    prepare = [
        "data",
        "prepare",
        "folder",
        "--source",
        "memory://cli/mine",
        "--output",
        "memory://cli/prepared",
        *flags,
    ]
    assert main(prepare) == 0
    said = capsys.readouterr().out
    assert "train: 3 images, 3 captions, 0.0 MB; problems: 2" in said
    assert "prepared in memory://cli/prepared; train from it:\n  xmcgan train coco14-256 --data memory://cli" in said
    assert main(prepare) == 0
    assert "memory://cli/prepared was prepared already; nothing was made" in capsys.readouterr().out
    assert main(["data", "stats", "folder", "--source", "memory://cli/mine"]) == 0
    assert main(["data", "stats", "folder", "--source", "memory://cli/prepared"]) == 0
    assert main(["data", "browse", "folder", "--source", "memory://cli/mine", "--output", str(tmp_path / "page")]) == 0
    assert main(["data", "prepare", "folder", "--source", "memory://cli/prepared", "--output", "memory://cli/x"]) == 2
    assert "is prepared data; train from it" in capsys.readouterr().err
    files.rm("/cli", recursive=True)
