"""Fitting: schedule, shifts, held-out records, settings."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from xmcgan.evaluation.networks.dual_encoder import DualEncoderShape
from xmcgan.inference.model_files import save_tensors
from xmcgan.training.evaluators.dual_encoder import train_dual_encoder
from xmcgan.training.evaluators.fitting import (
    Fitting,
    hold_out,
    image_precision,
    learning_rate_at,
    load_training,
    random_shift,
    save_training,
)

SHAPE = DualEncoderShape(image_size=32, width=8, dim=16, text_width=32, text_layers=1, words=16)


FITTING = Fitting(
    steps=12, batch_size=8, learning_rate=3e-3, warmup=2, precision="float32", save_every=4, workers=0, device="cpu"
)


def encoder(output: Path, records, held_out, fitting: Fitting = FITTING, **settings) -> dict:
    settings = {"shape": SHAPE, "candidates": 8, "progress": False} | settings
    return train_dual_encoder(output, records, held_out, fitting=fitting, **settings)


def test_too_few_images_are_rejected(records, held_out, tmp_path):
    for arguments, said in (
        ((records[:7], held_out), "there are 7 training images; batch_size needs at least 8"),
        ((records, held_out[:7]), "there are 7 held-out images; there should be at least 8"),
    ):
        with pytest.raises(ValueError, match=said):
            encoder(tmp_path / "encoder", *arguments)
    with pytest.raises(ValueError, match=r"^candidates is 0; it should be at least 1$"):
        encoder(tmp_path / "encoder", records, held_out, candidates=0)
    assert not (tmp_path / "encoder").exists()


@pytest.mark.parametrize("step", [None, "", "-1", "four"])
def test_a_save_without_its_step_is_named(tmp_path, step):
    network, path = torch.nn.Linear(2, 1), tmp_path / "encoder/training.safetensors"
    optimizer, again = (torch.optim.AdamW(network.parameters()) for _ in range(2))
    assert load_training(network, optimizer, path) == 0
    network(torch.ones(1, 2)).backward()
    optimizer.step()
    path.parent.mkdir()
    save_training(network, optimizer, 4, path)
    assert load_training(network, again, path) == 4
    save_tensors(load_file(path), path, None if step is None else {"step": step})
    said = rf"^{path} is damaged: its step is {step or ''!r}; it should be a number$"
    with pytest.raises(ValueError, match=said):
        load_training(network, again, path)


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
    [
        ("steps", 0),
        ("save_every", 0),
        ("warmup", -1),
        ("batch_size", 1),
        ("learning_rate", 0.0),
        ("precision", "int8"),
        ("seed", 2**63),
        ("seed", -1),
    ],
)
def test_invalid_settings_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} is "):
        replace(FITTING, **{name: value})


@pytest.mark.filterwarnings("ignore:precision is bfloat16")  # where the CPU only emulates it
def test_half_precision_on_a_cpu_only_if_it_is_named():
    cpu = torch.device("cpu")
    assert Fitting().precision == "auto"
    for precision, dtype in (("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with image_precision(Fitting(precision=precision), cpu):
            assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == dtype
