"""Training a presence model."""

import json
from dataclasses import replace
from pathlib import Path

from tiny import files
from xmcgan.evaluation.networks.presence import PresenceShape, load_presence_folder
from xmcgan.training.evaluators.fitting import Fitting
from xmcgan.training.evaluators.presence import train_presence

FITTING = Fitting(
    steps=12, batch_size=8, learning_rate=3e-3, warmup=2, precision="float32", save_every=4, workers=0, device="cpu"
)


def logged(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def test_a_presence_model_learns_cars_and_boats(records, held_out, tmp_path):
    output = tmp_path / "presence"
    shape = PresenceShape({"car": 3, "boat": 9}, image_size=32, width=4)
    fitting = replace(FITTING, steps=50, batch_size=16)
    measured = train_presence(output, records, held_out, shape=shape, fitting=fitting, progress=False)
    assert [line["step"] for line in logged(output)] == [25, 50]
    assert measured["images"] == 16
    assert measured["exact"] >= 0.75
    model = load_presence_folder(output)
    assert model.shape == shape
    before = files(output)
    assert train_presence(output, records, held_out, shape=shape, fitting=fitting, progress=False) == measured
    assert files(output) == before  # a finished one is not trained again
    other = tmp_path / "other"
    train_presence(other, records, held_out, shape=shape, fitting=fitting, progress=False)
    assert (other / "weights.safetensors").read_bytes() == (output / "weights.safetensors").read_bytes()
