"""Tiny training runs of evaluators: they learn, are reproducible, resume, and report errors."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import xmcgan.training.evaluators.dual_encoder as dual_encoder_module
import xmcgan.training.evaluators.fitting as fitting_module
from xmcgan.cli.train_evaluators import train_dual_encoder_command
from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Record
from xmcgan.data.stream import ExampleStream, load_batches
from xmcgan.evaluation.networks.dual_encoder import DualEncoderShape, load_dual_encoder_folder, split_words
from xmcgan.evaluation.networks.presence import PresenceShape, load_presence_folder
from xmcgan.losses.contrastive import symmetric_cross_entropy
from xmcgan.scenes import World, write_scenes
from xmcgan.training.evaluators.dual_encoder import retrieval_accuracy, train_dual_encoder
from xmcgan.training.evaluators.fitting import Fitting, fit, hold_out, learning_rate_at, random_shift
from xmcgan.training.evaluators.presence import train_presence
from xmcgan.training.evaluators.scenes import SCENES_DRAWN, scenes_records

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


@pytest.fixture(scope="module")
def held_out(data) -> list[Record]:
    return scenes_records(data, "val2014")


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

    with pytest.raises(FloatingPointError, match="step 0: the loss is nan"):
        fit(network, broken, records, 32, FITTING, tmp_path, progress=False)


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
    other = tmp_path / "other"
    train_presence(other, records, held_out, shape=shape, fitting=fitting, progress=False)
    assert (other / "weights.safetensors").read_bytes() == (output / "weights.safetensors").read_bytes()


def test_too_few_images_are_rejected(records, held_out, tmp_path):
    for arguments, said in (
        ((records[:7], held_out), "there are 7 training images; batch_size needs at least 8"),
        ((records, held_out[:7]), "there are 7 held-out images; there should be at least 8"),
    ):
        with pytest.raises(ValueError, match=said):
            encoder(tmp_path / "encoder", *arguments)
    assert not (tmp_path / "encoder").exists()


def test_hold_out_splits_the_records(records):
    kept, held_out = hold_out(records, 5, seed=0)
    assert (len(kept), len(held_out)) == (27, 5)
    assert {record.id for record in kept} | {record.id for record in held_out} == {record.id for record in records}
    assert hold_out(records, 5, seed=0) == (kept, held_out)
    assert hold_out(records, 5, seed=1) != (kept, held_out)
    with pytest.raises(ValueError, match="held_out is 32; it should be 1 to 31"):
        hold_out(records, 32, seed=0)


def test_learning_rate_warms_up_and_decays_to_0():
    rates = [learning_rate_at(step, Fitting(steps=100, warmup=10, learning_rate=1.0)) for step in range(101)]
    assert rates.index(max(rates)) == 10
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[100] == pytest.approx(0)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_random_shift_is_bounded():
    pixels = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    pixels[:, :, 8, 8] = 255
    places = set()
    for step in range(200):
        moved = random_shift(pixels, step, FITTING)
        assert moved.shape == pixels.shape
        ((row, column),) = {tuple(place[2:].tolist()) for place in moved.nonzero()}
        places.add((row - 8, column - 8))
    assert places == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}
    assert torch.equal(random_shift(pixels, 3, replace(FITTING, shift=0)), pixels)


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 0), ("save_every", 0), ("warmup", -1), ("batch_size", 1), ("learning_rate", 0.0), ("precision", "int8")],
)
def test_invalid_settings_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} is "):
        replace(FITTING, **{name: value})


def test_shipped_evaluators_use_a_split_of_their_own():
    """They are trained on the third split alone; what is measured on are others' scenes of the validation split."""
    assert SCENES_DRAWN["default"][0] == World()
    assert SCENES_DRAWN["default"][1] >= 20_000
    assert SCENES_DRAWN["few"][0] == World(most_objects=2)


# The command, on a captions table such as Conceptual Captions


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
    assert train_dual_encoder_command(flags(table, output, steps=2)) == 0
    said = capsys.readouterr().out
    assert "20 images to train on and 12 held out" in said
    assert "than 7 of other images" in said
    assert load_dual_encoder_folder(output).shape == SHAPE
    config = json.loads((output / "config.json").read_text())
    assert config["fitting"]["steps"] == 2
    assert config["data"]["images"] == 20


def test_command_reports_divergence(table, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        dual_encoder_module, "symmetric_cross_entropy", lambda scores: symmetric_cross_entropy(scores * math.nan)
    )
    assert train_dual_encoder_command(flags(table, tmp_path / "encoder")) == 3
    assert "xmcgan: training stopped at step 0: the loss is nan" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"layout": "tabel"}, "layout is 'tabel'; it can be coco"),
        ({"held_out": 0}, "held_out is 0"),
        ({"text_width": 40}, "text_width is 40"),
        ({"split": "val"}, "a table of paths and captions"),
    ],
)
def test_command_line_errors_are_named(table, tmp_path, other, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        train_dual_encoder_command(flags(table, tmp_path / "encoder", **other))
    assert not (tmp_path / "encoder").exists()
