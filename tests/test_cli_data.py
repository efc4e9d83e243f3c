"""The verbs of `xmcgan data` on Scenes, and mistakes."""

import json

import pytest

from xmcgan.cli import main


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
    assert main(["data", "browse", "scenes-narratives", *source, "--output", str(page), "--count", "3"]) == 0
    assert "3 records of train2014" in capsys.readouterr().out
    assert page.read_text().startswith("<!doctype html>")

    assert main(["data", "export", str(prepared), "--split", "val2014", "--output", str(tmp_path / "tars")]) == 0
    assert len(list((tmp_path / "tars").glob("*.tar"))) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prepair"], "unknown verb 'prepair'; did you mean 'prepare'?"),
        (["stats", "coco15", "--source", "x"], "unknown data set 'coco15'; did you mean 'coco14'?"),
        (["stats", "coco14", "--source", "nowhere"], "captions_train2014.json is missing"),
        (["export", "nowhere", "--split", "train", "--output", "tars"], "nowhere is no prepared folder"),
        (["browse", "coco14", "--source", "x", "--output", "p.html", "--count", "0"], "count 0"),
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
