"""The command that trains a dual encoder."""

import csv
import json
import math
from pathlib import Path

import pytest

import xmcgan.training.evaluators.dual_encoder as dual_encoder_module
from xmcgan.cli.main import run
from xmcgan.data.records import Record
from xmcgan.evaluation.networks.dual_encoder import DualEncoderShape, load_dual_encoder_folder
from xmcgan.losses.contrastive import symmetric_cross_entropy
from xmcgan.scenes import World, write_scenes
from xmcgan.training.evaluators.fitting import Fitting
from xmcgan.training.evaluators.scenes import scenes_records

SHAPE = DualEncoderShape(image_size=32, width=8, dim=16, text_width=32, text_layers=1, words=16)


FITTING = Fitting(
    steps=12, batch_size=8, learning_rate=3e-3, warmup=2, precision="float32", save_every=4, workers=0, device="cpu"
)


CARS_AND_BOATS = World(most_objects=1, backgrounds=("street", "sea"), kinds=("car", "boat"))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("evaluators") / "scenes"
    return write_scenes(root, size=32, train=0, val=16, evaluator=32, world=CARS_AND_BOATS, workers=1, progress=False)


@pytest.fixture(scope="module")
def records(data) -> list[Record]:
    return scenes_records(data, "evaluator2014")


@pytest.fixture
def table(records, tmp_path) -> Path:
    folder = tmp_path / "table"
    folder.mkdir()
    with (folder / "train.tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["path", "caption"])
        for record in records:
            (folder / f"{record.id}.jpg").write_bytes(record.image.read_bytes())
            writer.writerow([f"{record.id}.jpg", record.captions[0]])
    return folder


def flags(table: Path, output: Path, **other: object) -> list[str]:
    values = {"data": table, "output": output, "held_out": 12, "candidates": 8} | vars(SHAPE) | vars(FITTING) | other
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def test_the_command_trains_on_a_captions_table(table, tmp_path, capsys):
    output = tmp_path / "encoder"
    assert run(["train-dual-encoder", *flags(table, output, steps=2)]) == 0
    said = capsys.readouterr().out
    assert "20 images to train on and 12 held out" in said
    assert "their own caption is nearer than 7 of other images" in said
    assert load_dual_encoder_folder(output).shape == SHAPE
    config = json.loads((output / "config.json").read_text())
    assert config["fitting"]["steps"] == 2
    assert config["data"]["images"] == 20


def test_command_reports_divergence(table, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        dual_encoder_module, "symmetric_cross_entropy", lambda scores: symmetric_cross_entropy(scores * math.nan)
    )
    assert run(["train-dual-encoder", *flags(table, tmp_path / "encoder")]) == 3
    assert "xmcgan: training stopped at step 0: the loss is nan" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"layout": "tabel"}, "--layout is 'tabel'; it should be one of coco.*did you mean 'table'"),
        ({"held_out": 0}, "held_out is 0"),
        ({"text_width": 40}, "text_width is 40"),
        ({"split": "val"}, "a table of paths and captions"),
    ],
)
def test_command_line_errors_are_named(table, tmp_path, other, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        run(["train-dual-encoder", *flags(table, tmp_path / "encoder", **other)])
    assert not (tmp_path / "encoder").exists()


def test_data_prepared_for_another_size_is_refused(data, tmp_path):
    prepared = str(tmp_path / "prepared")
    scenes = ["data", "prepare", "scenes", "--source", str(data), "--splits", "evaluator2014", "--output", prepared]
    assert run([*scenes, "--size", "16", "--workers", "1"]) == 0
    command = ["train-dual-encoder", "--data", prepared, "--layout", "coco", "--split", "evaluator2014"]
    with pytest.raises(ValueError, match=r"with --size 16, but --image-size is 32\. .* with --resize true"):
        run([*command, "--output", str(tmp_path / "network"), "--image-size", "32", "--held-out", "4"])
    assert not (tmp_path / "network").exists()
