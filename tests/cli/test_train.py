"""``xmcgan train``: settings that do not come from the recipe."""

import json
import shutil

from xmcgan.cli.main import run
from xmcgan.inference.model_files import newest_checkpoint, read_tensors

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
