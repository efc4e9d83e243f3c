"""A run: its files, resumption, divergence, validation."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import xmcgan.training.loop as loop_module
from steps import having, last_of, poisoned
from tiny import contents, different, files, flags, logged, run, tiny_config
from xmcgan.cli.main import main
from xmcgan.config import EvaluationConfig, TrainingConfig
from xmcgan.data.layouts import read_records
from xmcgan.inference.model_files import checkpoints, load_generator, newest_checkpoint
from xmcgan.training.loop import train
from xmcgan.training.state import TrainingDiverged
from xmcgan.training.validation import Evaluation


def test_the_files_of_a_run(trained, config):
    assert {path.name for path in trained.iterdir()} == {
        "checkpoints",
        "config.json",
        "log.jsonl",
        "samples",
        "tensorboard",
    }
    assert [folder.name for folder in checkpoints(trained / "checkpoints")] == [
        "step-00000002",
        "step-00000004",
        "step-00000006",
    ]
    assert [line["step"] for line in logged(trained)] == [1, 2, 3, 4, 5, 6]
    (grid,) = (trained / "samples").iterdir()
    assert grid.name == "step-00000006.png"
    with Image.open(grid) as image:
        assert image.size == (2 * 66 + 2, 2 * 66 + 2)  # four captions
    known = json.loads((trained / "config.json").read_text())
    assert known["data"]["records"] == 24
    assert known["config"]["generator"]["width"] == 4


def test_the_log_is_the_mean_since_its_last_line(config, tmp_path, trained):
    run(having(config, training__steps=3, training__log_every=2), tmp_path / "run")
    every, seldom = logged(trained), logged(tmp_path / "run")
    assert [line["step"] for line in seldom] == [2, 3]
    assert seldom[0]["d_loss"] == pytest.approx((every[0]["d_loss"] + every[1]["d_loss"]) / 2, rel=1e-6)
    assert seldom[1]["g_loss"] == every[2]["g_loss"]


def test_a_line_that_an_interruption_left_out_is_written(output, config, trained):
    """Killed after the last checkpoint, before the line of its step: the checkpoint has the sums."""
    log, path = output / "log.jsonl", output / "checkpoints/step-00000006/training/state.json"
    lines = log.read_text().splitlines(keepends=True)
    losses = {name: value for name, value in logged(output)[-1].items() if name != "step"}
    log.write_text("".join(lines[:-1]))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"log": {"sums": losses, "count": 1}}))
    assert run(having(config, training__steps=6), output) == 6
    assert logged(output) == logged(trained)


def test_old_checkpoints_are_removed(config, tmp_path):
    run(having(config, training__steps=3, training__checkpoint_every=1, training__keep_checkpoints=2), tmp_path / "run")
    kept = [path.name for path in (tmp_path / "run/checkpoints").iterdir()]
    assert sorted(kept) == ["step-00000002", "step-00000003"]


def test_a_finished_run_stays_as_it_is(trained, config, tmp_path):
    output = Path(shutil.copytree(trained, tmp_path / "run"))
    before = files(output / "checkpoints")
    assert run(having(config, training__steps=6), output) == 6
    assert files(output / "checkpoints") == before
    assert logged(output) == logged(trained)


def test_a_resumed_run_is_the_uninterrupted_one(config, tmp_path, trained):
    """Every tensor of the last checkpoint (weights, statistics, Adam, average) and every loss, to the last bit."""
    assert run(having(config, training__steps=3), tmp_path / "run") == 3
    assert run(having(config, training__steps=6), tmp_path / "run") == 6
    assert different(last_of(trained), last_of(tmp_path / "run")) == []
    assert logged(tmp_path / "run") == logged(trained)
    grids = [(output / "samples/step-00000006.png").read_bytes() for output in (trained, tmp_path / "run")]
    assert grids[0] == grids[1]


def test_the_comparison_detects_a_part_that_is_not_resumed(config, tmp_path, trained, monkeypatch):
    """The comparison above can fail: without the state of Adam the run ends elsewhere."""
    shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000006")
    monkeypatch.setattr("xmcgan.training.checkpoint.load_adam_state", lambda *_arguments, **_named: None)
    run(having(config, training__steps=6), tmp_path / "run")
    assert len(different(last_of(trained), last_of(tmp_path / "run"))) > 50


def test_a_killed_run_forgets_what_is_later_than_its_checkpoint(config, tmp_path, trained):
    """Log lines after the newest checkpoint, and one that was torn, are made anew."""
    output = Path(shutil.copytree(trained, tmp_path / "run"))
    shutil.rmtree(output / "checkpoints/step-00000006")
    with (output / "log.jsonl").open("a") as log:
        log.write('{"step": 7, "d_lo')
    assert run(having(config, training__steps=6), output) == 6
    assert logged(output) == logged(trained)
    assert different(last_of(trained), last_of(output)) == []


def test_a_nan_loss_stops_the_run_and_keeps_the_checkpoint(config, tmp_path, trained, monkeypatch):
    config = having(config, training__steps=2, training__checkpoint_every=1)
    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "train_step", poisoned(lambda each: each.generator.to_rgb.weight, at=2))
        with pytest.raises(TrainingDiverged, match=r"^step 2: .*g_hinge is nan.*training\.discriminator_lr"):
            run(config, tmp_path / "run")
    assert [folder.name for folder in checkpoints(tmp_path / "run/checkpoints")] == ["step-00000001"]
    # It is loadable, and as good as if nothing had happened.
    assert run(config, tmp_path / "run") == 2
    assert different(contents(trained / "checkpoints/step-00000002"), last_of(tmp_path / "run")) == []
    assert logged(tmp_path / "run") == logged(trained)[:2]


def test_a_nan_weight_is_never_saved(config, tmp_path, monkeypatch):
    """The losses of step 2 are finite still, but the weights after it are not."""
    weight = "network.unconditional.weight"
    poison = poisoned(lambda each: each.discriminator.get_parameter(weight), at=2, after=True)
    monkeypatch.setattr(loop_module, "train_step", poison)
    with pytest.raises(TrainingDiverged, match=rf"^step 2: Discriminator's weight {weight} is not finite"):
        run(having(config, training__checkpoint_every=1), tmp_path / "run")
    assert newest_checkpoint(tmp_path / "run/checkpoints").name == "step-00000001"


def test_the_command_line_says_where_it_diverged(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop_module, "train_step", poisoned(lambda each: each.generator.stem.weight, at=2))
    assert main(flags(config, tmp_path / "run")) == 3
    assert "xmcgan: training stopped at step 2: " in capsys.readouterr().err


def test_the_last_checkpoint_is_named_if_it_is_damaged(output, config):
    path = output / "checkpoints/step-00000006/training/discriminator.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"step-00000006/training/discriminator\.safetensors is damaged"):
        run(having(config, training__steps=8), output)


def test_a_damaged_image_is_named(tmp_path, config, scenes):
    data = Path(shutil.copytree(scenes, tmp_path / "data"))
    for path in (data / "train2014").iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"train2014/COCO_train2014_\d+\.jpg cannot be read as an image"):
        run(tiny_config(data, Path(config.text.encoder)), tmp_path / "run")


def test_validation_keeps_the_best_generator(config, tmp_path):
    """Scores rise and fall: the best stays, whichever came last; the log has every value."""
    evaluated = replace(having(config, training__discriminator_steps=1), evaluation=EvaluationConfig(every=1))
    records = read_records(Path(config.data), "coco", "train2014")
    seen = []

    def evaluate(generator, step):
        assert not generator.training
        seen.append(step)
        return Evaluation({"fid": float(step)}, score=-abs(step - 3.0))

    train(evaluated, tmp_path / "run", records=records, sample_captions=["a car"], evaluate=evaluate)
    assert seen == [0, 1, 2, 3, 4]
    assert json.loads((tmp_path / "run/best/evaluation.json").read_text())["step"] == 3
    _, _, step = load_generator(tmp_path / "run/best")
    assert step == 3
    lines = [json.loads(line) for line in (tmp_path / "run/evaluations.jsonl").read_text().splitlines()]
    assert [(line["step"], line["fid"]) for line in lines] == [(step, float(step)) for step in range(5)]
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")) == []


def test_validation_does_not_change_training(config, tmp_path, trained):
    evaluated = having(config, evaluation__every=1, training__steps=2)
    records = read_records(Path(config.data), "coco", "train2014")
    captions = [record.captions[0] for record in read_records(Path(config.data), "coco", "val2014")[:4]]

    def evaluate(_generator, step):
        torch.rand(3)  # an evaluation may draw random numbers
        return Evaluation({"is": 1.0}, score=step)

    train(evaluated, tmp_path / "run", records=records, sample_captions=captions, evaluate=evaluate)
    assert different(contents(trained / "checkpoints/step-00000002"), last_of(tmp_path / "run")) == []


def test_tf32_is_refused_on_a_cpu(config, tmp_path):
    with pytest.raises(ValueError, match="tf32 is true, but the device is cpu"):
        run(having(config, training__tf32=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resume_compiled_and_fused(config, tmp_path, monkeypatch):
    """With torch.compile recorded, not run: test_state compiles the networks."""
    compiled, states = [], []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **_: compiled.append(type(module).__name__))
    run(having(config, training__steps=1), tmp_path / "run")
    assert not compiled
    start = loop_module.initial_state
    monkeypatch.setattr(loop_module, "initial_state", lambda *given: states.append(start(*given)) or states[-1])
    assert run(having(config, training__steps=2, training__compile=True, training__fused=True), tmp_path / "run") == 2
    assert compiled == ["Generator", "DiscriminatorNetwork"]
    assert states[0].generator_optimizer.defaults["fused"]


def test_a_resumed_plus_run_equals_an_uninterrupted_one(plus, tmp_path):
    plus = having(plus, training__steps=2, training__checkpoint_every=1, training__lr_decay_from=0.25)
    whole, resumed, last = tmp_path / "whole", tmp_path / "resumed", "checkpoints/step-00000002"
    run(plus, whole)
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / last)
    run(plus, resumed)
    assert different(contents(whole / last), contents(resumed / last)) == []
    assert logged(whole) == logged(resumed)


def test_the_discriminator_starts_alone(config, tmp_path, trained):
    """``training.discriminator_warmup``: the generator starts to move after it, in a resumed run too."""
    tuned = having(config, training__init=str(trained), training__discriminator_warmup=2, training__checkpoint_every=1)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run(having(tuned, training__steps=3, training__keep_checkpoints=0), whole)
    initial = dict(load_generator(newest_checkpoint(trained / "checkpoints"))[0].named_parameters())
    for step, moved in ((1, False), (2, False), (3, True)):
        average, _, _ = load_generator(whole / f"checkpoints/step-{step:08d}")
        assert all(torch.equal(weight, initial[name]) for name, weight in average.named_parameters()) != moved

    last = "checkpoints/step-00000003"
    shutil.copytree(whole, resumed)
    for step in (2, 3):
        shutil.rmtree(resumed / f"checkpoints/step-{step:08d}")
    run(having(tuned, training__steps=3, training__keep_checkpoints=0), resumed)
    assert different(contents(whole / last), contents(resumed / last)) == []


@pytest.mark.parametrize("warmup", [-1, 4, 5])
def test_a_warmup_that_leaves_the_generator_no_step_is_refused(warmup):
    with pytest.raises(
        ValueError, match=rf"training\.discriminator_warmup is {warmup}; .* less than training\.steps, 4:"
    ):
        TrainingConfig(steps=4, discriminator_warmup=warmup)
    assert TrainingConfig(steps=4, discriminator_warmup=3).discriminator_warmup == 3
