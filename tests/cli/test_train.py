"""``xmcgan train``: settings that do not come from the recipe, the data that it writes or names, and how it ends."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import xmcgan.scenes
from preparing import prepared
from tiny import tiny_config
from xmcgan.cli import train as module
from xmcgan.cli.main import run
from xmcgan.cli.train import has_split, train_recipe, write_missing_scenes
from xmcgan.data.records import Record
from xmcgan.inference.model_files import newest_checkpoint, read_tensors
from xmcgan.recipes import RECIPES
from xmcgan.runtime.distributed import RankLost, RankZeroFailed
from xmcgan.training import loop
from xmcgan.training.state import TrainingDiverged

ONE_STEP = [
    "--training.steps", "1", "--training.batch-size", "4", "--training.device", "cpu", "--training.precision",
    "float32",
]  # fmt: skip


def test_init_brings_the_architecture_and_the_weights(config, trained, tmp_path):
    model, output = newest_checkpoint(trained / "checkpoints"), tmp_path / "tuned"
    assert (
        run(["train", "scenes-64", "--init", str(model), "--data", config.data, "--output", str(output), *ONE_STEP])
        == 0
    )
    written = json.loads((output / "config.json").read_text())["config"]
    assert written["generator"] == json.loads((model / "config.json").read_text())["config"]["generator"]
    assert written["training"]["init"] == str(model)
    before, after = (read_tensors(each / "generator.safetensors") for each in
                     (model, newest_checkpoint(output / "checkpoints")))  # fmt: skip
    moved = max((before[name] - after[name]).abs().max().item() for name in before if "running" not in name)
    assert 0 < moved < 0.01  # one step of Adam from the model's weights


def test_own_folders_have_a_split_train(config, trained, tmp_path):
    folder = tmp_path / "drawings" / "train"
    folder.mkdir(parents=True)
    image = next((tmp_path / config.data).rglob("train2014/*.jpg"))
    for number in range(4):
        shutil.copy(image, folder / f"{number}{image.suffix}")
        (folder / f"{number}.txt").write_text("a red bus\n")
    command = ["train", "scenes-64", "--init", str(trained), "--dataset.layout", "folder", *ONE_STEP]
    assert run([*command, "--data", str(folder.parent), "--output", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["dataset"]["split"] == "train"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (TrainingDiverged("step 5: d_loss is nan"), 3, "xmcgan: training stopped at step 5: d_loss is nan\n"),
        (RankLost("another rank has ended"), 4, "xmcgan: another rank has ended\n"),
        (RankZeroFailed("disk full"), 2, ""),  # rank 0 says it
    ],
)
def test_what_ends_a_training_is_said_once(monkeypatch, tmp_path, capsys, error, status, said):
    def ending(*_, **__):
        raise error

    monkeypatch.setattr(module, "train_recipe", ending)
    assert run(["train", "scenes-64", "--training.device", "cpu", "--output", str(tmp_path)]) == status
    assert capsys.readouterr().err == said


def test_the_rule_that_chose_the_records_is_said(monkeypatch, tmp_path, capsys):
    (tmp_path / "train.csv").write_text("path;caption\na.png;a cat\n")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    config = tiny_config(tmp_path, Path("minilm"))
    config = replace(config, dataset=replace(config.dataset, layout="table", split="train"))
    monkeypatch.setattr(loop, "train", lambda *_, **__: config.training.steps)
    assert train_recipe("scenes-64", config, tmp_path / "run", None, validation_named=False) == 0
    said = capsys.readouterr().out.splitlines()
    assert "semicolon-separated, quotation marks enclose cells" in said[0]
    assert said[1] == f"1 records of train in {tmp_path}"


def test_scenes_are_written_only_where_the_recipe_looks_for_them(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    written = []
    monkeypatch.setattr(xmcgan.scenes, "write_scenes", lambda root, **settings: written.append((root, settings)))
    own, config = RECIPES["scenes-64"], RECIPES["coco14-256"]
    write_missing_scenes("scenes-64", replace(own, data="elsewhere"))
    write_missing_scenes("coco14-256", config)
    assert (written, capsys.readouterr().out) == ([], "")
    write_missing_scenes("scenes-64", own)
    assert written == [(Path(own.data), {"size": 64})]
    assert capsys.readouterr().out == f"{own.data} does not exist: writing Scenes\n"
    Path(own.data).mkdir(parents=True)
    write_missing_scenes("scenes-64", own)
    assert len(written) == 1


def test_a_split_is_there_if_it_is_prepared_or_damaged(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    Image.new("RGB", (4, 4)).save(source / "a.png")
    prepared([Record(source / "a.png", ("a cat",), "a")], tmp_path / "prepared")
    assert has_split(str(tmp_path / "prepared"), "table", "all")
    assert not has_split(str(tmp_path / "prepared"), "table", "val")
    (source / "val.csv").write_text("no,columns\n")  # reading it says what is wrong
    assert has_split(str(source), "table", "val")
    assert not has_split(str(source), "table", "test")
