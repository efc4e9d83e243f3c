"""Training a dual encoder: the same bits with any workers and after resuming."""

import json
import math
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import xmcgan.training.evaluators.fitting as fitting_module
from xmcgan.data.images import ImageTransform
from xmcgan.data.stream import ExampleStream, load_batches
from xmcgan.evaluation.networks.dual_encoder import DualEncoderShape, load_dual_encoder_folder, split_words
from xmcgan.training.evaluators.dual_encoder import retrieval_accuracy, train_dual_encoder
from xmcgan.training.evaluators.fitting import Fitting, fit, pixel_stream

SHAPE = DualEncoderShape(image_size=32, width=8, dim=16, text_width=32, text_layers=1, words=16)


FITTING = Fitting(
    steps=12, batch_size=8, learning_rate=3e-3, warmup=2, precision="float32", save_every=4, workers=0, device="cpu"
)


def encoder(output: Path, records, held_out, fitting: Fitting = FITTING, **settings) -> dict:
    settings = {"shape": SHAPE, "candidates": 8, "progress": False} | settings
    return train_dual_encoder(output, records, held_out, fitting=fitting, **settings)


def logged(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def test_dual_encoder_learns_and_is_written(records, held_out, tmp_path):
    """Which of 8 captions of cars and boats an image has: chance is 1 in 8, and many of them are true of it."""
    output = tmp_path / "encoder"
    measured = encoder(output, records, held_out, replace(FITTING, steps=75, batch_size=16))
    losses = [line["loss"] for line in logged(output)]
    assert losses[0] > losses[-1]
    assert losses[-1] < 0.85 * 2 * math.log(16)  # that of an encoder that knows nothing, in both directions
    assert measured["retrieval_top1"] > 0.2
    assert measured == json.loads((output / "config.json").read_text())["measured"]
    assert sorted(path.name for path in output.iterdir()) == [
        "config.json",
        "log.jsonl",
        "settings.json",
        "weights.safetensors",
    ]
    loaded = load_dual_encoder_folder(output)
    assert loaded.name == "encoder"
    again = retrieval_accuracy(loaded, held_out, candidates=8)
    assert round(again, 4) == measured["retrieval_top1"]
    stored = load_file(output / "weights.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.dim() > 1} == {torch.float16}


def test_hard_negative_captions(records, held_out, tmp_path):
    """An untrained encoder scores a caption and the same with a mistake alike: log 2 for every caption that has one."""
    first = {}
    for name, exchanged in (("with", [("car", "boat")]), ("without", ())):
        encoder(tmp_path / name, records, held_out, replace(FITTING, steps=1), exchanged=exchanged)
        first[name] = logged(tmp_path / name)[0]["loss"]
    batch = next(
        load_batches(ExampleStream(records, ImageTransform(32), seed=0, flip=False), start=0, batch_size=8, workers=0)
    )
    mistaken = sum(bool({"car", "boat"} & set(split_words(caption))) for caption in batch.captions)
    assert 0 < mistaken < 8
    assert first["with"] - first["without"] == pytest.approx(mistaken / 8 * math.log(2), rel=0.2)


@pytest.fixture(scope="module")
def uninterrupted(records, held_out, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "encoder"
    encoder(output, records, held_out)
    return output


def test_same_seed_gives_the_same_bits_with_any_workers(uninterrupted, records, held_out, tmp_path):
    for name, fitting, same in (
        ("again", replace(FITTING, workers=1), True),
        ("another seed", replace(FITTING, seed=1), False),
    ):
        encoder(tmp_path / name, records, held_out, fitting)
        weights = (tmp_path / name / "weights.safetensors").read_bytes()
        assert (weights == (uninterrupted / "weights.safetensors").read_bytes()) == same


def test_resumed_training_gives_the_same_bits(uninterrupted, records, held_out, tmp_path, monkeypatch):
    output = tmp_path / "encoder"
    saved = fitting_module.save_training

    def killed(network, optimizer, step, path):
        if step == 8:
            raise KeyboardInterrupt
        saved(network, optimizer, step, path)

    monkeypatch.setattr(fitting_module, "save_training", killed)
    with pytest.raises(KeyboardInterrupt):
        encoder(output, records, held_out)
    with pytest.raises(FileNotFoundError, match="is not a complete trained evaluator"):
        load_dual_encoder_folder(output)
    monkeypatch.undo()
    encoder(output, records, held_out, replace(FITTING, save_every=100))
    for name in ("weights.safetensors", "log.jsonl"):
        assert (output / name).read_bytes() == (uninterrupted / name).read_bytes()


def test_finished_training_is_kept(uninterrupted, records, held_out):
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in uninterrupted.iterdir()}
    encoder(uninterrupted, records, held_out)
    assert before == {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in uninterrupted.iterdir()}


def test_other_settings_and_data_are_rejected(uninterrupted, records, held_out, tmp_path):
    with pytest.raises(ValueError, match=r"fitting\.steps was 12 and is 13"):
        encoder(uninterrupted, records, held_out, replace(FITTING, steps=13))
    with pytest.raises(ValueError, match=r"shape\.dim was 16 and is 32"):
        encoder(uninterrupted, records, held_out, shape=replace(SHAPE, dim=32))
    with pytest.raises(ValueError, match=r"data\.images was 32 and is 31"):
        encoder(uninterrupted, records[1:], held_out)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is neither empty nor an evaluator's training"):
        encoder(tmp_path, records, held_out)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_divergence_names_the_step(records, tmp_path):
    network = torch.nn.Linear(1, 1)

    def broken(_images, _batch):
        return fitting_module.Loss(network.weight.sum() * math.nan, torch.tensor(0.0))

    fitting, before = replace(FITTING, workers=1), set(multiprocessing.active_children())
    with pytest.raises(FloatingPointError, match="step 0: the loss is nan") as kept:
        fit(network, broken, pixel_stream(records, 32, fitting), fitting, tmp_path, progress=False)
    assert kept.value
    assert set(multiprocessing.active_children()) <= before  # the error's traceback keeps no worker alive
